// Package leftovers makes and removes what a cluster has outside of its namespaces: cgroups and loop devices.
package leftovers

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const cgroupMount = "/sys/fs/cgroup"

// CgroupV2 tells whether the machine has the unified hierarchy.
func CgroupV2() bool { return isFilesystem(cgroupMount, unix.CGROUP2_SUPER_MAGIC) }

func isFilesystem(path string, magic int64) bool {
	var stat unix.Statfs_t
	return unix.Statfs(path, &stat) == nil && int64(stat.Type) == magic
}

// PrepareCgroups makes the cgroup below which the kubelet puts the pods. On cgroup v2 it returns the
// folder in which the cluster's own processes have to start, else "".
func PrepareCgroups(name string) (string, error) {
	if CgroupV2() {
		return unified{cgroupMount, realKernel{}}.prepare(name)
	}
	hierarchies := v1Hierarchies()
	if len(hierarchies) == 0 {
		return "", errors.New("no cgroup hierarchy is mounted at " + cgroupMount)
	}
	for _, hierarchy := range hierarchies {
		dir := filepath.Join(hierarchy, name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return "", err
		}
		// A new cpuset group is empty, and nothing can run in an empty one.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			if raw, err := os.ReadFile(filepath.Join(hierarchy, file)); err == nil {
				if err := os.WriteFile(filepath.Join(dir, file), raw, 0o644); err != nil {
					return "", err
				}
			}
		}
		// All pods together would else get as much as one of the machine's own processes.
		if err := writeIfThere(filepath.Join(dir, "cpu.shares"), "4096"); err != nil {
			return "", err
		}
	}
	return "", nil
}

func writeIfThere(path, text string) error {
	if _, err := os.Stat(path); err != nil {
		return nil
	}
	return os.WriteFile(path, []byte(text), 0o644)
}

// v1Hierarchies are the mounted ones; the names that join two controllers are links to the same.
func v1Hierarchies() []string {
	entries, _ := os.ReadDir(cgroupMount)
	var found []string
	for _, entry := range entries {
		path := filepath.Join(cgroupMount, entry.Name())
		if entry.IsDir() && isFilesystem(path, unix.CGROUP_SUPER_MAGIC) {
			found = append(found, path)
		}
	}
	return found
}

func processes(dir string) []int {
	raw, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	var pids []int
	for _, field := range strings.Fields(string(raw)) {
		// 0 stands for a process of an outer PID namespace.
		if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Cgroups lists the folders that exist under a cluster's name, deepest first.
func Cgroups(name string) []string {
	// Where both versions are mounted, runc makes groups in the second too.
	roots := []string{filepath.Join(cgroupMount, name), filepath.Join(cgroupMount, "unified", name)}
	for _, hierarchy := range v1Hierarchies() {
		roots = append(roots, filepath.Join(hierarchy, name))
	}
	var found []string
	for _, root := range roots {
		_ = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				found = append(found, path)
			}
			return nil
		})
	}
	slices.Reverse(found)
	return found
}

// removeCgroups kills what is left in the groups and removes them.
func removeCgroups(name string) {
	for _, dir := range Cgroups(name) {
		for _, pid := range processes(dir) {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		_ = unix.Rmdir(dir)
	}
}
