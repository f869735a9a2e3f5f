package selftest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"strongroom.dev/cluster/internal/state"
)

// lifecycleSuite checks that clusters live side by side and leave nothing behind, however they end.
func lifecycleSuite(b *bench) error {
	first, err := scratch("b")
	if err != nil {
		return err
	}
	second, err := scratch("c")
	if err != nil {
		return err
	}
	defer b.discard(first)
	defer b.discard(second)
	b.checks([]check{
		{"two clusters run side by side", func(b *bench) error { return sideBySide(b, first, second) }},
		{"up on a running cluster says so", func(*bench) error { return upAgain(first) }},
		{"down of one leaves nothing of it and the other alone", func(b *bench) error { return downOne(b, first, second) }},
		{"killed parts are started again", func(b *bench) error { return killParts(b, first) }},
		{"after killed parts, down leaves nothing", func(*bench) error { return endsClean(first, nil) }},
		{"down on nothing succeeds", func(*bench) error { return downAgain(first) }},
		{"after kill -9 of the supervisor, down leaves nothing", func(b *bench) error { return killed(b, first, "internal-supervise") }},
		{"after kill -9 of PID 1, up begins anew, and down leaves nothing", func(b *bench) error { return killed(b, first, "internal-init") }},
	})
	return nil
}

// busyCluster starts a cluster with a pod that has a volume of each kind mounted.
func busyCluster(c state.Cluster) (kube, error) {
	if _, err := self("up", "--name", c.Name); err != nil {
		return kube{}, err
	}
	k, err := newKube(c)
	if err != nil {
		return k, err
	}
	if err := k.apply(
		claim("default", "block", "ceph-block-wait", "ReadWriteOnce", ""), claim("default", "files", "ceph-filesystem", "ReadWriteMany", ""),
		pod("default", "on-block", "block"), pod("default", "on-files", "files")); err != nil {
		return k, err
	}
	for _, name := range []string{"on-block", "on-files"} {
		if err := k.await("pod", "default", name, "{.status.phase}", "Running"); err != nil {
			return k, err
		}
	}
	return k, nil
}

func sideBySide(b *bench, first, second state.Cluster) error {
	begin := time.Now()
	for _, c := range []state.Cluster{first, second} {
		if _, err := busyCluster(c); err != nil {
			return err
		}
	}
	fmt.Fprintf(b.out, "      two clusters with running pods after %.1f s\n", time.Since(begin).Seconds())
	return nil
}

func upAgain(c state.Cluster) error {
	out, err := self("up", "--name", c.Name)
	if err == nil && !strings.Contains(out, "is running already") {
		err = errors.New(out)
	}
	return err
}

func downOne(b *bench, first, second state.Cluster) error {
	if err := endsClean(second, nil); err != nil {
		return err
	}
	k, err := newKube(first)
	if err != nil {
		return err
	}
	_, err = k.sh("default", "on-block", "echo still here > /data/file")
	return err
}

// killParts kills what a pod with a volume depends on, and expects all of it back.
func killParts(b *bench, c state.Cluster) error {
	victims := []string{"containerd", "etcd", "kube-apiserver", "kubelet", "csi-driver-rbd", "csi-driver-cephfs"}
	for _, victim := range victims {
		pid, err := partPID(c, victim)
		if err != nil {
			return err
		}
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			return fmt.Errorf("%s: %w", victim, err)
		}
	}
	for _, victim := range victims {
		if err := eventually(30*time.Second, func() error { _, err := partPID(c, victim); return err }); err != nil {
			return err
		}
	}
	k, err := newKube(c)
	if err != nil {
		return err
	}
	if err := eventually(60*time.Second, func() error {
		return k.apply(claim("default", "after", "ceph-block", "ReadWriteOnce", ""), pod("default", "after", "after"))
	}); err != nil {
		return err
	}
	return eventually(60*time.Second, func() error { return k.await("pod", "default", "after", "{.status.phase}", "Running") })
}

