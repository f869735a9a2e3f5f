package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"strongroom.dev/cluster/internal/fault"
	"strongroom.dev/cluster/internal/programs"
	"strongroom.dev/cluster/internal/state"
)

const faultUsage = `usage:
  cluster fault --name NAME set NAMESPACE/CLAIM [flags]   the volumes of a claim misbehave (NAMESPACE/* for all of them)
      -snapshot never-ready | "error: TEXT"
      -create, -stage, -delete, -delete-snapshot "error: TEXT"
      -delay 5s      creating, mounting and taking a snapshot are slow
      -full          the mounted volume has no free space
  cluster fault --name NAME clear [NAMESPACE/CLAIM]       they behave again, or all do
  cluster fault --name NAME list

A volume counts as the claim's for which it was made, and as that to which it is bound when the fault is set.
`

func setFaults(args []string) error {
	c, rest, err := parse("fault", args, func(flags *flag.FlagSet) {
		flags.Usage = func() { fmt.Fprint(os.Stderr, faultUsage) }
	})
	if err != nil {
		return err
	}
	if len(rest) == 0 {
		return errors.New(faultUsage)
	}
	// A claim can belong to either driver; the other never sees its key.
	files, err := faultFiles(c)
	if err != nil {
		return err
	}
	for _, file := range files {
		table, err := fault.Load(file)
		if err != nil {
			return err
		}
		switch {
		case rest[0] == "set" && len(rest) > 1:
			err = setFault(c, table, rest[1], rest[2:])
		case rest[0] == "clear" && len(rest) <= 2:
			table.Clear(strings.Join(rest[1:], ""))
		case rest[0] == "list" && len(rest) == 1:
			for key, f := range table {
				fmt.Printf("%s %s %+v\n", strings.TrimSuffix(filepath.Base(file), ".json"), key, f)
			}
		default:
			return errors.New(faultUsage)
		}
		if err != nil {
			return err
		}
		if err := table.Save(file); err != nil {
			return err
		}
	}
	return nil
}

// faultFiles are the files of the running drivers.
func faultFiles(c state.Cluster) ([]string, error) {
	if c.LiveInit() == 0 {
		return nil, fmt.Errorf("cluster %s is not running", c.Name)
	}
	var files []string
	for _, driver := range []string{"rook-ceph.rbd.csi.ceph.com", "rook-ceph.cephfs.csi.ceph.com"} {
		files = append(files, c.Path("faults", driver+".json"))
	}
	return files, nil
}

func setFault(c state.Cluster, table fault.Table, target string, args []string) error {
	var f fault.Fault
	flags := flag.NewFlagSet("fault set", flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprint(os.Stderr, faultUsage) }
	flags.StringVar(&f.Snapshot, "snapshot", "", "")
	flags.StringVar(&f.Create, "create", "", "")
	flags.StringVar(&f.Stage, "stage", "", "")
	flags.StringVar(&f.Delete, "delete", "", "")
	flags.StringVar(&f.DeleteSnapshot, "delete-snapshot", "", "")
	flags.StringVar(&f.Delay, "delay", "", "")
	flags.BoolVar(&f.Full, "full", false, "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := checkFault(f, target); err != nil {
		return err
	}
	table.Clear(target)
	table[target] = f
	if handle := boundHandle(c, target); handle != "" {
		f.Claim = target
		table[handle] = f
	}
	return nil
}

// checkFault refuses what the driver would silently ignore.
func checkFault(f fault.Fault, target string) error {
	if strings.Count(target, "/") != 1 {
		return fmt.Errorf("%q: a claim is NAMESPACE/NAME", target)
	}
	for _, text := range []string{f.Create, f.Stage, f.Delete, f.DeleteSnapshot, f.Snapshot} {
		if text != "" && !strings.HasPrefix(text, "error:") && (text != fault.NeverReady || text != f.Snapshot) {
			return fmt.Errorf("%q: it has to be \"error: TEXT\", or never-ready for -snapshot", text)
		}
	}
	if f.Delay != "" {
		if _, err := time.ParseDuration(f.Delay); err != nil {
			return err
		}
	}
	return nil
}

// boundHandle is the volume that a claim is bound to: after a swap that was made for another claim.
func boundHandle(c state.Cluster, target string) string {
	namespace, name, _ := strings.Cut(target, "/")
	kubectl, err := programs.Path("kubectl")
	if err != nil || strings.ContainsAny(target, "*?[") {
		return ""
	}
	ask := func(args ...string) string {
		raw, err := exec.Command(kubectl, slices.Concat([]string{"--kubeconfig", c.Kubeconfig(), "get"}, args)...).Output()
		if err != nil {
			return ""
		}
		return string(raw)
	}
	volume := ask("pvc", "-n", namespace, name, "--ignore-not-found", "-o", "jsonpath={.spec.volumeName}")
	if volume == "" {
		return ""
	}
	return ask("pv", volume, "-o", "jsonpath={.spec.csi.volumeHandle}")
}
