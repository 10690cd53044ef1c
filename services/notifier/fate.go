package notifier

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// fate is what whoever called should do next. It is the only place where an outcome becomes a gRPC code.
type fate codes.Code

const (
	// tryAgain: the same call may succeed a little later, at this notifier or at another.
	tryAgain = fate(codes.Unavailable)
	// outOfTime: nobody confirmed while the call lasted; try again.
	outOfTime = fate(codes.DeadlineExceeded)
	// wrong: the request itself is at fault; the same one fails again.
	wrong = fate(codes.InvalidArgument)
	// unknown: what the request names does not exist.
	unknown = fate(codes.NotFound)
	// over: this assignment needs no delivery any more.
	over = fate(codes.FailedPrecondition)
	// notHere: this version cannot do it at all.
	notHere = fate(codes.Unimplemented)
)

// errorf returns the error of a call. It is shown to callers and may be recorded by the router, so it names ids only.
func (f fate) errorf(format string, args ...any) error {
	return status.Error(codes.Code(f), fmt.Sprintf(format, args...))
}

// some lists names for a message: at most 20.
func some(names []string) string {
	const most = 20
	if len(names) == 0 {
		return "none"
	}
	if n := len(names) - most; n > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), n)
	}
	return strings.Join(names, ", ")
}

// brief shortens what a caller sent, for a message.
func brief(s string) string {
	const most = 64
	if len(s) <= most {
		return strings.ToValidUTF8(s, "?")
	}
	n := most
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return strings.ToValidUTF8(s[:n], "?") + "…"
}
