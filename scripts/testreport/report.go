package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// event is one line of `go test -json`; see `go doc test2json`.
type event struct {
	Action     string
	ImportPath string // of build events, instead of Package
	Package    string
	Test       string
	Elapsed    float64
	Output     string
}

// A report counts tests, subtests included, and prints as packages finish.
type report struct {
	out      io.Writer
	packages map[string]*pkg
	failures []string // names, in the order of their finishing
	skips    []string // names with reasons
	passed   int
	failed   int
}

// A pkg is a package that is still running.
type pkg struct {
	output  []string            // of the package itself
	running map[string][]string // output of tests that have not ended
	blocks  []string            // output of tests that failed
	tests   int
	failed  int
}

func newReport(out io.Writer) *report {
	return &report{out: out, packages: map[string]*pkg{}}
}

// read takes the events of one run. Lines that are no events are shown as they
// are.
func (r *report) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) == nil {
				r.add(e)
			} else {
				r.printf("%s", line)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *report) add(e event) {
	if e.Action == "build-output" {
		r.printf("%s", e.Output)
		return
	}
	if e.Package == "" {
		return
	}
	p := r.packages[e.Package]
	if p == nil {
		p = &pkg{running: map[string][]string{}}
		r.packages[e.Package] = p
	}
	if e.Test == "" {
		r.addToPackage(p, e)
	} else {
		r.addToTest(p, e)
	}
}

func (r *report) addToTest(p *pkg, e event) {
	name := e.Package + "." + e.Test
	switch e.Action {
	case "run":
		p.running[e.Test] = nil
		p.tests++
	case "output":
		p.running[e.Test] = append(p.running[e.Test], e.Output)
	case "pass":
		r.passed++
		delete(p.running, e.Test)
	case "skip":
		r.skips = append(r.skips, name+skipReason(p.running[e.Test]))
		delete(p.running, e.Test)
	case "fail":
		r.failTest(p, name, p.running[e.Test])
		delete(p.running, e.Test)
	}
}

func (r *report) addToPackage(p *pkg, e event) {
	switch e.Action {
	case "output":
		p.output = append(p.output, e.Output)
	case "pass":
		r.printf("ok    %s  %.1fs  %s\n", e.Package, e.Elapsed, count(p.tests, "test"))
		delete(r.packages, e.Package)
	case "skip":
		// The package has no tests: nothing was left out.
		delete(r.packages, e.Package)
	case "fail":
		r.failPackage(p, e)
		delete(r.packages, e.Package)
	}
}

func (r *report) failTest(p *pkg, name string, output []string) {
	r.failed++
	r.failures = append(r.failures, name)
	p.failed++
	p.blocks = append(p.blocks, strings.Join(output, ""))
}

func (r *report) failPackage(p *pkg, e event) {
	r.printf("FAIL  %s  %.1fs\n", e.Package, e.Elapsed)
	// A panic or a timeout ends the package before its tests have ended.
	for _, test := range slices.Sorted(maps.Keys(p.running)) {
		r.failTest(p, e.Package+"."+test+" (did not finish)", p.running[test])
	}
	if p.failed == 0 {
		// No test is to blame: it did not build, or TestMain failed.
		r.failed++
		r.failures = append(r.failures, e.Package)
	}
	for _, output := range append(p.blocks, strings.Join(p.output, "")) {
		r.printf("%s", output)
	}
}

// fail records a failure that no event told of.
func (r *report) fail(name string, err error) {
	r.failed++
	r.failures = append(r.failures, fmt.Sprintf("%s: %v", name, err))
}

// close prints the summary and says whether all is well.
func (r *report) close(allowSkips bool) bool {
	for _, name := range slices.Sorted(maps.Keys(r.packages)) {
		r.fail(name, errors.New("ended without a result"))
	}
	if r.passed+r.failed+len(r.skips) == 0 {
		r.fail("nothing", errors.New("no test ran"))
	}
	r.list("Failed", r.failures)
	r.list("Skipped", r.skips)
	if len(r.skips) > 0 && !allowSkips {
		r.printf("\nA skipped test counts as a failure here: install what it asks for.\n")
	}
	r.printf("\n%d passed, %d failed, %d skipped\n", r.passed, r.failed, len(r.skips))
	return r.failed == 0 && (allowSkips || len(r.skips) == 0)
}

func (r *report) list(title string, names []string) {
	if len(names) == 0 {
		return
	}
	r.printf("\n%s:\n", title)
	for _, name := range names {
		r.printf("  %s\n", name)
	}
}

func (r *report) printf(format string, args ...any) {
	fmt.Fprintf(r.out, format, args...)
}

// skipReason is what the test said about it: its output between the lines that
// the testing package writes.
func skipReason(output []string) string {
	var said []string
	for _, line := range output {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- ") {
			said = append(said, line)
		}
	}
	if len(said) == 0 {
		return ""
	}
	return ": " + strings.Join(said, " ")
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
