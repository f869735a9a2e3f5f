package leftovers

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fakeKernel keeps a folder tree by the rules of cgroup v2 that matter here.
type fakeKernel struct{ t *testing.T }

// newTree is the root that a container sees: an ordinary group that holds its processes.
func newTree(t *testing.T) (unified, fakeKernel) {
	k := fakeKernel{t}
	u := unified{root: filepath.Join(t.TempDir(), "cgroup"), kernel: k}
	k.file(u.root, "cgroup.controllers", "cpuset cpu io memory pids")
	k.file(u.root, "cgroup.type", "domain")
	k.file(u.root, "cgroup.subtree_control", "")
	k.file(u.root, "cgroup.procs", "1 12 345 0")
	return u, k
}

func (k fakeKernel) file(dir, name, text string) {
	k.t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		k.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		k.t.Fatal(err)
	}
}

func (k fakeKernel) mkdir(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := k.mkdir(filepath.Dir(dir)); err != nil {
		return err
	}
	k.file(dir, "cgroup.controllers", strings.Join(fields(filepath.Join(filepath.Dir(dir), "cgroup.subtree_control")), " "))
	for _, name := range []string{"cgroup.type", "cgroup.subtree_control", "cgroup.procs"} {
		k.file(dir, name, "")
	}
	return nil
}

func (k fakeKernel) write(path, text string) error {
	dir, name := filepath.Split(path)
	switch name {
	case "cgroup.procs":
		return k.enter(dir, text)
	case "cgroup.subtree_control":
		return k.passOn(dir, strings.Fields(text))
	}
	return fmt.Errorf("%s is not known here", path)
}

// enter moves a process; 999 has ended.
func (k fakeKernel) enter(dir, pid string) error {
	if len(fields(filepath.Join(dir, "cgroup.subtree_control"))) > 0 {
		return unix.EBUSY
	}
	for _, other := range k.groups(filepath.Dir(filepath.Clean(dir))) {
		left := slices.DeleteFunc(fields(filepath.Join(other, "cgroup.procs")), func(p string) bool { return p == pid })
		k.file(other, "cgroup.procs", strings.Join(left, " "))
	}
	if pid == "999" {
		return unix.ESRCH
	}
	k.file(dir, "cgroup.procs", strings.Join(append(fields(filepath.Join(dir, "cgroup.procs")), pid), " "))
	return nil
}

// passOn obeys two rules: a group with processes passes nothing on unless it is the machine's root, and nothing
// that a child passes on is taken back.
func (k fakeKernel) passOn(dir string, words []string) error {
	enabled := fields(filepath.Join(dir, "cgroup.subtree_control"))
	_, ordinary := os.Stat(filepath.Join(dir, "cgroup.type"))
	for _, word := range words {
		controller := word[1:]
		if word[0] == '+' {
			if ordinary == nil && len(processes(dir)) > 0 {
				return unix.EBUSY
			}
			enabled = append(enabled, controller)
			continue
		}
		children, _ := filepath.Glob(filepath.Join(dir, "*", "cgroup.subtree_control"))
		for _, child := range children {
			if slices.Contains(fields(child), controller) {
				return unix.EBUSY
			}
		}
		enabled = slices.DeleteFunc(enabled, func(c string) bool { return c == controller })
	}
	k.file(dir, "cgroup.subtree_control", strings.Join(enabled, " "))
	children, _ := filepath.Glob(filepath.Join(dir, "*", "cgroup.controllers"))
	for _, child := range children {
		k.file(filepath.Dir(child), "cgroup.controllers", strings.Join(enabled, " "))
	}
	return nil
}

func (k fakeKernel) rmdir(dir string) error {
	if groups := k.groups(dir); len(groups) > 1 || len(processes(dir)) > 0 {
		return unix.EBUSY
	}
	return os.RemoveAll(dir)
}

func (k fakeKernel) groups(root string) []string {
	var found []string
	_ = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			found = append(found, path)
		}
		return nil
	})
	return found
}

// end removes a cluster's groups, as Remove does.
func (k fakeKernel) end(u unified, name string) {
	groups := k.groups(filepath.Join(u.root, name))
	slices.Reverse(groups)
	for _, group := range groups {
		if err := k.rmdir(group); err != nil {
			k.t.Fatal(err)
		}
	}
}

// root tells the processes of the root, and what it passes on.
func root(u unified) (pids []int, passedOn []string) {
	pids = processes(u.root)
	slices.Sort(pids)
	return pids, fields(filepath.Join(u.root, "cgroup.subtree_control"))
}

