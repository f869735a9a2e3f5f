package fault

import (
	"path/filepath"
	"testing"
)

func TestTheClosestKeyCounts(t *testing.T) {
	table := Table{
		"handle-1":     {Create: "error: by handle", Claim: "media/radarr"},
		"media/radarr": {Create: "error: by claim"},
		"media/*":      {Create: "error: by pattern"},
	}
	for _, c := range []struct{ handle, claim, want string }{
		{"handle-1", "media/radarr", "error: by handle"},
		{"handle-2", "media/radarr", "error: by claim"},
		{"handle-2", "media/sonarr", "error: by pattern"},
		{"", "media/sonarr", "error: by pattern"},
		{"handle-2", "books/radarr", ""},
		{"", "", ""},
	} {
		if got := table.Of(c.handle, c.claim).Create; got != c.want {
			t.Errorf("Of(%q, %q) = %q, want %q", c.handle, c.claim, got, c.want)
		}
	}
}

func TestClearTakesTheHandleAlong(t *testing.T) {
	file := filepath.Join(t.TempDir(), "faults.json")
	table, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	table["handle-1"] = Fault{Full: true, Claim: "media/radarr"}
	table["media/radarr"] = Fault{Full: true}
	table["media/sonarr"] = Fault{Full: true}
	table.Clear("media/radarr")
	if err := table.Save(file); err != nil {
		t.Fatal(err)
	}
	if table, err = Load(file); err != nil || len(table) != 1 || !table["media/sonarr"].Full {
		t.Errorf("left: %+v (%v)", table, err)
	}
	table.Clear("")
	if len(table) != 0 {
		t.Errorf("left: %+v", table)
	}
}
