package main

import (
	"os"
	"path/filepath"
	"strings"

	agreementv1 "github.com/leadbaton/baton/api/gen/baton/agreement/v1"
	"github.com/leadbaton/baton/services/internal/agreement"
	"github.com/leadbaton/baton/services/internal/document"
	"github.com/leadbaton/baton/services/internal/roster"
)

// looksLikeFile says whether an argument is a file rather than the name of a document in force.
func looksLikeFile(arg string) bool {
	switch filepath.Ext(arg) {
	case ".yaml", ".yml":
		return true
	}
	if arg == "-" || strings.ContainsRune(arg, filepath.Separator) {
		return true
	}
	info, err := os.Stat(arg)
	return err == nil && !info.IsDir()
}

// parseAgreement reads an agreement from a file. Findings are written to the standard error output; an invalid document ends with
// exit code 3.
func (s *system) parseAgreement(file string) (*agreement.Agreement, error) {
	doc, err := s.readDocument(file)
	if err != nil {
		return nil, err
	}
	a, findings := agreement.Parse(doc)
	return a, s.judge(file, a == nil, findings)
}

// parseRoster reads a roster from a file, as parseAgreement does an agreement.
func (s *system) parseRoster(file string) (*roster.Roster, error) {
	doc, err := s.readDocument(file)
	if err != nil {
		return nil, err
	}
	r, findings := roster.Parse(doc)
	return r, s.judge(file, r == nil, findings)
}

// judge writes what makes a document invalid.
func (s *system) judge(file string, invalid bool, findings []document.Finding) error {
	if !invalid {
		return nil
	}
	p := s.errorPage()
	p.Findings(file, findings)
	return quiet(exitInvalid)
}

// lintOutput writes findings of a file, as lint does.
func (o outputFlag) lint(s *system, file string, findings []document.Finding) error {
	if o.Output == "json" {
		r := &agreementv1.ActivateResponse{}
		for _, f := range findings {
			severity := agreementv1.Finding_SEVERITY_ERROR
			if f.Severity == document.Warning {
				severity = agreementv1.Finding_SEVERITY_WARNING
			}
			r.Findings = append(r.Findings, &agreementv1.Finding{
				Severity: severity, Line: uint32(f.Line), Column: uint32(f.Column), Path: f.Path, Message: f.Message,
			})
		}
		if err := writeJSON(s.out, r); err != nil {
			return err
		}
	} else {
		p := s.page()
		p.Findings(file, findings)
		if err := p.Err(); err != nil {
			return err
		}
	}
	if document.Invalid(findings) {
		return quiet(exitInvalid)
	}
	if o.Output != "json" {
		s.page().Say("%s is valid", file)
	}
	return nil
}