func prepare(t *testing.T, u unified, name string) {
	t.Helper()
	leaf, err := u.prepare(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{u.root, filepath.Dir(leaf)} {
		if missing, err := notPassedOn(dir); err != nil || len(missing) != 0 {
			t.Errorf("%s does not pass on %v (%v)", dir, missing, err)
		}
	}
}

func TestTheRootOfAContainerIsAsBeforeOnceTheLastClusterIsGone(t *testing.T) {
	u, k := newTree(t)
	prepare(t, u, "strongroom-a")
	prepare(t, u, "strongroom-moved")
	moved := filepath.Join(u.root, movedGroup)
	if got := processes(moved); !slices.Equal(got, []int{1, 12, 345}) {
		t.Errorf("moved were %v", got)
	}
	// What they start is where they are; one ends.
	k.file(moved, "cgroup.procs", "1 12 345 678 999")

	k.end(u, "strongroom-a")
	if err := u.takeBack(); err != nil {
		t.Fatal(err)
	}
	if pids, passedOn := root(u); len(pids) != 0 || len(passedOn) != 5 {
		t.Errorf("a cluster still runs, but the root has %v and passes on %v", pids, passedOn)
	}

	k.end(u, "strongroom-moved")
	if err := u.takeBack(); err != nil {
		t.Fatal(err)
	}
	if pids, passedOn := root(u); !slices.Equal(pids, []int{1, 12, 345, 678}) || len(passedOn) != 0 {
		t.Errorf("the root has %v and passes on %v", pids, passedOn)
	}
	if groups := k.groups(u.root); len(groups) != 1 {
		t.Errorf("left: %v", groups)
	}
	if err := u.takeBack(); err != nil {
		t.Errorf("again: %v", err)
	}
	prepare(t, u, "strongroom-a")
}

func TestWhatOthersCameToNeedStaysPassedOn(t *testing.T) {
	u, k := newTree(t)
	prepare(t, u, "strongroom-a")
	other := filepath.Join(u.root, "engine")
	if err := u.kernel.mkdir(other); err != nil {
		t.Fatal(err)
	}
	if err := u.passOn(other); err != nil {
		t.Fatal(err)
	}
	k.end(u, "strongroom-a")
	err := u.takeBack()
	if err == nil || !strings.Contains(err.Error(), movedGroup) {
		t.Errorf("the error is %v", err)
	}
	if _, passedOn := root(u); len(passedOn) != 5 || len(processes(filepath.Join(u.root, movedGroup))) != 3 {
		t.Errorf("something was changed: %v is passed on", passedOn)
	}
	k.end(u, "engine")
	if err := u.takeBack(); err != nil {
		t.Errorf("when they are gone: %v", err)
	}
}

func TestTheRootOfAMachineKeepsItsProcesses(t *testing.T) {
	u, k := newTree(t)
	if err := os.Remove(filepath.Join(u.root, "cgroup.type")); err != nil {
		t.Fatal(err)
	}
	k.file(u.root, "cgroup.subtree_control", "memory")
	prepare(t, u, "strongroom-a")
	k.end(u, "strongroom-a")
	if err := u.takeBack(); err != nil {
		t.Fatal(err)
	}
	if groups := k.groups(u.root); len(groups) != 1 {
		t.Errorf("left: %v", groups)
	}
	if pids, passedOn := root(u); len(pids) != 3 || len(passedOn) != 5 {
		t.Errorf("it has %v and passes on %v", pids, passedOn)
	}
}

func TestWhatGoesWaitsForWhatComes(t *testing.T) {
	u, k := newTree(t)
	prepare(t, u, "strongroom-a")
	k.end(u, "strongroom-a")
	unlock, err := u.lock()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- u.takeBack() }()
	select {
	case err := <-done:
		t.Fatalf("it did not wait (%v)", err)
	case <-time.After(50 * time.Millisecond):
	}
	unlock()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if pids, _ := root(u); len(pids) != 3 {
		t.Errorf("the root has %v", pids)
	}
}

// On cgroup v2 the kernel itself is asked whether it agrees with the fake one: a group of the machine is then
// what a container's root is.
func TestTheKernelAgrees(t *testing.T) {
	u := unified{filepath.Join(cgroupMount, fmt.Sprintf("strongroom_test_%d", os.Getpid())), realKernel{}}
	if !CgroupV2() || os.Geteuid() != 0 || u.kernel.mkdir(u.root) != nil {
		t.Skip("this needs root on a machine with cgroup v2")
	}
	defer u.kernel.rmdir(u.root)
	if controllers := fields(filepath.Join(u.root, "cgroup.controllers")); !slices.Contains(controllers, "memory") {
		t.Skipf("%s has only %v", u.root, controllers)
	}
	group, err := os.Open(u.root)
	if err != nil {
		t.Fatal(err)
	}
	defer group.Close()
	sleep := exec.Command("sleep", "60")
	sleep.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.Fd())}
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	defer sleep.Wait()
	defer sleep.Process.Kill()

	prepare(t, u, "strongroom-a")
	other := filepath.Join(u.root, "engine")
	if err := u.kernel.mkdir(other); err != nil {
		t.Fatal(err)
	}
	defer u.kernel.rmdir(other)
	if err := u.passOn(other); err != nil {
		t.Fatal(err)
	}
	moved := filepath.Join(u.root, movedGroup)
	stays := func(why string) {
		if _, passedOn := root(u); len(passedOn) < 3 || !slices.Equal(processes(moved), []int{sleep.Process.Pid}) {
			t.Errorf("%s: %v is passed on, moved are %v", why, passedOn, processes(moved))
		}
	}
	if err := u.takeBack(); err != nil {
		t.Error(err)
	}
	stays("a cluster is left")
	for _, dir := range []string{filepath.Join(u.root, "strongroom-a", partsLeaf), filepath.Join(u.root, "strongroom-a")} {
		if err := u.kernel.rmdir(dir); err != nil {
			t.Fatal(err)
		}
	}
	if err := u.takeBack(); !errors.Is(err, unix.EBUSY) {
		t.Errorf("others need what is passed on: %v", err)
	}
	stays("others need what is passed on")
	if err := u.kernel.rmdir(other); err != nil {
		t.Fatal(err)
	}
	if err := u.takeBack(); err != nil {
		t.Error(err)
	}
	if pids, passedOn := root(u); !slices.Equal(pids, []int{sleep.Process.Pid}) || len(passedOn) != 0 {
		t.Errorf("the root has %v and passes on %v", pids, passedOn)
	}
	if _, err := os.Stat(moved); err == nil {
		t.Errorf("%s is left", moved)
	}
}
