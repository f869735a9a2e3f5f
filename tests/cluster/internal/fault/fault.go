// Package fault is how tests tell the storage to misbehave: a file that the driver reads on each call.
package fault

import (
	"encoding/json"
	"errors"
	"os"
	"path"
)

// NeverReady as Snapshot makes a snapshot that does not get ready.
const NeverReady = "never-ready"

// Fault is how the volumes of one claim misbehave. A text "error: TEXT" makes the call fail with it.
type Fault struct {
	Create         string `json:"create,omitempty"`
	Delete         string `json:"delete,omitempty"`
	Stage          string `json:"stage,omitempty"`    // mounting it on the node
	Snapshot       string `json:"snapshot,omitempty"` // or NeverReady
	DeleteSnapshot string `json:"deleteSnapshot,omitempty"`
	// Delay is how long creating, staging and taking a snapshot take.
	Delay string `json:"delay,omitempty"`
	// Full leaves no free space on the mounted volume.
	Full bool `json:"full,omitempty"`
	// Claim is set where the key is a volume's handle: the claim that it was bound to.
	Claim string `json:"claim,omitempty"`
}

// Table maps a key to a fault. A key is a volume's handle, the claim that a volume was made for
// ("namespace/name"), or a pattern of those ("media/*").
type Table map[string]Fault

// Load reads a file; one that is not there holds no faults.
func Load(file string) (Table, error) {
	raw, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return Table{}, nil
	}
	if err != nil {
		return nil, err
	}
	table := Table{}
	return table, json.Unmarshal(raw, &table)
}

// Save replaces a file in one step: the driver may be reading it.
func (t Table) Save(file string) error {
	raw, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(file+".tmp", append(raw, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(file+".tmp", file)
}

// Of finds the fault of a volume; the handle counts before the claim, and a pattern comes last.
func (t Table) Of(handle, claim string) Fault {
	for _, key := range []string{handle, claim} {
		if fault, ok := t[key]; ok && key != "" {
			return fault
		}
	}
	for key, fault := range t {
		if ok, _ := path.Match(key, claim); ok {
			return fault
		}
	}
	return Fault{}
}

// Clear removes what was set for a claim or pattern; with an empty one, everything.
func (t Table) Clear(target string) {
	for key, fault := range t {
		if target == "" || key == target || fault.Claim == target {
			delete(t, key)
		}
	}
}
