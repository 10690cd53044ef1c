package main

import (
	"fmt"

	"github.com/leadbaton/baton/services/cmd/baton/internal/screen"
	"github.com/leadbaton/baton/services/internal/agreement"
	"github.com/leadbaton/baton/services/internal/lead"
)

type agreementTestCommand struct {
	fileArgument
	outputFlag
}

// Run runs a document's own tests.
func (c *agreementTestCommand) Run(s *system) error {
	a, err := s.parseAgreement(c.File)
	if err != nil {
		return err
	}
	results, failed := runTests(s, a)
	if c.Output == "json" {
		err = writeValue(s.out, struct {
			Tests []screen.TestResult `json:"tests"`
		}{results})
	} else {
		p := s.page()
		p.Tests(c.File, results)
		err = p.Err()
	}
	if err == nil && failed > 0 {
		return quiet(exitUntested)
	}
	return err
}

func runTests(s *system, a *agreement.Agreement) (results []screen.TestResult, failed int) {
	results = []screen.TestResult{}
	for _, r := range lead.RunTests(a, s.now()) {
		results = append(results, screen.TestResult{Name: r.Name, Line: r.Line, Passed: r.Passed(), Failures: r.Failures})
		if !r.Passed() {
			failed++
		}
	}
	return results, failed
}

// untested is the error of putting a document in force whose own tests fail.
func untested(file string, failed int) error {
	return &coded{exitUntested, fmt.Errorf("%s is not put in force: %s; see baton agreement test %s",
		file, screen.Count(uint64(failed), "of its own tests fails", "of its own tests fail"), file)}
}
