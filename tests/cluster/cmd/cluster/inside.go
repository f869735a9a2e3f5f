package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"strongroom.dev/cluster/internal/state"
)

// nsenter is the command line that runs something inside a cluster's namespaces.
func nsenter(c state.Cluster, command ...string) []string {
	argv := []string{"nsenter", "-t", strconv.Itoa(c.LiveInit()), "-m", "-n", "-p", "-u", "-i"}
	if wd, err := os.Getwd(); err == nil {
		argv = append(argv, "--wdns="+wd)
	}
	return append(append(argv, "--"), command...)
}

func execInside(args []string) error {
	c, command, err := running("exec", args, nil)
	if err != nil {
		return err
	}
	if len(command) == 0 {
		return errors.New("what should run? cluster exec -- COMMAND...")
	}
	path, err := exec.LookPath("nsenter")
	if err != nil {
		return err
	}
	os.Setenv("KUBECONFIG", c.InsideKubeconfig())
	return syscall.Exec(path, nsenter(c, command...), os.Environ())
}

func loadImage(args []string) error {
	c, files, err := running("load-image", args, nil)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return errors.New("which image? cluster load-image FILE.tar...")
	}
	for _, name := range files {
		file, err := os.Open(name)
		if err != nil {
			return err
		}
		argv := nsenter(c, "ctr", "-n", "k8s.io", "images", "import", "-")
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Stdin = file // a file below /run would not be visible inside
		raw, err := cmd.CombinedOutput()
		file.Close()
		if err != nil {
			return fmt.Errorf("import %s: %w: %s", name, err, raw)
		}
		os.Stdout.Write(raw)
	}
	return nil
}
