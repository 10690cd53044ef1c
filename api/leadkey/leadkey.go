// Package leadkey computes the key of a lead from its identities.
package leadkey

// Key is the opaque identity of a lead: 32 lower-case hex digits. It is guessable from the identity, so it is personal
// data: it never goes into logs, metrics or traces.
type Key string
