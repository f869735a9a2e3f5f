package csi

import (
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// cephfs keeps each volume as a btrfs subvolume and each snapshot as a read-only one; a quota limits a
// volume, and exceeding it is EDQUOT, as with CephFS. A shallow volume is a snapshot, mounted where it is.
type cephfs struct{ pool string }

func (c *cephfs) open(image string) error {
	if err := openPool(image, c.pool, "noatime", "mkfs.btrfs", "-q", "-K", "-m", "single", "-d", "single"); err != nil {
		return err
	}
	return run("btrfs", "quota", "enable", c.pool)
}

func (c *cephfs) singleNode() bool { return false }

func (c *cephfs) folder(id string) string { return filepath.Join(c.pool, "volumes", id) }

func (c *cephfs) snapshotFolder(id string) string { return filepath.Join(c.pool, "snapshots", id) }

func (c *cephfs) create(v volume) error {
	if err := run("btrfs", "subvolume", "create", c.folder(v.ID)); err != nil {
		return err
	}
	return c.limit(v, v.Bytes)
}

func (c *cephfs) clone(v volume) error {
	source := c.folder(v.SourceVolume)
	if v.SourceSnapshot != "" {
		source = c.snapshotFolder(v.SourceSnapshot)
	}
	if err := run("btrfs", "subvolume", "snapshot", source, c.folder(v.ID)); err != nil {
		return err
	}
	return c.limit(v, v.Bytes)
}

// limit sets a volume's quota. It names the quota group and goes through the pool, because a full
// subvolume refuses even this on itself.
func (c *cephfs) limit(v volume, bytes int64) error {
	raw, err := exec.Command("btrfs", "inspect-internal", "rootid", c.folder(v.ID)).Output()
	if err != nil {
		return fmt.Errorf("find the quota group of volume %s: %w", v.ID, err)
	}
	return run("btrfs", "qgroup", "limit", strconv.FormatInt(bytes, 10), "0/"+strings.TrimSpace(string(raw)), c.pool)
}

func (c *cephfs) remove(v volume) error {
	if v.Shallow {
		return nil
	}
	return deleteSubvolume(c.folder(v.ID))
}

func (c *cephfs) inUse(volume) bool { return false }

func (c *cephfs) snapshot(volumeID, snapshotID string) error {
	return run("btrfs", "subvolume", "snapshot", "-r", c.folder(volumeID), c.snapshotFolder(snapshotID))
}

func (c *cephfs) removeSnapshot(id string) error { return deleteSubvolume(c.snapshotFolder(id)) }

func deleteSubvolume(path string) error {
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return run("btrfs", "subvolume", "delete", path)
}

func (c *cephfs) resize(v volume) (bool, error) { return false, c.limit(v, v.Bytes) }

func (c *cephfs) stage(v volume, target string, _, readOnly bool, _ []string) error {
	if v.Shallow {
		return bind(c.snapshotFolder(v.SourceSnapshot), target, true)
	}
	return bind(c.folder(v.ID), target, readOnly)
}

func (c *cephfs) unstage(_ volume, target string) error { return unmount(target) }

func (c *cephfs) grow(volume, string) error { return nil }

func (c *cephfs) device(v volume) (string, error) {
	return "", fmt.Errorf("volume %s is not a block volume", v.ID)
}

// used reads what the volume refers to: the pool's free space says nothing about one volume.
func (c *cephfs) used(_ volume, path string) (int64, error) {
	raw, err := exec.Command("btrfs", "qgroup", "show", "--raw", "-f", path).Output()
	if err != nil {
		return 0, fmt.Errorf("btrfs qgroup show %s: %w", path, err)
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	fields := strings.Fields(lines[len(lines)-1])
	if len(fields) < 2 {
		return 0, fmt.Errorf("unexpected output of btrfs qgroup show: %s", raw)
	}
	return strconv.ParseInt(fields[1], 10, 64)
}

// spare is what a full volume still has: without it btrfs refuses to delete files, as CephFS does not.
const spare = 64 << 10

// fill lowers the quota to what is used already.
func (c *cephfs) fill(v volume, path string) (filling, error) {
	if v.Shallow {
		return filling{grow: func() {}, release: func() {}}, nil
	}
	limit := v.Bytes
	// What was being written when the limit was set, and is deleted since, would be free again.
	lower := func() error {
		// What was deleted a moment ago still counts until it is written down.
		if err := run("btrfs", "filesystem", "sync", path); err != nil {
			return err
		}
		used, err := c.used(v, path)
		if err != nil || used+spare >= limit {
			return err
		}
		limit = used + spare
		return c.limit(v, limit)
	}
	if err := lower(); err != nil {
		return filling{}, err
	}
	grow := func() {
		if err := lower(); err != nil {
			log.Printf("cannot keep volume %s full: %v", v.ID, err)
		}
	}
	return filling{grow: grow, release: func() {
		if err := c.limit(v, v.Bytes); err != nil {
			log.Printf("cannot give volume %s its space back: %v", v.ID, err)
		}
	}}, nil
}
