package router

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"time"

	"google.golang.org/grpc/status"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	"github.com/leadbaton/baton/services/internal/handoff"
)

// initial is what is put in force when this router first leads: a document, or the fold version that it knows.
type initial struct {
	kind   string
	decide func(s *handoff.State, now time.Time) ([]*handoffv1.Fact, error)
}

// initialDocuments checks the documents. A wrong one is an error with all its findings.
func initialDocuments(agreementDoc, rosterDoc []byte) ([]initial, error) {
	var out []initial
	if len(agreementDoc) > 0 {
		if _, _, err := lintAgreement(context.Background(), agreementDoc); err != nil {
			return nil, errors.New("the initial agreement: " + status.Convert(err).Message())
		}
		doc, id := bytes.Clone(agreementDoc), "initial-agreement-"+rand.Text()
		out = append(out, initial{"agreement", func(s *handoff.State, now time.Time) ([]*handoffv1.Fact, error) {
			return s.DecideActivate(handoff.Activate{RequestID: id, Document: doc}, now)
		}})
	}
	if len(rosterDoc) > 0 {
		if _, _, err := lintRoster(rosterDoc); err != nil {
			return nil, errors.New("the initial roster: " + status.Convert(err).Message())
		}
		doc, id := bytes.Clone(rosterDoc), "initial-roster-"+rand.Text()
		out = append(out, initial{"roster", func(s *handoff.State, now time.Time) ([]*handoffv1.Fact, error) {
			return s.DecideApply(handoff.Apply{RequestID: id, Document: doc}, now)
		}})
	}
	return out, nil
}

// putInitial puts the initial documents in force, once. It is called by the decide loop alone.
func (t *term) putInitial(b *batch) error {
	if len(t.r.initial) == 0 {
		return nil
	}
	for _, d := range t.r.initial {
		facts, err := d.decide(t.r.ledger.state, time.Now())
		if err != nil {
			t.r.log.Error("what this router begins with is not put in force; what was in force stays", "kind", d.kind, "error", err)
			continue
		}
		if err := b.add(facts); err != nil {
			return err
		}
	}
	if err := b.flush(); err != nil {
		return err // the next term tries again
	}
	t.r.initial = nil
	return nil
}
