package csi

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// volume is what the driver remembers of a volume.
type volume struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
	Claim string `json:"claim"` // namespace/name of the claim that it was made for
	// SourceSnapshot or SourceVolume is what it was made from.
	SourceSnapshot string `json:"sourceSnapshot,omitempty"`
	SourceVolume   string `json:"sourceVolume,omitempty"`
	// Shallow: it is a read-only view of SourceSnapshot and holds no data.
	Shallow bool `json:"shallow,omitempty"`
	// Grown: the file system is smaller than the volume until the next time it is staged.
	Grown bool `json:"grown,omitempty"`
	// Depth is the length of the chain of clones below it; Ceph copies everything ("flattens") when it gets too long.
	Depth    int `json:"depth"`
	Flattens int `json:"flattens,omitempty"`
}

// snapshot is what the driver remembers of a snapshot.
type snapshot struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Volume  string    `json:"volume"`
	Claim   string    `json:"claim"`
	Bytes   int64     `json:"bytes"`
	Created time.Time `json:"created"`
	Group   string    `json:"group,omitempty"`
	Depth   int       `json:"depth"`
	// Deleted: gone for everyone, kept only because a shallow volume still reads it.
	Deleted bool `json:"deleted,omitempty"`
}

// group is a set of snapshots made together.
type group struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Snapshots []string  `json:"snapshots"`
	Created   time.Time `json:"created"`
}

// records holds all of them in memory and in one file each, so that a driver that was killed goes on.
type records struct {
	mu        sync.Mutex
	dir       string
	volumes   map[string]volume
	snapshots map[string]snapshot
	groups    map[string]group
}

func openRecords(dir string) (*records, error) {
	r := &records{dir: dir, volumes: map[string]volume{}, snapshots: map[string]snapshot{}, groups: map[string]group{}}
	if err := load(filepath.Join(dir, "volumes"), r.volumes); err != nil {
		return nil, err
	}
	if err := load(filepath.Join(dir, "snapshots"), r.snapshots); err != nil {
		return nil, err
	}
	return r, load(filepath.Join(dir, "groups"), r.groups)
}

func load[T any](dir string, into map[string]T) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return err
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		var record T
		if err := json.Unmarshal(raw, &record); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		id := filepath.Base(file)
		into[id[:len(id)-len(".json")]] = record
	}
	return nil
}

func (r *records) save(kind, id string, record any) error {
	raw, err := json.MarshalIndent(record, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(r.dir, kind, id+".json")
	if err := os.WriteFile(path+".tmp", raw, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

func (r *records) forget(kind, id string) error {
	err := os.Remove(filepath.Join(r.dir, kind, id+".json"))
	if os.IsNotExist(err) {
		return nil
	}
	return err
}

func (r *records) putVolume(v volume) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.volumes[v.ID] = v
	return r.save("volumes", v.ID, v)
}

func (r *records) putSnapshot(s snapshot) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.snapshots[s.ID] = s
	return r.save("snapshots", s.ID, s)
}

func (r *records) putGroup(g group) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.groups[g.ID] = g
	return r.save("groups", g.ID, g)
}

func (r *records) dropVolume(id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.volumes, id)
	return r.forget("volumes", id)
}

func (r *records) dropSnapshot(id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.snapshots, id)
	return r.forget("snapshots", id)
}

func (r *records) dropGroup(id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.groups, id)
	return r.forget("groups", id)
}

func (r *records) volume(match func(volume) bool) (volume, bool) { return find(r, r.volumes, match) }

func (r *records) snapshot(match func(snapshot) bool) (snapshot, bool) {
	return find(r, r.snapshots, func(s snapshot) bool { return !s.Deleted && match(s) })
}

func (r *records) group(match func(group) bool) (group, bool) { return find(r, r.groups, match) }

func (r *records) volumeByID(id string) (volume, bool) {
	return r.volume(func(v volume) bool { return v.ID == id })
}

func (r *records) snapshotByID(id string) (snapshot, bool) {
	return r.snapshot(func(s snapshot) bool { return s.ID == id })
}

func (r *records) groupByID(id string) (group, bool) {
	return r.group(func(g group) bool { return g.ID == id })
}

// allSnapshots lists what can be seen, in a stable order.
func (r *records) allSnapshots() []snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []snapshot
	for _, s := range r.snapshots {
		if !s.Deleted {
			list = append(list, s)
		}
	}
	slices.SortFunc(list, func(a, b snapshot) int { return strings.Compare(a.ID, b.ID) })
	return list
}

func find[T any](r *records, all map[string]T, match func(T) bool) (T, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, record := range all {
		if match(record) {
			return record, true
		}
	}
	var none T
	return none, false
}

// newID looks like a ceph-csi handle: cluster and pool in front, a random UUID behind.
func newID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("0001-0009-rook-ceph-0000000000000001-%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
