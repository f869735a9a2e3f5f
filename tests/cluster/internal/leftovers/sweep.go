package leftovers

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"strongroom.dev/cluster/internal/state"
)

// Remove ends a cluster, alive or half dead, and waits until nothing of it is left. Its logs stay.
func Remove(c state.Cluster) error {
	deadline := time.Now().Add(60 * time.Second)
	// Killing PID 1 of the namespace makes the kernel kill everything in it, and with the last process
	// its mounts and interfaces go.
	for pid := c.LiveInit(); pid != 0; pid = c.LiveInit() {
		_ = unix.Kill(pid, unix.SIGKILL)
		if time.Now().After(deadline) {
			return fmt.Errorf("process %d of cluster %s does not end", pid, c.Name)
		}
		time.Sleep(10 * time.Millisecond)
	}
	for {
		removeCgroups(c.Cgroup())
		DetachLoops(c.Dir)
		left := Of(c)
		if len(left) == 0 {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("cluster %s leaves behind: %s", c.Name, strings.Join(left, ", "))
		}
		time.Sleep(20 * time.Millisecond)
	}
	return removeFiles(c)
}

// Of lists what the machine still has of a cluster: the things that `down` promises to remove.
func Of(c state.Cluster) []string {
	var left []string
	if pid := c.LiveInit(); pid != 0 {
		left = append(left, fmt.Sprintf("process %d", pid))
	}
	left = append(left, Cgroups(c.Cgroup())...)
	for _, loop := range loops(c.Dir) {
		left = append(left, loop)
	}
	mounts, _ := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, c.Dir+"/") {
			left = append(left, "mount "+strings.TrimSpace(line))
		}
	}
	return left
}

// loops are the loop devices with a file below dir. They belong to the machine, not to a namespace.
// The kernel shows a file on a file system inside a dead namespace with the path it had there, which
// lies below the cluster's folder too.
func loops(dir string) []string {
	files, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	var found []string
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err == nil && strings.HasPrefix(string(raw), dir+"/") {
			found = append(found, "/dev/"+strings.Split(file, "/")[3])
		}
	}
	return found
}

// DetachLoops frees the loop devices with a file below dir, and tells how many it saw; one that is still
// mounted goes when it is unmounted.
func DetachLoops(dir string) int {
	devices := loops(dir)
	for _, device := range devices {
		file, err := os.OpenFile(device, os.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		_ = unix.IoctlSetInt(int(file.Fd()), unix.LOOP_CLR_FD, 0)
		file.Close()
	}
	return len(devices)
}

func removeFiles(c state.Cluster) error {
	entries, err := os.ReadDir(c.Dir)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Name() == "logs" {
			continue
		}
		if err := os.RemoveAll(c.Path(entry.Name())); err != nil {
			return err
		}
	}
	return nil
}