// partPID is a part's process id on the host, as `status` shows it.
func partPID(c state.Cluster, name string) (int, error) {
	out, err := self("status", "--name", c.Name)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(out) {
		var part string
		var pid int
		if n, _ := fmt.Sscan(line, &part, &pid); n == 2 && part == name && pid != 0 {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("part %s is not running:\n%s", name, out)
}

func downAgain(c state.Cluster) error {
	_, err := self("down", "--name", c.Name)
	return err
}

// killed ends a busy cluster the hard way. For PID 1 it also starts it again without a `down` between.
func killed(b *bench, c state.Cluster, victim string) error {
	if _, err := busyCluster(c); err != nil {
		return err
	}
	pid := 0
	for _, p := range processesOf(c) {
		if strings.Contains(p.command, victim) {
			pid = p.pid
		}
	}
	if pid == 0 {
		return fmt.Errorf("no process %s", victim)
	}
	namespaces := namespacesOf(c.LiveInit())
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		return err
	}
	if victim == "internal-init" {
		if _, err := busyCluster(c); err != nil {
			return fmt.Errorf("up after the kill: %w", err)
		}
		namespaces = append(namespaces, namespacesOf(c.LiveInit())...)
	}
	return endsClean(c, namespaces)
}

// endsClean takes a cluster down and looks at the machine itself for what is left of it.
func endsClean(c state.Cluster, namespaces []string) error {
	namespaces = append(namespaces, namespacesOf(c.LiveInit())...)
	links := hostLinks()
	if _, err := self("down", "--name", c.Name); err != nil {
		return err
	}
	left := leftOn(c, namespaces)
	if after := hostLinks(); !slices.Equal(links, after) {
		left = append(left, fmt.Sprintf("the host's interfaces were %v and are %v", links, after))
	}
	if len(left) > 0 {
		return fmt.Errorf("left behind: %s", strings.Join(left, "; "))
	}
	return nil
}

func hostLinks() []string {
	entries, _ := os.ReadDir("/sys/class/net")
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// leftOn does not trust the program's own list of leftovers.
func leftOn(c state.Cluster, namespaces []string) []string {
	var left []string
	for _, p := range processesOf(c) {
		left = append(left, fmt.Sprintf("process %d %s", p.pid, p.command))
	}
	// A zombie has no mount namespace any more: it holds nothing, and PID 1 of the host reaps it in a moment.
	for _, link := range globLinks("/proc/[0-9]*/ns/[mn]*") {
		if slices.Contains(namespaces, link) {
			left = append(left, "a process in namespace "+link)
		}
	}
	files, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, file := range append(files, "/proc/mounts") {
		if raw, err := os.ReadFile(file); err == nil && strings.Contains(string(raw), c.Dir) {
			left = append(left, file+" names the cluster's folder")
		}
	}
	for _, pattern := range []string{"/sys/fs/cgroup/*", "/sys/fs/cgroup/*/*", "/sys/fs/cgroup/*/*/*"} {
		found, _ := filepath.Glob(pattern + c.Name + "*")
		left = append(left, found...)
	}
	return left
}

func namespacesOf(pid int) []string {
	if pid == 0 {
		return nil
	}
	var links []string
	for _, kind := range []string{"mnt", "net"} {
		if link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, kind)); err == nil {
			links = append(links, link)
		}
	}
	return links
}

func globLinks(pattern string) []string {
	paths, _ := filepath.Glob(pattern)
	var links []string
	for _, path := range paths {
		if link, err := os.Readlink(path); err == nil {
			links = append(links, link)
		}
	}
	return links
}

type process struct {
	pid     int
	command string
}

// processesOf are those that name the cluster in their command line: its own programs all do.
func processesOf(c state.Cluster) []process {
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	var found []process
	for _, path := range paths {
		raw, _ := os.ReadFile(path)
		command := strings.ReplaceAll(string(raw), "\x00", " ")
		own := strings.Contains(command, "internal-") && strings.Contains(command, "--name "+c.Name+" ")
		if own || strings.Contains(command, c.Dir+"/") {
			var pid int
			fmt.Sscanf(path, "/proc/%d/cmdline", &pid)
			found = append(found, process{pid: pid, command: command})
		}
	}
	return found
}
