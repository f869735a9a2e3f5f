// Package node is everything that runs inside a cluster's namespaces: PID 1, the supervisor, and the parts it keeps alive.
package node

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"strongroom.dev/cluster/internal/state"
)

// proxyFD is the listening socket that `up` opened in the host's network and hands down.
const proxyFD = 3

// Init is PID 1 of the cluster. It only starts the supervisor and reaps orphans (containerd's shims
// leave many): a process that does both would take the exit status of its own children away from itself.
// When it ends, the kernel kills everything in its PID namespace.
func Init(c state.Cluster) error {
	// Until /proc is mounted anew it is the host's, and shows the id by which `down` finds us.
	self, err := os.Readlink("/proc/self")
	if err != nil {
		return err
	}
	hostPID, err := strconv.Atoi(self)
	if err != nil {
		return err
	}
	if err := c.RecordInit(hostPID); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	proxy := os.NewFile(proxyFD, "proxy")
	child, err := os.StartProcess("/proc/self/exe", []string{"strongroom-cluster", "internal-supervise", "--name", c.Name},
		&os.ProcAttr{Env: os.Environ(), Files: []*os.File{nil, os.Stdout, os.Stderr, proxy}})
	if err != nil {
		return err
	}
	proxy.Close() // or connections would wait for a supervisor that is gone
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait: %w", err)
		}
		if pid == child.Pid {
			return fmt.Errorf("the supervisor ended: %s", describe(status))
		}
	}
}

func describe(status unix.WaitStatus) string {
	if status.Signaled() {
		return "signal " + status.Signal().String()
	}
	return fmt.Sprintf("exit status %d", status.ExitStatus())
}
