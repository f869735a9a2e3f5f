package csi

import (
	"context"
	"log"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"strongroom.dev/cluster/internal/fault"
)

// faults reads its file on each call, so that a test switches it at any time.
type faults struct {
	file string

	mu sync.Mutex
	// begun remembers when a delayed operation was first asked for: the callers give up and ask again.
	begun map[string]time.Time
}

func newFaults(file string) *faults { return &faults{file: file, begun: map[string]time.Time{}} }

func (f *faults) of(handle, claim string) fault.Fault {
	if f.file == "" {
		return fault.Fault{}
	}
	table, err := fault.Load(f.file)
	if err != nil {
		log.Printf("faults: %v", err)
		return fault.Fault{}
	}
	return table.Of(handle, claim)
}

// fail turns "error: TEXT" into the error of a call.
func fail(text string) error {
	if message, ok := strings.CutPrefix(text, "error:"); ok {
		return status.Error(codes.Internal, strings.TrimSpace(message))
	}
	return nil
}

// wait holds an operation back until its delay is over, counted from the first time it was asked for.
func (f *faults) wait(ctx context.Context, wanted fault.Fault, operation string) error {
	delay, err := time.ParseDuration(wanted.Delay)
	if err != nil || delay <= 0 {
		return nil
	}
	f.mu.Lock()
	begun, ok := f.begun[operation]
	if !ok {
		begun = time.Now()
		f.begun[operation] = begun
	}
	f.mu.Unlock()
	select {
	case <-ctx.Done():
		return status.Error(codes.DeadlineExceeded, "the storage is slow")
	case <-time.After(time.Until(begun.Add(delay))):
	}
	f.mu.Lock()
	delete(f.begun, operation)
	f.mu.Unlock()
	return nil
}
