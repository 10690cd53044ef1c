package main

import "github.com/leadbaton/baton/services/internal/agreement"

// fileArgument names a document.
type fileArgument struct {
	File string `arg:"" help:"The document: YAML; - reads the standard input."`
}

type agreementLintCommand struct {
	fileArgument
	outputFlag
}

// Run checks a document.
func (c *agreementLintCommand) Run(s *system) error {
	doc, err := s.readDocument(c.File)
	if err != nil {
		return err
	}
	return c.lint(s, c.File, agreement.Lint(doc))
}
