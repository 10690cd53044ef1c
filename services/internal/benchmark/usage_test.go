package benchmark

import (
	"math"
	"os"
	"testing"
	"time"
)

// TestUsage compares what the two ways of looking at a process say of this one.
func TestUsage(t *testing.T) {
	for end := time.Now().Add(1500 * time.Millisecond); time.Now().Before(end); {
	}
	a, err := usageOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	b, err := usageOfPS(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	// ps cuts to whole seconds on Linux.
	if d := (a.cpu - b.cpu).Abs(); a.cpu <= 0 || d > 1500*time.Millisecond {
		t.Errorf("%s and %s of processor time", a.cpu, b.cpu)
	}
	if r := float64(a.resident) / float64(b.resident); math.Abs(math.Log(r)) > 0.5 {
		t.Errorf("%d and %d bytes", a.resident, b.resident)
	}
}

func TestPSTime(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"00:00:07": 7 * time.Second, "1-02:03:04": 26*time.Hour + 3*time.Minute + 4*time.Second, "0:01.25": 1250 * time.Millisecond,
	} {
		if got, err := psTime(text); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", text, got, err, want)
		}
	}
	for _, bad := range []string{"", "x:1", "a-1:2"} {
		if _, err := psTime(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}
