package csi

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// backend is how one kind of storage keeps volumes and snapshots.
type backend interface {
	// open mounts the pool, and makes it first where it is missing.
	open(image string) error
	// singleNode: a file system volume can be used by one node only (RBD), or by many (CephFS).
	singleNode() bool
	// create makes an empty volume.
	create(v volume) error
	// clone makes a volume from its source, at once and without copying.
	clone(v volume) error
	remove(v volume) error
	inUse(v volume) bool
	snapshot(volumeID, snapshotID string) error
	removeSnapshot(id string) error
	// resize makes a volume bigger; it tells whether the node has to grow the file system too.
	resize(v volume) (bool, error)
	// stage mounts a volume, or attaches it where block is set.
	stage(v volume, target string, block, readOnly bool, flags []string) error
	unstage(v volume, target string) error
	// grow grows the file system of a staged volume to the volume's size.
	grow(v volume, path string) error
	// device is what a raw block volume is published as.
	device(v volume) (string, error)
	used(v volume, path string) (int64, error)
	// fill leaves no space on a staged volume until release is called.
	fill(v volume, path string) (filling, error)
}

// poolBytes is the size of a pool, sparse on the machine's disk.
const poolBytes = 20 << 30

// openPool mounts a file system that lives in a file. The kernel frees the loop device with the last
// mount, so that a cluster that is killed leaves none behind.
func openPool(image, pool string, options string, mkfs ...string) error {
	if err := os.MkdirAll(pool, 0o755); err != nil {
		return err
	}
	if mounted(pool) {
		return nil
	}
	if _, err := os.Stat(image); err != nil {
		if err := sparse(image+".tmp", poolBytes); err != nil {
			return err
		}
		if err := run(append(mkfs, image+".tmp")...); err != nil {
			return err
		}
		if err := os.Rename(image+".tmp", image); err != nil {
			return err
		}
	}
	if err := run("mount", "-o", "loop,"+options, image, pool); err != nil {
		return err
	}
	for _, dir := range []string{"volumes", "snapshots"} {
		if err := os.MkdirAll(filepath.Join(pool, dir), 0o755); err != nil {
			return err
		}
	}
	return nil
}

func sparse(path string, bytes int64) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	return file.Truncate(bytes)
}

func run(argv ...string) error {
	if raw, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(string(raw)))
	}
	return nil
}

// mounted tells whether something is mounted exactly there.
func mounted(path string) bool {
	raw, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(raw)) {
		if fields := strings.Fields(line); len(fields) > 4 && fields[4] == path {
			return true
		}
	}
	return false
}

// bind shows source at target too.
func bind(source, target string, readOnly bool) error {
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s to %s: %w", source, target, err)
	}
	if readOnly {
		if err := unix.Mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			_ = unix.Unmount(target, 0)
			return fmt.Errorf("make %s read-only: %w", target, err)
		}
	}
	return nil
}

func unmount(target string) error {
	for mounted(target) {
		if err := unix.Unmount(target, 0); err != nil {
			return fmt.Errorf("unmount %s: %w", target, err)
		}
	}
	return nil
}
