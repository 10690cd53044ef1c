// Package condition compiles and evaluates the CEL conditions of agreements and rosters.
package condition

import "github.com/leadbaton/baton/services/internal/attribute"

// Scope is what a condition sees. A nil Object is an object that knows nothing.
type Scope struct {
	Event    attribute.Object // the event's properties
	Lead     attribute.Object
	Account  attribute.Object
	Campaign attribute.Object
	Source   string

	// Only for the roster's conditions.
	Score     float64
	Grade     string
	Path      string
	Agreement string
}
