// Command cluster starts and stops the one-machine Kubernetes on which the demo and the tests run.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"

	"strongroom.dev/cluster/internal/node"
	"strongroom.dev/cluster/internal/state"
)

const usage = `usage: cluster COMMAND [--name NAME] [...]

  up                         start a cluster (default name: dev) and print how to reach it
  down                       end it and leave nothing behind
  status                     its parts, and whether they are alive
  env                        shell lines: KUBECONFIG, PATH, AUDIT_LOG
  path                       folders of the cache's programs, for PATH
  exec -- COMMAND...         run something inside the cluster's namespaces
  load-image FILE.tar...     put images on the node
  fault ...                  make storage misbehave for one claim (fault --help)
  build [GROUP...]           build programs into the cache: cluster, sanity, restic, helm, rest-server, all
  build-image                build the operator's image, or with --kind test the suites' (--help)
  sanity                     run csi-sanity against both storage drivers
  selftest                   start clusters, kill their parts, and look for what is left

The cache is $STRONGROOM_CACHE, or ~/.cache/strongroom.
`

var commands = map[string]func(args []string) error{
	"up":                 up,
	"down":               down,
	"status":             status,
	"env":                printEnv,
	"path":               printPath,
	"exec":               execInside,
	"load-image":         loadImage,
	"fault":              setFaults,
	"build":              build,
	"build-image":        buildImage,
	"sanity":             runSanity,
	"selftest":           runSelftest,
	"internal-sanity":    insideSanity,
	"internal-init":      internal(node.Init),
	"internal-supervise": internal(node.Supervise),
}

func main() {
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	err := commands[os.Args[1]](os.Args[2:])
	var exit *exec.ExitError
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		os.Exit(exit.ExitCode())
	default:
		fmt.Fprintf(os.Stderr, "cluster %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}

// parse reads the flags that every command has, and those that add may define.
func parse(command string, args []string, add func(*flag.FlagSet)) (state.Cluster, []string, error) {
	flags := flag.NewFlagSet(command, flag.ContinueOnError)
	name := flags.String("name", "dev", "the cluster's name")
	if add != nil {
		add(flags)
	}
	if err := flags.Parse(args); err != nil {
		return state.Cluster{}, nil, err
	}
	c, err := state.Open(*name)
	return c, flags.Args(), err
}

// running is parse for commands that need a cluster that is there.
func running(command string, args []string, add func(*flag.FlagSet)) (state.Cluster, []string, error) {
	c, rest, err := parse(command, args, add)
	if err == nil && c.LiveInit() == 0 {
		err = fmt.Errorf("cluster %s is not running: start it with `cluster up --name %s`", c.Name, c.Name)
	}
	return c, rest, err
}

// internal is for the commands by which the program starts itself.
func internal(run func(state.Cluster) error) func([]string) error {
	return func(args []string) error {
		c, _, err := parse("internal", args, nil)
		if err != nil {
			return err
		}
		return run(c)
	}
}

func requireRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("this needs root (namespaces, mounts, loop devices): run it as root, for example with sudo")
	}
	return nil
}
