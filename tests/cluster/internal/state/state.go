// Package state knows where a cluster keeps what it writes, and whether it is alive.
// Nothing of it lies in the checkout.
package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A name becomes part of paths, cgroups and image storage, and socket paths may have 107 bytes.
var validName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?$`)

// Cache is the folder outside of the checkout for built programs and running clusters.
func Cache() (string, error) {
	if dir := os.Getenv("STRONGROOM_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("set STRONGROOM_CACHE or HOME: %w", err)
	}
	return filepath.Join(home, ".cache", "strongroom"), nil
}

// Cluster is one cluster's folder.
type Cluster struct {
	Name string
	Dir  string
}

// Open names a cluster's folder; it does not have to exist.
func Open(name string) (Cluster, error) {
	if !validName.MatchString(name) {
		return Cluster{}, fmt.Errorf("cluster name %q: use up to 20 small letters, digits and dashes", name)
	}
	cache, err := Cache()
	if err != nil {
		return Cluster{}, err
	}
	return Cluster{Name: name, Dir: filepath.Join(cache, "clusters", name)}, nil
}

// Path is a file or folder of the cluster.
func (c Cluster) Path(elem ...string) string {
	return filepath.Join(append([]string{c.Dir}, elem...)...)
}

// CgroupPrefix is how the names of all clusters' cgroups begin.
const CgroupPrefix = "strongroom-"

// Cgroup is the name of the cluster's cgroup below the root of each hierarchy.
func (c Cluster) Cgroup() string { return CgroupPrefix + c.Name }

// Kubeconfig is for the host, through the proxy.
func (c Cluster) Kubeconfig() string { return c.Path("kubeconfig") }

// InsideKubeconfig is for processes in the cluster's own network.
func (c Cluster) InsideKubeconfig() string { return c.Path("kubeconfig-inside") }

// AuditLog is where the API server records every request.
func (c Cluster) AuditLog() string { return c.Path("logs", "audit.log") }

// Lock keeps two commands from starting or stopping the same cluster at once.
func (c Cluster) Lock() (func(), error) {
	return LockFile(c.Dir + ".lock")
}

// LockFile waits for an exclusive lock that the kernel drops when the holder dies.
func LockFile(path string) (func(), error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		file.Close()
		return nil, err
	}
	return func() { file.Close() }, nil
}

// Init is the process that holds the cluster's namespaces: when it dies, everything in them dies.
type Init struct {
	PID int `json:"pid"`
	// Start is the kernel's start time: a process id alone may belong to someone else by now.
	Start string `json:"start"`
	Boot  string `json:"boot"`
}

// RecordInit writes down a process as the cluster's init.
func (c Cluster) RecordInit(pid int) error {
	start, err := startTime(pid)
	if err != nil {
		return err
	}
	return WriteJSON(c.Path("init.json"), Init{PID: pid, Start: start, Boot: bootID()})
}

// LiveInit returns the process id of the cluster's init, or 0 when the cluster is not running.
func (c Cluster) LiveInit() int {
	var record Init
	if err := ReadJSON(c.Path("init.json"), &record); err != nil || record.PID == 0 {
		return 0
	}
	start, err := startTime(record.PID)
	if err != nil || start != record.Start || record.Boot != bootID() {
		return 0
	}
	return record.PID
}

// Dying tells whether the init was killed: it has not noticed yet, or waits for the processes of its namespace.
func (c Cluster) Dying() bool {
	var record Init
	if err := ReadJSON(c.Path("init.json"), &record); err != nil {
		return false
	}
	stat, err := readStat(record.PID)
	return err == nil && stat.dying
}

// startTime of a process; a zombie counts as gone.
func startTime(pid int) (string, error) {
	stat, err := readStat(pid)
	if err == nil && (stat.condition == "Z" || stat.condition == "X") {
		err = os.ErrNotExist
	}
	return stat.start, err
}

type stat struct {
	condition string
	dying     bool
	start     string
}

// readStat reads fields 3, 9, 22 and 31 of /proc/PID/stat.
func readStat(pid int) (stat, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	// The second field is the command in parentheses and may hold anything.
	rest := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
	if len(rest) < 29 {
		return stat{}, errors.New("unexpected format of /proc/PID/stat")
	}
	const exiting = 0x4 // PF_EXITING
	flags, _ := strconv.ParseUint(rest[6], 10, 64)
	// On a busy machine a killed process takes a moment to get to its end: until then the signal is pending.
	const killed = 1 << (syscall.SIGKILL - 1)
	pending, _ := strconv.ParseUint(rest[28], 10, 64)
	return stat{condition: rest[0], dying: flags&exiting != 0 || pending&killed != 0, start: rest[19]}, nil
}

func bootID() string {
	raw, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(raw))
}

// WriteJSON replaces a file in one step, so that a reader never sees half of it.
func WriteJSON(path string, value any) error {
	raw, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	tmp := fmt.Sprintf("%s.%d.tmp", path, time.Now().UnixNano())
	if err := os.WriteFile(tmp, append(raw, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// ReadJSON reads what WriteJSON wrote.
func ReadJSON(path string, value any) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, value)
}
