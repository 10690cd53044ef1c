package main

import (
	"os"

	"github.com/leadbaton/baton/services/internal/roster"
)

type rosterLintCommand struct {
	fileArgument
	outputFlag
}

// Run checks a document.
func (c *rosterLintCommand) Run(s *system) error {
	doc, err := s.readDocument(c.File)
	if err != nil {
		return err
	}
	r, findings := roster.Parse(doc)
	if r != nil {
		findings = append(findings, roster.Lint(r, func(path string) bool {
			_, err := os.Stat(path)
			return err == nil
		})...)
	}
	return c.lint(s, c.File, findings)
}
