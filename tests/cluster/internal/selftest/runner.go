// Package selftest holds the cluster itself to what it promises: what its storage does, and that nothing
// of it is left afterwards.
package selftest

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"strongroom.dev/cluster/internal/state"
)

// check is one thing that has to hold.
type check struct {
	name string
	run  func(*bench) error
}

// bench is what the checks share.
type bench struct {
	out io.Writer
	// passed and failed count checks.
	passed, failed int
	kube           kube
}

// Run starts clusters of its own, runs all checks and ends with the counts.
func Run(out io.Writer) error {
	b := &bench{out: out}
	for _, suite := range []func(*bench) error{storageSuite, lifecycleSuite} {
		if err := suite(b); err != nil {
			b.failed++
			fmt.Fprintf(out, "FAIL  %v\n", err)
		}
	}
	fmt.Fprintf(out, "selftest: %d passed, %d failed\n", b.passed, b.failed)
	if b.failed > 0 {
		return fmt.Errorf("%d checks failed", b.failed)
	}
	return nil
}

func (b *bench) checks(all []check) {
	for _, c := range all {
		begin := time.Now()
		err := c.run(b)
		seconds := time.Since(begin).Seconds()
		if err != nil {
			b.failed++
			fmt.Fprintf(b.out, "FAIL  %s (%.1f s): %v\n", c.name, seconds, err)
			continue
		}
		b.passed++
		fmt.Fprintf(b.out, "ok    %s (%.1f s)\n", c.name, seconds)
	}
}

// self runs this program with other arguments.
func self(args ...string) (string, error) {
	raw, err := exec.Command("/proc/self/exe", args...).CombinedOutput()
	if err != nil {
		return string(raw), fmt.Errorf("cluster %s: %w: %s", strings.Join(args, " "), err, raw)
	}
	return string(raw), nil
}

// scratch is a cluster of the selftest's own; the process id keeps two runs apart.
func scratch(suffix string) (state.Cluster, error) {
	return state.Open(fmt.Sprintf("self-%s-%d", suffix, os.Getpid()))
}

// discard ends a cluster. Where something failed its logs stay.
func (b *bench) discard(c state.Cluster) {
	_, _ = self("down", "--name", c.Name)
	if b.failed > 0 {
		fmt.Fprintf(b.out, "the logs of cluster %s are in %s\n", c.Name, c.Path("logs"))
		return
	}
	_ = os.RemoveAll(c.Dir)
	_ = os.Remove(c.Dir + ".lock")
}

// eventually asks again until the answer is right.
func eventually(limit time.Duration, ask func() error) error {
	deadline := time.Now().Add(limit)
	for {
		err := ask()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}
