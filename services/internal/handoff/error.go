package handoff

import "github.com/leadbaton/baton/services/internal/document"

// Error is why an input was refused. It has changed nothing. Its message says what happened and what to do; it quotes ids
// of handoffs, reps and reasons, and nothing of a lead.
type Error struct {
	Code     Code
	Message  string
	Findings []document.Finding // of CodeInvalidDocument: all of them
}

// Error implements error.
func (e *Error) Error() string { return e.Message }

// Code is the closed set of refusals. All but CodeUnknownAgreement and CodeIncarnation are final: the same input is
// refused again until something else changes.
type Code uint8

// The refusals.
const (
	// CodeInvalid: the request is not complete, or says what its verb does not take.
	CodeInvalid Code = iota + 1
	// CodeInvalidDocument: the document has errors.
	CodeInvalidDocument
	// CodeUnknownHandoff: no handoff has this id, or none of this lead is known.
	CodeUnknownHandoff
	// CodeAmbiguous: the lead has several open handoffs.
	CodeAmbiguous
	// CodeClosed: the handoff ended; the message says how.
	CodeClosed
	// CodeWrongVerb: this answer is not allowed where the handoff is.
	CodeWrongVerb
	// CodeUnknownRep: the roster has no such rep.
	CodeUnknownRep
	// CodeNotHolder: another rep holds it, or nobody yet.
	CodeNotHolder
	// CodeRequestConflict: the request's id was used for another request.
	CodeRequestConflict
	// CodeRepHolds: the new roster drops a rep who holds handoffs.
	CodeRepHolds
	// CodeUnknownAgreement: the lead was judged under a version that HANDOFFS does not have. The router must stop: the
	// streams do not belong together.
	CodeUnknownAgreement
	// CodeIncarnation: LEADS was created anew or restored. The router must stop, since reading on would skip or repeat.
	CodeIncarnation
)
