package node

import (
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"strongroom.dev/cluster/internal/state"
)

// part is one process that the supervisor keeps alive.
type part struct {
	name string
	argv []string
	env  []string
}

// keeper starts parts, restarts what dies, and publishes how they are.
type keeper struct {
	cluster state.Cluster
	begin   time.Time

	mu     sync.Mutex
	status state.Status
}

func newKeeper(c state.Cluster) *keeper {
	return &keeper{cluster: c, begin: time.Now(), status: state.Status{Phase: state.Starting}}
}

// update changes the published status.
func (k *keeper) update(change func(*state.Status)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change(&k.status)
	if k.status.Phase == state.Starting {
		k.status.Seconds = time.Since(k.begin).Seconds()
	}
	if err := k.cluster.WriteStatus(k.status); err != nil {
		log.Printf("cannot publish the status: %v", err)
	}
}

func (k *keeper) step(text string) {
	log.Print(text)
	k.update(func(s *state.Status) { s.Step = text })
}

// keep runs a part for as long as the cluster lives. A part that dies is started again, as a real
// cluster would, after a pause that grows while it dies at once.
func (k *keeper) keep(p part) {
	k.update(func(s *state.Status) { s.Parts = append(s.Parts, state.Part{Name: p.name}) })
	go func() {
		pause := 500 * time.Millisecond
		for {
			begin := time.Now()
			err := k.runOnce(p)
			log.Printf("part %s ended after %s: %v", p.name, time.Since(begin).Round(time.Millisecond), err)
			if time.Since(begin) > 20*time.Second {
				pause = 500 * time.Millisecond
			}
			time.Sleep(pause)
			pause = min(2*pause, 5*time.Second)
		}
	}()
}

func (k *keeper) runOnce(p part) error {
	out, err := os.OpenFile(k.cluster.Path("logs", p.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(p.argv[0], p.argv[1:]...)
	cmd.Args[0] = filepath.Base(p.argv[0])
	cmd.Env = append(os.Environ(), p.env...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		k.setPart(p.name, func(s *state.Part) { s.LastExit = err.Error() })
		return err
	}
	k.setPart(p.name, func(s *state.Part) { s.PID, s.Starts = cmd.Process.Pid, s.Starts+1 })
	err = cmd.Wait()
	k.setPart(p.name, func(s *state.Part) { s.PID, s.LastExit = 0, fmt.Sprint(cmd.ProcessState) })
	return err
}

func (k *keeper) setPart(name string, change func(*state.Part)) {
	k.update(func(s *state.Status) {
		for i := range s.Parts {
			if s.Parts[i].Name == name {
				change(&s.Parts[i])
			}
		}
	})
}
