package main

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"
)

// Write what the commands print now into the scripts: go test ./cmd/baton -update
var update = flag.Bool("update", false, "write what the commands print into testdata/script")

// TestMain makes `baton` a command of the scripts: the real one, but for the clock, which BATON_TEST_NOW sets.
func TestMain(m *testing.M) {
	testscript.Main(leakChecked{m}, map[string]func(){
		"baton": func() {
			s := thisProcess()
			if now := os.Getenv("BATON_TEST_NOW"); now != "" {
				t, err := time.Parse(time.RFC3339, now)
				if err != nil {
					panic(err)
				}
				s.now = func() time.Time { return t }
			}
			os.Exit(run(os.Args[1:], s))
		},
		// A command that is told to stop and hangs.
		"hangs": func() {
			s := thisProcess()
			s.handleSignals()
			fmt.Println("begun")
			<-s.ctx.Done()
			fmt.Println("stopping")
			select {}
		},
	})
}

type leakChecked struct{ m *testing.M }

func (l leakChecked) Run() int {
	code := l.m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		Setup:               startScripted,
		Cmds:                scriptCommands(),
		RequireExplicitExec: true,
	})
}
