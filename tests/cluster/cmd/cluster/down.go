package main

import (
	"fmt"
	"os"
	"time"

	"strongroom.dev/cluster/internal/leftovers"
)

func down(args []string) error {
	c, _, err := parse("down", args, nil)
	if err != nil {
		return err
	}
	if err := requireRoot(); err != nil {
		return err
	}
	unlock, err := c.Lock()
	if err != nil {
		return err
	}
	defer unlock()
	begin, was := time.Now(), "was not running"
	if c.LiveInit() != 0 {
		was = "is down"
	}
	if err := leftovers.Remove(c); err != nil {
		return err
	}
	if err := leftovers.TakeBack(); err != nil {
		return err
	}
	fmt.Printf("cluster %s %s; nothing of it is left", c.Name, was)
	if _, err := os.Stat(c.Path("logs")); err == nil {
		fmt.Printf(" but its logs in %s", c.Path("logs"))
	}
	fmt.Printf(" (%.1f s)\n", time.Since(begin).Seconds())
	return nil
}
