package simulation_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
)

// How a run is told what to do; see the Makefile.
const (
	envSeeds = "BATON_SIM_SEEDS" // how many
	envSeed  = "BATON_SIM_SEED"  // only this one
	envShare = "BATON_SIM_SHARE" // of a process that was forked: "FIRST STEP LAST FILE"
)

const (
	// few is how many seeds are lived through unless it is said.
	few = 20
	// enough is how many see every fault and every branch: the rarest comes once in some five.
	enough = 100
)

// TestSimulation lives through seeds, and then makes sure that everything has happened that it says it bears.
//
// nats.go keeps timers in a pool of the process, which two bubbles at a time would share, so the seeds are divided among
// processes.
func TestSimulation(t *testing.T) {
	if s := os.Getenv(envShare); s != "" {
		share(t, s)
		return
	}
	if s := os.Getenv(envSeed); s != "" {
		seed(t, number(t, s))
		return
	}
	n := uint64(few)
	if s := os.Getenv(envSeeds); s != "" {
		n = number(t, s)
	} else if testing.Short() {
		n = 1
	}
	happened := divide(t, n)
	for _, p := range slices.Sorted(maps.Keys(happened)) {
		t.Logf("%7d  %s", happened[p], p)
	}
	if n < enough || t.Failed() {
		return
	}
	for _, p := range everyPoint() {
		if happened[p] == 0 {
			t.Errorf("%q never happened in %d seeds, so they prove less than they say", p, n)
		}
	}
}

func number(t *testing.T, s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// seed lives through one seed, and returns what happened in it.
func seed(t *testing.T, n uint64) (happened map[point]int) {
	t.Run(fmt.Sprint("seed ", n), func(t *testing.T) {
		inWorld(t, n, func(w *world) {
			w.live()
			happened = w.chance.happened
		})
	})
	return happened
}

// divide lives through seeds 1 to n in as many processes as there are processors.
func divide(t *testing.T, n uint64) map[point]int {
	total := map[point]int{}
	var mu sync.Mutex
	var running sync.WaitGroup
	workers := min(uint64(runtime.GOMAXPROCS(0)), n)
	dir := t.TempDir()
	for i := range workers {
		running.Go(func() {
			file := filepath.Join(dir, fmt.Sprint(i))
			c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSimulation$", "-test.v", "-test.timeout=0")
			c.Env = append(os.Environ(), fmt.Sprintf("%s=%d %d %d %s", envShare, i+1, workers, n, file), "GOMAXPROCS=2")
			// The process ends with this one, however that ends: nobody holds the pipe any more.
			if _, err := c.StdinPipe(); err != nil {
				t.Error(err)
				return
			}
			out, err := c.CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
			mu.Lock()
			defer mu.Unlock()
			b, _ := os.ReadFile(file)
			for line := range bytes.Lines(b) {
				var happened map[point]int
				if json.Unmarshal(line, &happened) == nil {
					for p, k := range happened {
						total[p] += k
					}
				}
			}
		})
	}
	running.Wait()
	return total
}

// share lives through a process's share of the seeds.
func share(t *testing.T, s string) {
	var first, step, last uint64
	var file string
	if _, err := fmt.Sscan(s, &first, &step, &last, &file); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for n := first; n <= last; n += step {
		b, err := json.Marshal(seed(t, n))
		if err == nil {
			_, err = f.Write(append(b, '\n'))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
