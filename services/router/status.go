package router

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/leadbaton/baton/services/internal/document"
	"github.com/leadbaton/baton/services/internal/fold"
	"github.com/leadbaton/baton/services/internal/handoff"
)

// statusOf is the one place where an error becomes a gRPC status: InvalidArgument and FailedPrecondition mean never as it
// is, NotFound means look again at what was named, Unavailable means later.
func statusOf(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	var (
		refused *handoff.Error
		stop    *fold.StopError
	)
	switch {
	case errors.As(err, &refused):
		if refused.Code == handoff.CodeInvalidDocument {
			return status.Error(codes.InvalidArgument, findingLines(refused.Findings))
		}
		return status.Error(codeOf(refused.Code), refused.Message)
	case errors.Is(err, errNoLeader), errors.Is(err, errTermEnded):
		return status.Error(codes.Unavailable, errNoLeader.Error())
	case errors.As(err, &stop):
		return status.Error(codes.FailedPrecondition, "the router stands still until an operator has put this right: "+stop.Reason)
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, "the time given ran out; whether it was done is not known: repeat the request with the same id")
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, "the call was given up")
	}
	return status.Error(codes.Unavailable, "the router cannot do this now; try again: "+err.Error())
}

func codeOf(c handoff.Code) codes.Code {
	switch c {
	case handoff.CodeInvalid, handoff.CodeInvalidDocument, handoff.CodeUnknownRep:
		return codes.InvalidArgument
	case handoff.CodeUnknownHandoff:
		return codes.NotFound
	case handoff.CodeRequestConflict:
		return codes.AlreadyExists
	case handoff.CodeAmbiguous, handoff.CodeClosed, handoff.CodeWrongVerb, handoff.CodeNotHolder, handoff.CodeRepHolds,
		handoff.CodeUnknownAgreement, handoff.CodeIncarnation:
		return codes.FailedPrecondition
	}
	return codes.FailedPrecondition
}

// findingLines is every finding of a document on a line of its own.
func findingLines(fs []document.Finding) string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.String()
	}
	return strings.Join(lines, "\n")
}

func invalidArgument(format string, args ...any) error {
	return status.Error(codes.InvalidArgument, fmt.Sprintf(format, args...))
}

// needRequestID refuses a mutation that could not be repeated safely.
func needRequestID(id string) error {
	if id == "" {
		return invalidArgument("request_id is empty: give every request an id of its own, and repeat it with the same one")
	}
	return nil
}
