// Testreport runs the tests of several Go modules and reports on all of them
// together: a line per package, every failure in full, and as its last line
//
//	N passed, N failed, N skipped
//
// It fails when a test failed, when none ran, and when one was skipped: a test
// that skips because something is missing proves nothing and looks as if it did.
//
//	testreport [-allow-skips] DIR... -- ARG...
//
// runs `go test -json ARG...` in each DIR, one after the other.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
)

const usage = "usage: testreport [-allow-skips] DIR... -- ARG..."

func main() {
	allowSkips := flag.Bool("allow-skips", false, "report skipped tests without failing")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, usage)
		flag.PrintDefaults()
	}
	flag.Parse()

	dash := slices.Index(flag.Args(), "--")
	if dash < 1 {
		flag.Usage()
		os.Exit(2)
	}
	dirs, args := flag.Args()[:dash], flag.Args()[dash+1:]

	r := newReport(os.Stdout)
	for _, dir := range dirs {
		if err := test(r, dir, args); err != nil {
			r.fail(dir, err)
		}
	}
	if !r.close(*allowSkips) {
		os.Exit(1)
	}
}

// test runs the tests of one module into r. It returns an error only for what
// r cannot have seen: a run that ended badly with no failure among its events,
// such as a go.mod that does not parse.
func test(r *report, dir string, args []string) error {
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Dir = dir
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	before := r.failed
	readErr := r.read(stdout)
	if readErr != nil {
		// Keep the pipe empty, so that the command can end.
		_, _ = io.Copy(io.Discard, stdout)
	}
	err = cmd.Wait()
	if r.failed > before {
		err = nil
	}
	return errors.Join(readErr, err)
}
