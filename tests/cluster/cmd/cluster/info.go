package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"strongroom.dev/cluster/internal/programs"
)

func printEnv(args []string) error {
	c, _, err := running("env", args, nil)
	if err != nil {
		return err
	}
	folders, err := programs.BinFolders()
	if err != nil {
		return err
	}
	fmt.Printf("export KUBECONFIG=%s\n", quote(c.Kubeconfig()))
	fmt.Printf("export PATH=%s:\"$PATH\"\n", quote(strings.Join(folders, ":")))
	fmt.Printf("export AUDIT_LOG=%s\n", quote(c.AuditLog()))
	fmt.Printf("export CLUSTER_LOGS=%s\n", quote(c.Path("logs")))
	return nil
}

// printPath prints the folders of the cache's programs, for PATH: some suites need a program but no cluster.
func printPath([]string) error {
	folders, err := programs.BinFolders()
	if err == nil {
		fmt.Println(strings.Join(folders, ":"))
	}
	return err
}

func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

func status(args []string) error {
	c, _, err := parse("status", args, nil)
	if err != nil {
		return err
	}
	init := c.LiveInit()
	if init == 0 {
		fmt.Printf("cluster %s is not running\n", c.Name)
		return nil
	}
	s, err := c.ReadStatus()
	if err != nil {
		return err
	}
	fmt.Printf("cluster %s: %s %s%s (init is process %d)\n", c.Name, s.Phase, s.Step, s.Error, init)
	hostPIDs := hostPIDs(init)
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "PART\tPID\tALIVE\tSTARTS\tLAST EXIT")
	for _, part := range s.Parts {
		pid := hostPIDs[part.PID]
		fmt.Fprintf(table, "%s\t%d\t%t\t%d\t%s\n", part.Name, pid, pid != 0, part.Starts, part.LastExit)
	}
	return table.Flush()
}

// hostPIDs maps process ids of the cluster's PID namespace to the host's.
func hostPIDs(init int) map[int]int {
	found := map[int]int{}
	namespace, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", init))
	if err != nil {
		return found
	}
	entries, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range entries {
		if link, err := os.Readlink(dir + "/ns/pid"); err != nil || link != namespace {
			continue
		}
		raw, _ := os.ReadFile(dir + "/status")
		for line := range strings.Lines(string(raw)) {
			fields := strings.Fields(line)
			if len(fields) > 2 && fields[0] == "NSpid:" {
				var host, inside int
				fmt.Sscan(fields[1], &host)
				fmt.Sscan(fields[len(fields)-1], &inside)
				found[inside] = host
			}
		}
	}
	return found
}
