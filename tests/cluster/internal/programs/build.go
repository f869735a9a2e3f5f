package programs

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"strongroom.dev/cluster/internal/state"
)

// Build makes what is missing of the groups, with progress on out.
func Build(out io.Writer, groups ...Group) error {
	missing, err := missingOf(groups)
	if err != nil || len(missing) == 0 {
		return err
	}
	cache, err := state.Cache()
	if err != nil {
		return err
	}
	unlock, err := state.LockFile(filepath.Join(cache, "build.lock"))
	if err != nil {
		return err
	}
	defer unlock()
	// Another command may have built them while we waited for the lock.
	if missing, err = missingOf(groups); err != nil || len(missing) == 0 {
		return err
	}
	fmt.Fprintf(out, "building what is missing into %s, once: %s\n", cache, names(missing))
	if len(missing) > 5 {
		fmt.Fprintln(out, "  on two cores this takes about 7 minutes, the first program half of it")
	}
	begin := time.Now()
	for i, p := range missing {
		label := fmt.Sprintf("  [%d/%d] %s", i+1, len(missing), p.name)
		if err := p.build(out, label); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "built in %s\n", time.Since(begin).Round(time.Second))
	return nil
}

func names(all []program) string {
	var list []string
	for _, p := range all {
		list = append(list, p.name)
	}
	return strings.Join(list, " ")
}

func missingOf(groups []Group) ([]program, error) {
	var missing []program
	seen := map[string]bool{}
	for _, group := range groups {
		for _, p := range table[group] {
			path, err := p.path()
			if err != nil {
				return nil, err
			}
			if _, err := os.Stat(path); err != nil && !seen[p.name] {
				seen[p.name] = true
				missing = append(missing, p)
			}
		}
	}
	return missing, nil
}

// build compiles to a temporary name, so that a program in the cache is always whole.
func (p program) build(out io.Writer, label string) error {
	path, err := p.path()
	if err != nil {
		return err
	}
	root, err := Root()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	for _, f := range p.beside {
		if err := f.copy(filepath.Join(root, p.module), beside(path, f.folder)); err != nil {
			return err
		}
	}
	tmp := path + ".tmp"
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags", "-s -w -X k8s.io/component-base/version.gitVersion="+kubeVersion, "-o", tmp, p.pkg)
	cmd.Dir = filepath.Join(root, p.module)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := runWithProgress(cmd, out, label); err != nil {
		return fmt.Errorf("building %s: %w\n%s", p.name, err, tail(log.String(), 20))
	}
	return os.Rename(tmp, path)
}

// runWithProgress prints one line for a quick command, and a sign of life while a slow one runs.
func runWithProgress(cmd *exec.Cmd, out io.Writer, label string) error {
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	ticker := time.NewTicker(15 * time.Second)
	defer ticker.Stop()
	for {
		select {
		case err := <-done:
			if err == nil {
				fmt.Fprintf(out, "%s: %.0f s\n", label, time.Since(begin).Seconds())
			}
			return err
		case <-ticker.C:
			fmt.Fprintf(out, "%s: still building, %.0f s\n", label, time.Since(begin).Seconds())
		}
	}
}

// copy takes files out of the module that publishes them.
func (f files) copy(moduleDir, target string) error {
	download := exec.Command("go", "mod", "download", f.module)
	download.Dir = moduleDir
	if raw, err := download.CombinedOutput(); err != nil {
		return fmt.Errorf("fetching the files of %s: %w\n%s", f.module, err, tail(string(raw), 5))
	}
	list := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", f.module)
	list.Dir = moduleDir
	raw, err := list.Output()
	if err != nil {
		return fmt.Errorf("finding the files of %s: %w", f.module, err)
	}
	found, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(raw)), f.pattern))
	if err != nil || len(found) == 0 {
		return fmt.Errorf("no %s in %s (%v)", f.pattern, strings.TrimSpace(string(raw)), err)
	}
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	for _, file := range found {
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(target, filepath.Base(file)), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
