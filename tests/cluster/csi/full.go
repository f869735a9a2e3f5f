package csi

import (
	"log"
	"time"
)

// filling is what keeps a volume full.
type filling struct {
	// grow takes what has become free since: a file that was being written when the volume was filled, say.
	grow    func()
	release func()
}

// keepFull makes staged volumes full, and lets go of them, as the faults file says: a test can switch it
// while a volume is in use.
func (d *Driver) keepFull(period time.Duration) {
	for ; ; time.Sleep(period) {
		d.mu.Lock()
		for id, path := range d.staged {
			full, is := d.full[id]
			switch wanted := d.wantsFull(id); {
			case !wanted:
				d.releaseFull(id)
			case is:
				full.grow()
			default:
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
	full, err := d.backend.fill(v, path)
	if err != nil {
		log.Printf("cannot fill volume %s: %v", id, err)
		return
	}
	d.full[id] = full
}

func (d *Driver) releaseFull(id string) {
	if full, is := d.full[id]; is {
		full.release()
		delete(d.full, id)
	}
}

// startUse notes that a volume is mounted for use.
func (d *Driver) startUse(id, path string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.staged[id] = path
	if _, is := d.full[id]; !is && d.wantsFull(id) {
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
