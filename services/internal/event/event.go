// Package event reads engagement events: CloudEvents 1.0 in JSON or protobuf, without reflection.
package event

import (
	"github.com/leadbaton/baton/api/leadkey"
	"github.com/leadbaton/baton/services/internal/attribute"
)

// Event is one engagement event. Its strings are views into the body that it was decoded from:
// whoever keeps one clones it.
type Event struct {
	ID     string
	Source string
	Type   string
	// Time is when it happened, in Unix nanoseconds; 0 if the event does not say.
	Time int64
	// History says that the event was loaded as history: it scores, but hands nothing off.
	History bool
	// TraceParent is the CloudEvents distributed-tracing extension, if any.
	TraceParent string

	// The lead's identities, as published. Key is the key of the first of them.
	Email       string
	IDs         []Field // sorted by system; values are Text
	AnonymousID string
	Key         leadkey.Key

	// Attributes besides the identities, in document order. Lead includes "email" (normalised) if given.
	Lead     []Field
	Account  []Field
	Campaign Object
	// Properties are parsed when first asked for.
	Properties Object
	// MergeFrom is data.from of a `lead.merged` event: a lead key.
	MergeFrom string
}

// Field is one named value.
type Field struct {
	Name  string
	Value attribute.Value
}
