package main

import (
	"fmt"
	"os"
	"strings"

	"strongroom.dev/cluster/internal/programs"
)

func build(args []string) error {
	_, names, err := parse("build", args, nil)
	if err != nil {
		return err
	}
	var groups []programs.Group
	for _, name := range names {
		switch {
		case name == "all":
			groups = programs.Groups
		case programs.KnownGroup(name):
			groups = append(groups, programs.Group(name))
		default:
			return fmt.Errorf("no group is named %q; there are %v and all", name, programs.Groups)
		}
	}
	if len(groups) == 0 {
		groups = []programs.Group{programs.Cluster}
	}
	if err := programs.Build(os.Stdout, groups...); err != nil {
		return err
	}
	folders, err := programs.BinFolders()
	if err != nil {
		return err
	}
	fmt.Printf("programs are in %s\n", strings.Join(folders, " "))
	return nil
}
