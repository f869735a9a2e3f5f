package csi

import (
	"log"
	"time"
)

// keepFull makes staged volumes full, and lets go of them, as the faults file says: a test can switch it
// while a volume is in use.
func (d *Driver) keepFull(period time.Duration) {
	for ; ; time.Sleep(period) {
		d.mu.Lock()
		for id, path := range d.staged {
			if wanted := d.wantsFull(id); !wanted {
				d.releaseFull(id)
			} else if d.full[id] == nil {
				d.makeFull(id, path)
			}
		}
		d.mu.Unlock()
	}
}

func (d *Driver) wantsFull(id string) bool {
	v, ok := d.records.volumeByID(id)
	return ok && d.faults.of(v.ID, v.Claim).Full
}

// makeFull wants d.mu held, as releaseFull does.
func (d *Driver) makeFull(id, path string) {
	v, _ := d.records.volumeByID(id)
	release, err := d.backend.fill(v, path)
	if err != nil {
		log.Printf("cannot fill volume %s: %v", id, err)
		return
	}
	d.full[id] = release
}

func (d *Driver) releaseFull(id string) {
	if release := d.full[id]; release != nil {
		release()
		delete(d.full, id)
	}
}

// startUse notes that a volume is mounted for use.
func (d *Driver) startUse(id, path string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.staged[id] = path
	if d.wantsFull(id) && d.full[id] == nil {
		d.makeFull(id, path)
	}
}

// endUse lets go of a volume, so that it can be unmounted.
func (d *Driver) endUse(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.staged, id)
	d.releaseFull(id)
}
