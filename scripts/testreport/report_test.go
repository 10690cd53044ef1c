package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// To write the expected reports anew: go test . -update
var update = flag.Bool("update", false, "write testdata/*.txt anew")

// Each testdata/*.jsonl is what `go test -json` printed, and the .txt beside it
// is the report on it.
func TestReport(t *testing.T) {
	wantOK := map[string]bool{"passed": true}
	files, err := filepath.Glob("testdata/*.jsonl")
	if err != nil || len(files) == 0 {
		t.Fatalf("no streams in testdata: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".jsonl")
		t.Run(name, func(t *testing.T) {
			got, ok := reportOn(t, file, false)
			if ok != wantOK[name] {
				t.Errorf("ok = %v, want %v", ok, wantOK[name])
			}
			golden := strings.TrimSuffix(file, ".jsonl") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("report differs from %s:\n%s", golden, got)
			}
		})
	}
}

func TestSkipsMayBeAllowed(t *testing.T) {
	if got, ok := reportOn(t, "testdata/skipped.jsonl", true); !ok {
		t.Errorf("failed although skips are allowed:\n%s", got)
	}
}

func reportOn(t *testing.T, file string, allowSkips bool) (string, bool) {
	t.Helper()
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	var out bytes.Buffer
	r := newReport(&out)
	if err := r.read(in); err != nil {
		t.Fatal(err)
	}
	ok := r.close(allowSkips)
	return out.String(), ok
}
