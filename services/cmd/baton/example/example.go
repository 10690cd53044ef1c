// Package example is the example that ships in the binary: an agreement, a roster and engagement events that fit each
// other. `baton up` starts with it where none is given, and the quick start of the README shows it at work.
package example

import _ "embed" // the files

// Agreement is agreement.yaml.
//
//go:embed agreement.yaml
var Agreement []byte

// Roster is roster.yaml.
//
//go:embed roster.yaml
var Roster []byte

// Events is events.jsonl: one CloudEvent in JSON each line.
//
//go:embed events.jsonl
var Events []byte
