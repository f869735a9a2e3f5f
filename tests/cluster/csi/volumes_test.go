package csi

import (
	"testing"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
)

func TestSizeRoundsAsCephDoes(t *testing.T) {
	const mib, gib = 1 << 20, 1 << 30
	for _, c := range []struct{ required, limit, want int64 }{
		{0, 0, gib},
		{1, 0, mib},
		{10*mib + 1, 0, 11 * mib},
		{gib, 0, gib},
		{gib + 1, 0, 2 * gib},
		{0, 100 * mib, 100 * mib},
		{gib, gib, gib},
	} {
		got, err := size(&spec.CapacityRange{RequiredBytes: c.required, LimitBytes: c.limit})
		if err != nil || got != c.want {
			t.Errorf("size(%d, %d) = %d, %v; want %d", c.required, c.limit, got, err, c.want)
		}
	}
	if _, err := size(&spec.CapacityRange{RequiredBytes: gib + 1, LimitBytes: gib + 2}); err == nil {
		t.Error("a limit below the next possible size was accepted")
	}
}

func TestCloneChainsAreFlattened(t *testing.T) {
	for depth, want := range map[int]volume{
		3: {Depth: 3},
		4: {Depth: 0, Flattens: 1},
		5: {Depth: 0, Flattens: 1},
	} {
		if got := (volume{Depth: depth}).flattened(); got != want {
			t.Errorf("depth %d: %+v, want %+v", depth, got, want)
		}
	}
}

func TestBusyTakesAllOrNone(t *testing.T) {
	var b busy
	release, err := b.hold("a", "b")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.hold("c", "b"); err == nil {
		t.Error("b was held twice")
	}
	if other, err := b.hold("c"); err != nil {
		t.Errorf("a refused call kept c: %v", err)
	} else {
		other()
	}
	release()
	if _, err := b.hold("b"); err != nil {
		t.Errorf("b was not released: %v", err)
	}
}

func TestRecordsSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	r, err := openRecords(dir)
	if err != nil {
		t.Fatal(err)
	}
	kept, gone := volume{ID: newID(), Name: "kept", Claim: "media/radarr"}, volume{ID: newID(), Name: "gone"}
	for _, v := range []volume{kept, gone} {
		if err := r.putVolume(v); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.dropVolume(gone.ID); err != nil {
		t.Fatal(err)
	}
	if err := r.putSnapshot(snapshot{ID: "s", Deleted: true}); err != nil {
		t.Fatal(err)
	}
	again, err := openRecords(dir)
	if err != nil {
		t.Fatal(err)
	}
	if v, ok := again.volumeByID(kept.ID); !ok || v != kept {
		t.Errorf("got %+v, %t; want %+v", v, ok, kept)
	}
	if _, ok := again.volumeByID(gone.ID); ok {
		t.Error("a dropped volume came back")
	}
	if _, ok := again.snapshotByID("s"); ok {
		t.Error("a deleted snapshot can be seen")
	}
}
