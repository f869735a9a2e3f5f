package csi

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// rbd keeps each volume as an image with ext4, and clones images by reflink on XFS. As with Ceph's block
// devices a clone takes milliseconds, is crash-consistent, keeps inode numbers and ctime, and cannot be
// mounted read-only while its journal wants to be replayed.
type rbd struct{ pool string }

func (r *rbd) open(image string) error {
	return openPool(image, r.pool, "noatime", "mkfs.xfs", "-q", "-K", "-m", "reflink=1")
}

func (r *rbd) singleNode() bool { return true }

func (r *rbd) image(id string) string { return filepath.Join(r.pool, "volumes", id+".img") }

func (r *rbd) snapshotImage(id string) string { return filepath.Join(r.pool, "snapshots", id+".img") }

func (r *rbd) create(v volume) error { return sparse(r.image(v.ID), v.Bytes) }

func (r *rbd) clone(v volume) error {
	source := r.image(v.SourceVolume)
	if v.SourceSnapshot != "" {
		source = r.snapshotImage(v.SourceSnapshot)
	}
	if err := reflink(source, r.image(v.ID)); err != nil {
		return err
	}
	return os.Truncate(r.image(v.ID), v.Bytes)
}

func (r *rbd) remove(v volume) error { return removeIfThere(r.image(v.ID)) }

func (r *rbd) inUse(v volume) bool { return r.loop(v) != "" }

func (r *rbd) snapshot(volumeID, snapshotID string) error {
	return reflink(r.image(volumeID), r.snapshotImage(snapshotID))
}

func (r *rbd) removeSnapshot(id string) error { return removeIfThere(r.snapshotImage(id)) }

func (r *rbd) resize(v volume) (bool, error) { return true, os.Truncate(r.image(v.ID), v.Bytes) }

// reflink copies a file by sharing its blocks: one moment of it, whoever is writing.
func reflink(source, target string) error {
	in, err := os.Open(source)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(target + ".tmp")
	if err != nil {
		return err
	}
	defer out.Close()
	if err := unix.IoctlFileClone(int(out.Fd()), int(in.Fd())); err != nil {
		return fmt.Errorf("clone %s: %w", source, err)
	}
	return os.Rename(target+".tmp", target)
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func (r *rbd) stage(v volume, target string, block, readOnly bool, flags []string) error {
	image := r.image(v.ID)
	if block {
		if r.loop(v) != "" {
			return nil
		}
		argv := []string{"losetup", "--find"}
		if readOnly {
			argv = append(argv, "--read-only")
		}
		return run(append(argv, image)...)
	}
	if readOnly {
		// Read-only down to the device, as ceph-csi maps it: ext4 refuses where the journal is dirty.
		return run("mount", "-t", "ext4", "-o", strings.Join(append([]string{"loop", "ro"}, flags...), ","), image, target)
	}
	if blank, err := isBlank(image); err != nil {
		return err
	} else if blank {
		err := run("mkfs.ext4", "-q", "-F", "-m0", "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1", image)
		if err != nil {
			return err
		}
	}
	// Without barriers nothing waits for the machine's disk; what a clone sees is the same, because the
	// pool's page cache keeps the order of writes.
	options := append([]string{"loop", "barrier=0", "noinit_itable"}, flags...)
	return run("mount", "-t", "ext4", "-o", strings.Join(options, ","), image, target)
}

// isBlank looks for ext4's magic number.
func isBlank(image string) (bool, error) {
	file, err := os.Open(image)
	if err != nil {
		return false, err
	}
	defer file.Close()
	var magic [2]byte
	if _, err := file.ReadAt(magic[:], 1024+56); err != nil {
		return false, err
	}
	return magic != [2]byte{0x53, 0xef}, nil
}

func (r *rbd) unstage(v volume, target string) error {
	if err := unmount(target); err != nil {
		return err
	}
	if device := r.loop(v); device != "" { // a raw block volume: no mount keeps or frees it
		return run("losetup", "--detach", device)
	}
	return nil
}

func (r *rbd) grow(v volume, _ string) error {
	device, err := r.device(v)
	if err != nil {
		return err
	}
	if err := run("losetup", "--set-capacity", device); err != nil {
		return err
	}
	if blank, err := isBlank(r.image(v.ID)); err != nil || blank {
		return err
	}
	return run("resize2fs", device)
}

func (r *rbd) device(v volume) (string, error) {
	if device := r.loop(v); device != "" {
		return device, nil
	}
	return "", fmt.Errorf("volume %s is not attached", v.ID)
}

// loop finds the device that a volume's image is attached to.
func (r *rbd) loop(v volume) string {
	files, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, file := range files {
		if raw, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(raw)) == r.image(v.ID) {
			return "/dev/" + strings.Split(file, "/")[3]
		}
	}
	return ""
}

func (r *rbd) used(_ volume, path string) (int64, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(path, &stat); err != nil {
		return 0, err
	}
	return int64(stat.Blocks-stat.Bfree) * stat.Bsize, nil
}

// fill takes all free blocks for a file without a name, so that nothing of it is to be seen in the volume.
func (r *rbd) fill(_ volume, path string) (filling, error) {
	fd, err := unix.Open(path, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return filling{}, err
	}
	var end int64
	grow := func() {
		for step := int64(1 << 30); step >= 4096; {
			if unix.Fallocate(fd, 0, end, step) == nil {
				end += step
			} else {
				step /= 2
			}
		}
	}
	grow()
	return filling{grow: grow, release: func() { unix.Close(fd) }}, nil
}
