// Package document reads YAML documents strictly: unknown keys are errors, and all errors of a document are found at
// once, each with line and column.
package document

import "fmt"

// Severity is the closed set of weights of a finding.
type Severity uint8

// The weights.
const (
	Error   Severity = iota + 1 // the document is invalid
	Warning                     // valid, but look here (a key that is not yet in force)
)

// Finding is one thing to say of a document.
type Finding struct {
	Severity Severity
	Line     int // from 1
	Column   int // from 1
	Path     string
	Message  string
}

// String is the finding as compilers print theirs, without the file's name.
func (f Finding) String() string {
	s := "error"
	if f.Severity == Warning {
		s = "warning"
	}
	return fmt.Sprintf("%d:%d: %s: %s: %s", f.Line, f.Column, s, f.Path, f.Message)
}

// Invalid says whether any finding makes the document invalid.
func Invalid(fs []Finding) bool {
	for _, f := range fs {
		if f.Severity == Error {
			return true
		}
	}
	return false
}
