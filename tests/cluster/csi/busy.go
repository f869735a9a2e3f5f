package csi

import (
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// busy refuses a second call on something that a call is working on, as ceph-csi does; the sidecars try again.
type busy struct {
	mu   sync.Mutex
	keys map[string]bool
}

// hold takes all keys or none.
func (b *busy) hold(keys ...string) (release func(), err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.keys == nil {
		b.keys = map[string]bool{}
	}
	for _, key := range keys {
		if b.keys[key] {
			return nil, status.Errorf(codes.Aborted, "an operation with the given Volume ID %s already exists", key)
		}
	}
	for _, key := range keys {
		b.keys[key] = true
	}
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, key := range keys {
			delete(b.keys, key)
		}
	}, nil
}
