package main

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	"github.com/leadbaton/baton/api/leadkey"
	"github.com/leadbaton/baton/services/cmd/baton/internal/screen"
)

// instant is a time on the command line.
type instant struct{ time.Time }

// What is outside cannot be counted in nanoseconds: it would be taken for a time within, or for none.
var (
	firstInstant = time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)
	pastInstants = time.Date(2262, 1, 1, 0, 0, 0, 0, time.UTC)
)

// UnmarshalText reads RFC 3339.
func (i *instant) UnmarshalText(b []byte) error {
	t, err := time.Parse(time.RFC3339, string(b))
	if err != nil {
		return fmt.Errorf("%q is not a time: want RFC 3339, such as 2026-11-16T14:03:00Z or 2026-11-16T15:03:00+01:00", b)
	}
	if t.Before(firstInstant) || !t.Before(pastInstants) {
		return fmt.Errorf("%q is not a time that Baton knows: want one from %d to %d", b, firstInstant.Year(), pastInstants.Year()-1)
	}
	i.Time = t
	return nil
}

// proto returns the message; nil if the time was not given.
func (i instant) proto() *timestamppb.Timestamp {
	if i.IsZero() {
		return nil
	}
	return timestamppb.New(i.Time)
}

// leadName is what a person calls a lead.
type leadName string

// UnmarshalText checks that it can be resolved.
func (l *leadName) UnmarshalText(b []byte) error {
	if _, err := leadkey.Resolve(string(b)); err != nil {
		return fmt.Errorf("%q is %w", b, err)
	}
	*l = leadName(b)
	return nil
}

func (l leadName) key() leadkey.Key {
	key, _ := leadkey.Resolve(string(l)) // checked when it was read
	return key
}

// heldReason, handoffState and verb are closed sets on the command line.
type (
	heldReason   struct{ leadv1.Held }
	handoffState struct{ handoffv1.State }
	verb         struct{ handoffv1.Verb }
)

func word(e protoreflect.Enum, what string, b []byte) (protoreflect.EnumNumber, error) {
	n, ok := screen.Parse(e, string(b))
	if !ok {
		return 0, fmt.Errorf("%q is no %s: want one of %s", b, what, strings.Join(screen.Words(e), ", "))
	}
	return n, nil
}

// UnmarshalText reads a reason such as no-path.
func (h *heldReason) UnmarshalText(b []byte) error {
	n, err := word(h.Held, "reason", b)
	h.Held = leadv1.Held(n)
	return err
}

// UnmarshalText reads a state such as offered.
func (h *handoffState) UnmarshalText(b []byte) error {
	n, err := word(h.State, "state", b)
	h.State = handoffv1.State(n)
	return err
}

// UnmarshalText reads a verb such as hand-over.
func (v *verb) UnmarshalText(b []byte) error {
	n, err := word(v.Verb, "answer", b)
	v.Verb = handoffv1.Verb(n)
	return err
}

// requestFlag names a change, so that it can be repeated.
type requestFlag struct {
	RequestID string `placeholder:"ID" help:"Id of this request: the same id twice counts once. One is made up if it is not given."`
}

func (r requestFlag) id() string {
	if r.RequestID != "" {
		return r.RequestID
	}
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
