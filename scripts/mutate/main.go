// Command mutate proves that the simulation sees what it is there for: it takes away, one at a time, what keeps Baton right,
// and fails if a simulation does not notice. It changes no file: the altered sources are an overlay of the build.
//
//	mutate [-seeds 20] [NAME...]
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

func main() {
	seeds := flag.Int("seeds", 20, "give up on a mutation after this many seeds")
	flag.Parse()
	if err := run(*seeds, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(seeds int, names []string) error {
	services, err := filepath.Abs("../../services")
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "baton-mutate")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	var survived []string
	fmt.Println("| without | caught by | seed | seconds |\n|---|---|---|---|")
	for _, m := range mutations {
		if len(names) > 0 && !slices.Contains(names, m.name) {
			continue
		}
		program, err := m.build(services, dir)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		began := time.Now()
		by, seed, err := hunt(program, filepath.Join(services, "simulation"), seeds)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		if by == "" {
			survived = append(survived, m.name)
			by = "**nothing**"
		}
		fmt.Printf("| %s | %s | %d | %.0f |\n", m.name, by, seed, time.Since(began).Seconds())
	}
	if len(survived) > 0 {
		return fmt.Errorf("not caught in %d seeds: %s", seeds, strings.Join(survived, ", "))
	}
	return nil
}

// build builds the simulation with a mutation.
func (m *mutation) build(services, dir string) (program string, err error) {
	replace := map[string]string{}
	for i, e := range m.edits {
		path := filepath.Join(services, e.file)
		source := path
		if r, ok := replace[path]; ok {
			source = r
		}
		text, err := os.ReadFile(source)
		if err != nil {
			return "", err
		}
		if n := bytes.Count(text, []byte(e.old)); n != 1 {
			return "", fmt.Errorf("%s has %q %d times, want it once: the source has changed, so change this mutation as well", e.file, e.old, n)
		}
		text = bytes.Replace(text, []byte(e.old), []byte(e.new), 1)
		replace[path] = filepath.Join(dir, fmt.Sprintf("%d-%s", i, filepath.Base(e.file)))
		if err := os.WriteFile(replace[path], text, 0o600); err != nil {
			return "", err
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		return "", err
	}
	program = filepath.Join(dir, "simulation.test")
	c := exec.Command("go", "test", "-c", "-overlay", file, "-o", program, "./simulation")
	c.Dir = services
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return program, nil
}

// verdict is the line of a simulation that says what is wrong.
var verdict = regexp.MustCompile(`(?m)^\s+\w+_test\.go:\d+: (?:h-\w+: )?(P\d+|fence|liveness): (.*)$`)

// hunt runs seeds until one fails, and returns by what; "" if none does.
func hunt(program, dir string, seeds int) (by string, seed int, err error) {
	for seed = 1; seed <= seeds; seed++ {
		c := exec.Command(program, "-test.run=^TestSimulation$", "-test.timeout=10m")
		c.Dir = dir
		c.Env = append(os.Environ(), fmt.Sprint("BATON_SIM_SEED=", seed))
		out, err := c.CombinedOutput()
		var exit *exec.ExitError
		switch {
		case err == nil:
			continue
		case !errors.As(err, &exit):
			return "", seed, err
		}
		if m := verdict.FindSubmatch(out); m != nil {
			return string(m[1]), seed, nil
		}
		return "", seed, fmt.Errorf("seed %d ended with %w, but names no promise:\n%s", seed, err, tail(out))
	}
	return "", seeds, nil
}

func tail(b []byte) []byte { return b[max(0, len(b)-4000):] }
