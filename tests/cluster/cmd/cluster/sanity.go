package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"strongroom.dev/cluster/internal/leftovers"
	"strongroom.dev/cluster/internal/programs"
	"strongroom.dev/cluster/internal/sanity"
	"strongroom.dev/cluster/internal/state"
)

// runSanity starts itself again in a mount and PID namespace, so that nothing can stay mounted or running.
func runSanity(args []string) error {
	if _, _, err := parse("sanity", args, nil); err != nil {
		return err
	}
	if err := requireRoot(); err != nil {
		return err
	}
	if err := programs.Ensure(os.Stdout, programs.ForStorage); err != nil {
		return err
	}
	if err := programs.Build(os.Stdout, programs.Sanity); err != nil {
		return err
	}
	cache, err := state.Cache()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(cache, "sanity-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	cmd := exec.Command("/proc/self/exe", "internal-sanity", dir)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	err = cmd.Run()
	for range 100 { // the namespace's last mounts go a moment after its last process
		if leftovers.DetachLoops(dir) == 0 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	return err
}

func insideSanity(args []string) error {
	if len(args) != 1 || !filepath.IsAbs(args[0]) {
		return errors.New("this command is for the program itself")
	}
	total, err := sanity.Inside(args[0], os.Stdout)
	if err != nil {
		return err
	}
	fmt.Printf("sanity: %d passed, %d failed, %d skipped\n", total.Passed, total.Failed, total.Skipped)
	if total.Failed > 0 || total.Passed == 0 {
		return errors.New("the storage drivers do not conform")
	}
	return nil
}
