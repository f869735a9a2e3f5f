package leftovers

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"strongroom.dev/cluster/internal/state"
)

const (
	// partsLeaf holds the cluster's own processes on cgroup v2, where only leaves may hold any.
	partsLeaf = "parts"
	// movedGroup holds the processes that were in the root of a container. No cluster's group has this name.
	movedGroup = "strongroom_moved"
)

// unified is the hierarchy of cgroup v2.
type unified struct {
	root   string
	kernel kernel
}

// kernel changes the hierarchy. The tests have one of their own.
type kernel interface {
	mkdir(dir string) error
	write(path, text string) error
	rmdir(dir string) error
}

type realKernel struct{}

func (realKernel) mkdir(dir string) error        { return os.MkdirAll(dir, 0o755) }
func (realKernel) write(path, text string) error { return os.WriteFile(path, []byte(text), 0o644) }
func (realKernel) rmdir(dir string) error        { return os.Remove(dir) }

// TakeBack undoes, once no cluster is left, what the first one did to the root of the hierarchy.
func TakeBack() error {
	if !CgroupV2() {
		return nil
	}
	return unified{cgroupMount, realKernel{}}.takeBack()
}

// lock keeps a cluster that comes and one that goes from changing the root at once. It is held on the root
// itself, since clusters with different caches share that and nothing else.
func (u unified) lock() (func(), error) {
	root, err := os.Open(u.root)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(root.Fd()), unix.LOCK_EX); err != nil {
		root.Close()
		return nil, err
	}
	return func() { root.Close() }, nil
}

func (u unified) prepare(name string) (string, error) {
	unlock, err := u.lock()
	if err != nil {
		return "", err
	}
	defer unlock()
	if err := u.emptyRoot(); err != nil {
		return "", err
	}
	if err := u.passOn(u.root); err != nil {
		return "", err
	}
	dir := filepath.Join(u.root, name)
	leaf := filepath.Join(dir, partsLeaf)
	if err := u.kernel.mkdir(leaf); err != nil {
		return "", err
	}
	return leaf, u.passOn(dir)
}

// emptyRoot moves the root's processes into a leaf where that is needed to pass controllers on. Only the
// machine's real root may do that while it holds processes itself; the root that a container sees is an
// ordinary group.
func (u unified) emptyRoot() error {
	missing, err := notPassedOn(u.root)
	if err != nil || len(missing) == 0 {
		return err
	}
	if _, err := os.Stat(filepath.Join(u.root, "cgroup.type")); err != nil {
		return nil
	}
	if len(processes(u.root)) == 0 {
		return nil
	}
	moved := filepath.Join(u.root, movedGroup)
	if err := u.kernel.mkdir(moved); err != nil {
		return err
	}
	return u.move(u.root, moved)
}

// takeBack brings processes back that emptyRoot moved. While they were in the root, nobody can have passed on
// what a group with processes cannot, so that what is passed on now is so because of us.
func (u unified) takeBack() error {
	unlock, err := u.lock()
	if err != nil {
		return err
	}
	defer unlock()
	moved := filepath.Join(u.root, movedGroup)
	if _, err := os.Stat(moved); err != nil {
		return nil
	}
	clusters, err := filepath.Glob(filepath.Join(u.root, state.CgroupPrefix+"*"))
	if err != nil || len(clusters) > 0 {
		return err
	}
	control := filepath.Join(u.root, "cgroup.subtree_control")
	if enabled := fields(control); len(enabled) > 0 {
		// All at once: the kernel takes back either all of them or none.
		if err := u.kernel.write(control, "-"+strings.Join(enabled, " -")); err != nil {
			return fmt.Errorf("processes of %s stay in %s, because other groups came to need what is passed on: %w", u.root, moved, err)
		}
	}
	if err := u.move(moved, u.root); err != nil {
		return err
	}
	return u.kernel.rmdir(moved)
}

// passOn passes a group's controllers on to its children.
func (u unified) passOn(dir string) error {
	missing, err := notPassedOn(dir)
	if err != nil {
		return err
	}
	for _, controller := range missing {
		err := u.kernel.write(filepath.Join(dir, "cgroup.subtree_control"), "+"+controller)
		needed := slices.Contains([]string{"cpu", "memory", "pids"}, controller)
		if err != nil && needed {
			return fmt.Errorf("cgroup v2: cannot pass %s on from %s: %w", controller, dir, err)
		}
	}
	return nil
}

func notPassedOn(dir string) ([]string, error) {
	raw, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return nil, err
	}
	enabled := fields(filepath.Join(dir, "cgroup.subtree_control"))
	return slices.DeleteFunc(strings.Fields(string(raw)), func(controller string) bool {
		return slices.Contains(enabled, controller)
	}), nil
}

// move goes on until no process is left, since they start others meanwhile.
func (u unified) move(from, to string) error {
	deadline := time.Now().Add(5 * time.Second)
	for {
		pids := processes(from)
		if len(pids) == 0 {
			return nil
		}
		var failed error
		for _, pid := range pids {
			// It may have ended.
			if err := u.kernel.write(filepath.Join(to, "cgroup.procs"), strconv.Itoa(pid)); err != nil {
				failed = fmt.Errorf("move process %d from %s to %s: %w", pid, from, to, err)
			}
		}
		if failed != nil {
			if time.Now().After(deadline) {
				return failed
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

func fields(path string) []string {
	raw, _ := os.ReadFile(path)
	return strings.Fields(string(raw))
}
