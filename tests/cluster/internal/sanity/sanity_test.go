package sanity

import "testing"

func TestParse(t *testing.T) {
	got, ok := parse("Ran 71 of 96 Specs in 0.4 seconds\nSUCCESS! -- 71 Passed | 0 Failed | 1 Pending | 24 Skipped\n")
	if want := (Counts{Passed: 71, Skipped: 24}); !ok || got != want {
		t.Errorf("got %+v, %t; want %+v", got, ok, want)
	}
	if _, ok := parse("panic: something"); ok {
		t.Error("a run without a summary counts as finished")
	}
}
