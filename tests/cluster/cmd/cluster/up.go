package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"strongroom.dev/cluster/internal/image"
	"strongroom.dev/cluster/internal/leftovers"
	"strongroom.dev/cluster/internal/programs"
	"strongroom.dev/cluster/internal/state"
)

// modules are what the kernel needs where they are not built in; loading is tried, and what is really
// missing shows up where it is used.
var modules = []string{"overlay", "xfs", "btrfs", "loop", "veth", "bridge", "br_netfilter", "nf_conntrack", "nf_nat", "iptable_nat", "iptable_filter"}

func up(args []string) error {
	c, _, err := parse("up", args, nil)
	if err != nil {
		return err
	}
	if err := requireRoot(); err != nil {
		return err
	}
	if strings.HasPrefix(c.Dir, "/run/") {
		return fmt.Errorf("%s: the cache cannot lie below /run, which a cluster replaces by its own", c.Dir)
	}
	if err := programs.Ensure(os.Stdout, programs.ForCluster); err != nil {
		return err
	}
	if err := programs.Build(os.Stdout, programs.Cluster); err != nil {
		return err
	}
	pause, err := image.Pause()
	if err != nil {
		return err
	}
	unlock, err := c.Lock()
	if err != nil {
		return err
	}
	defer unlock()
	if c.LiveInit() != 0 && !c.Dying() {
		if s, err := c.ReadStatus(); err == nil && s.Phase == state.Ready {
			fmt.Printf("cluster %s is running already\n", c.Name)
			describe(c)
			return nil
		}
	}
	// Whatever is there is dead or half started: begin from nothing.
	if err := leftovers.Remove(c); err != nil {
		return err
	}
	os.RemoveAll(c.Path("logs"))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	begin := time.Now()
	if err := startAndWait(ctx, c, pause); err != nil {
		for _, undo := range []func() error{func() error { return leftovers.Remove(c) }, leftovers.TakeBack} {
			if undoErr := undo(); undoErr != nil {
				err = fmt.Errorf("%w; then %w", err, undoErr)
			}
		}
		return fmt.Errorf("%w\nthe logs are in %s", err, c.Path("logs"))
	}
	fmt.Printf("cluster %s is ready after %.1f s\n", c.Name, time.Since(begin).Seconds())
	describe(c)
	return nil
}

// startAndWait starts PID 1 of the cluster and shows its steps until it is ready.
func startAndWait(ctx context.Context, c state.Cluster, pause string) error {
	for _, module := range modules {
		_ = exec.Command("modprobe", "-q", module).Run()
	}
	if err := launch(c, pause); err != nil {
		return err
	}
	shown := ""
	for { // the supervisor gives up by itself
		s, err := c.ReadStatus()
		if err == nil && s.Phase == state.Ready {
			return nil
		}
		if err == nil && s.Phase == state.Failed {
			return fmt.Errorf("cluster %s did not start: %s", c.Name, s.Error)
		}
		if err == nil && s.Step != shown {
			shown = s.Step
			fmt.Printf("  %4.1f s  %s\n", s.Seconds, s.Step)
		}
		if c.LiveInit() == 0 {
			return fmt.Errorf("cluster %s died while it started: %s", c.Name, lastLine(c.Path("logs", "supervisor.log")))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("interrupted while cluster %s started", c.Name)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// launch prepares what lies outside of the namespaces and starts PID 1 inside.
func launch(c state.Cluster, pause string) error {
	for _, dir := range []string{"logs", "faults", "home"} {
		if err := os.MkdirAll(c.Path(dir), 0o755); err != nil {
			return err
		}
	}
	leaf, err := leftovers.PrepareCgroups(c.Cgroup())
	if err != nil {
		return err
	}
	// Opened here, so it belongs to the host's network; served inside (see node.serveProxy).
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer listener.Close()
	socket, err := listener.(*net.TCPListener).File()
	if err != nil {
		return err
	}
	defer socket.Close()
	if err := writeConfig(c, pause, listener.Addr().String()); err != nil {
		return err
	}
	logFile, err := os.Create(c.Path("logs", "supervisor.log"))
	if err != nil {
		return err
	}
	defer logFile.Close()
	cmd := exec.Command("/proc/self/exe", "internal-init", "--name", c.Name)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + c.Path("home"), "STRONGROOM_CACHE=" + filepath.Dir(filepath.Dir(c.Dir))}
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.ExtraFiles = []*os.File{socket}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true,
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
	}
	if leaf != "" {
		dir, err := os.Open(leaf)
		if err != nil {
			return err
		}
		defer dir.Close()
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	// It records itself too, but only a moment from now.
	if err := c.RecordInit(cmd.Process.Pid); err != nil {
		return fmt.Errorf("the cluster's first process ended at once: %s", lastLine(c.Path("logs", "supervisor.log")))
	}
	go cmd.Wait()
	return nil
}

func writeConfig(c state.Cluster, pause, address string) error {
	paths, err := programs.Paths(programs.Cluster)
	if err != nil {
		return err
	}
	crds, err := programs.CRDs()
	if err != nil {
		return err
	}
	return state.WriteJSON(c.Path("config.json"), state.Config{
		Name: c.Name, Programs: paths, CRDs: crds, PauseImage: pause,
		HostAddress: address,
	})
}

// describe prints what one needs to look around.
func describe(c state.Cluster) {
	var config state.Config
	if raw, err := os.ReadFile(c.Path("config.json")); err == nil {
		_ = json.Unmarshal(raw, &config)
	}
	fmt.Printf(`
  export KUBECONFIG=%s
  kubectl      %s
  all of that  eval "$(cluster env --name %s)"
  audit log    %s
  logs         %s

  Kubernetes 1.36, node n1, pods 10.244.0.0/24, Services 10.96.0.0/16, Pod Security: baseline enforced
  classes      ceph-block (default), ceph-block-wait, ceph-filesystem
  snapshots    csi-ceph-blockpool, csi-ceph-filesystem (volumes and groups)
`, c.Kubeconfig(), config.Programs["kubectl"], c.Name, c.AuditLog(), c.Path("logs"))
}

func lastLine(path string) string {
	raw, _ := os.ReadFile(path)
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	return lines[len(lines)-1]
}
