package state

import (
	"os"
	"os/exec"
	"testing"
)

func TestNames(t *testing.T) {
	t.Setenv("STRONGROOM_CACHE", t.TempDir())
	for name, valid := range map[string]bool{
		"dev": true, "a": true, "self-a-12345": true, "exactly-20-characters"[:20]: true,
		"": false, "../x": false, "-a": false, "a-": false, "Dev": false, "more-than-20-characters": false,
	} {
		if _, err := Open(name); (err == nil) != valid {
			t.Errorf("Open(%q): %v", name, err)
		}
	}
}

func TestLiveInitKnowsItsProcess(t *testing.T) {
	t.Setenv("STRONGROOM_CACHE", t.TempDir())
	c, err := Open("test")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if c.LiveInit() != 0 {
		t.Error("a cluster that was never started is alive")
	}
	sleep := exec.Command("sleep", "60")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	if err := c.RecordInit(sleep.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if c.LiveInit() != sleep.Process.Pid {
		t.Error("a running process counts as dead")
	}
	// The same process id with another start time is another process.
	var record Init
	if err := ReadJSON(c.Path("init.json"), &record); err != nil {
		t.Fatal(err)
	}
	record.Start += "1"
	if err := WriteJSON(c.Path("init.json"), record); err != nil {
		t.Fatal(err)
	}
	if c.LiveInit() != 0 {
		t.Error("another process with the same id counts as ours")
	}
	if err := c.RecordInit(sleep.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if err := sleep.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for c.LiveInit() != 0 { // until it is a zombie, which counts as dead
	}
	_ = sleep.Wait()
}
