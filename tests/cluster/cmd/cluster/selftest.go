package main

import (
	"os"

	"strongroom.dev/cluster/internal/selftest"
)

func runSelftest([]string) error { return selftest.Run(os.Stdout) }
