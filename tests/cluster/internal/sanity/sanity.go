// Package sanity runs the CSI conformance suite against the storage drivers, without Kubernetes.
package sanity

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"strongroom.dev/cluster/internal/programs"
)

// run is one pass of the suite.
type run struct {
	name   string
	driver []string // flags of csi-driver
	suite  []string // flags of csi-sanity
}

var runs = []run{
	{name: "rbd", driver: []string{"--kind", "rbd"}},
	{name: "rbd, raw block", driver: []string{"--kind", "rbd"}, suite: []string{"-csi.testvolumeaccesstype", "block"}},
	{name: "rbd, with ListSnapshots", driver: []string{"--kind", "rbd", "--list-snapshots"}},
	{name: "cephfs", driver: []string{"--kind", "cephfs"}},
	{name: "cephfs, with ListSnapshots", driver: []string{"--kind", "cephfs", "--list-snapshots"}},
}

// Counts are the specs of a pass.
type Counts struct{ Passed, Failed, Skipped int }

// Inside runs everything in the mount and PID namespaces that the caller made for it, and in a folder of its own.
func Inside(dir string, out io.Writer) (Counts, error) {
	var total Counts
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return total, fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return total, fmt.Errorf("mount /proc: %w", err)
	}
	for i, r := range runs {
		begin := time.Now()
		counts, log, err := r.do(filepath.Join(dir, strconv.Itoa(i)))
		if err != nil {
			return total, fmt.Errorf("%s: %w\n%s", r.name, err, log)
		}
		fmt.Fprintf(out, "csi-sanity %s: %d passed, %d failed, %d skipped (%.1f s)\n",
			r.name, counts.Passed, counts.Failed, counts.Skipped, time.Since(begin).Seconds())
		if counts.Failed > 0 {
			fmt.Fprintln(out, failures(log))
		}
		total.Passed += counts.Passed
		total.Failed += counts.Failed
		total.Skipped += counts.Skipped
	}
	return total, nil
}

func (r run) do(dir string) (Counts, string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Counts{}, "", err
	}
	driverPath, err := programs.Path("csi-driver")
	if err != nil {
		return Counts{}, "", err
	}
	suitePath, err := programs.Path("csi-sanity")
	if err != nil {
		return Counts{}, "", err
	}
	socket := filepath.Join(dir, "csi.sock")
	driver := exec.Command(driverPath, append(r.driver, "--name", "sanity.example.com", "--node", "n1",
		"--socket", socket, "--root", filepath.Join(dir, "root"))...)
	driverLog, err := os.Create(filepath.Join(dir, "driver.log"))
	if err != nil {
		return Counts{}, "", err
	}
	defer driverLog.Close()
	driver.Stdout, driver.Stderr = driverLog, driverLog
	if err := driver.Start(); err != nil {
		return Counts{}, "", err
	}
	defer func() {
		_ = driver.Process.Kill()
		_ = driver.Wait()
		_ = unix.Unmount(filepath.Join(dir, "root", "pool"), 0)
	}()
	if err := awaitFile(socket); err != nil {
		raw, _ := os.ReadFile(driverLog.Name())
		return Counts{}, string(raw), err
	}
	suite := exec.Command(suitePath, append(r.suite, "-csi.endpoint", socket, "-csi.testvolumesize", strconv.Itoa(1<<30),
		"-csi.mountdir", filepath.Join(dir, "mount"), "-csi.stagingdir", filepath.Join(dir, "staging"), "-ginkgo.no-color")...)
	raw, err := suite.CombinedOutput()
	counts, ok := parse(string(raw))
	if !ok {
		return counts, string(raw), fmt.Errorf("the suite did not finish: %v", err)
	}
	return counts, string(raw), nil
}

func awaitFile(path string) error {
	for range 200 {
		if _, err := os.Stat(path); err == nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("%s did not appear", path)
}

// failures is the part of the suite's output that tells what went wrong first; one failure often causes many.
func failures(log string) string {
	if i := strings.Index(log, "[FAILED]"); i >= 0 {
		log = log[i:]
	}
	return log[:min(len(log), 4000)]
}

var summary = regexp.MustCompile(`(\d+) Passed \| (\d+) Failed \| \d+ Pending \| (\d+) Skipped`)

func parse(output string) (Counts, bool) {
	found := summary.FindStringSubmatch(output)
	if found == nil {
		return Counts{}, false
	}
	number := func(i int) int { n, _ := strconv.Atoi(found[i]); return n }
	return Counts{Passed: number(1), Failed: number(2), Skipped: number(3)}, true
}
