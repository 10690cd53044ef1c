package handoff

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	agreementv1 "github.com/leadbaton/baton/api/gen/baton/agreement/v1"
	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	rosterv1 "github.com/leadbaton/baton/api/gen/baton/roster/v1"

	"github.com/leadbaton/baton/services/internal/agreement"
	"github.com/leadbaton/baton/services/internal/attribute"
	"github.com/leadbaton/baton/services/internal/document"
	"github.com/leadbaton/baton/services/internal/roster"
)

// agreements is all versions of one name; versions[0] is version 1.
type agreements struct{ versions []*agreementVersion }

func (a *agreements) newest() *agreementVersion { return a.versions[len(a.versions)-1] }

type agreementVersion struct {
	fact *handoffv1.AgreementActivated
	at   int64
	// parsed is worked out when first needed: a version that is in force nowhere any more is never parsed.
	parsed func() (*agreement.Agreement, error)
}

func newAgreementVersion(f *handoffv1.AgreementActivated, at int64) *agreementVersion {
	return &agreementVersion{fact: f, at: at, parsed: sync.OnceValues(func() (*agreement.Agreement, error) {
		a, fs := agreement.Parse(f.GetDocument())
		if a == nil || document.Invalid(fs) {
			return nil, fmt.Errorf("version %d of the agreement %q cannot be read by this version of Baton: %s", f.GetVersion(), f.GetName(), firstError(fs))
		}
		return a, nil
	})}
}

func firstError(fs []document.Finding) string {
	for _, f := range fs {
		if f.Severity == document.Error {
			return f.String()
		}
	}
	return "no reason given"
}

// agreementOf returns the agreement that a lead was judged under.
func (s *State) agreementOf(name string, version uint32) (*agreement.Agreement, error) {
	a := s.agreements[name]
	if a == nil || version == 0 || int(version) > len(a.versions) {
		return nil, &Error{Code: CodeUnknownAgreement, Message: fmt.Sprintf(
			"version %d of the agreement %q was never put in force here; do LEADS and HANDOFFS belong together?", version, name)}
	}
	return a.versions[version-1].parsed()
}

// Agreement returns the newest version of an agreement; nil if there is none of that name.
func (s *State) Agreement(name string) *agreementv1.Agreement {
	a := s.agreements[name]
	if a == nil {
		return nil
	}
	v := a.newest()
	return &agreementv1.Agreement{
		Name: v.fact.GetName(), Version: v.fact.GetVersion(), Document: v.fact.GetDocument(),
		ActivatedAt: timestamppb.New(timeOf(v.at)), Unsigned: v.fact.GetUnsigned(),
	}
}

// Agreements returns the newest version of every agreement, by name.
func (s *State) Agreements() []*agreementv1.Agreement {
	names := make([]string, 0, len(s.agreements))
	for name := range s.agreements {
		names = append(names, name)
	}
	slices.Sort(names)
	out := make([]*agreementv1.Agreement, len(names))
	for i, name := range names {
		out[i] = s.Agreement(name)
	}
	return out
}

type rosterInForce struct {
	roster  *roster.Roster
	version uint32
	at      int64
}

// Roster returns the roster in force, compiled, and its version; nil and 0 if there is none.
func (s *State) Roster() (*roster.Roster, uint32) { return s.rosters.roster, s.rosters.version }

// RosterInForce returns the roster in force; nil if there is none.
func (s *State) RosterInForce() *rosterv1.Roster {
	if s.rosters.roster == nil {
		return nil
	}
	return &rosterv1.Roster{
		Version: s.rosters.version, Document: s.rosters.roster.Document, AppliedAt: timestamppb.New(timeOf(s.rosters.at)),
	}
}

// Activate asks to put an agreement in force.
type Activate struct {
	RequestID   string
	Document    []byte
	Traceparent string
}

// DecideActivate puts a document in force as the next version of its name. No facts and no error mean that the request
// was decided before (see State.Request) or that the document is in force already, to the byte.
func (s *State) DecideActivate(in Activate, now time.Time) ([]*handoffv1.Fact, error) {
	hash := hashOf("activate", in.Document)
	if done, err := s.repeated(in.RequestID, hash); done || err != nil {
		return nil, err
	}
	a, fs := agreement.Parse(in.Document)
	if a == nil || document.Invalid(fs) {
		return nil, &Error{Code: CodeInvalidDocument, Message: "the agreement is not valid: " + firstError(fs), Findings: fs}
	}
	version := uint32(1)
	if old := s.agreements[a.Name]; old != nil {
		newest := old.newest()
		if bytes.Equal(newest.fact.GetDocument(), in.Document) {
			return nil, nil
		}
		version = newest.fact.GetVersion() + 1
	}
	d := s.decide(now, in.Traceparent)
	d.request(in.RequestID, hash)
	d.add("", &handoffv1.Fact{Fact: &handoffv1.Fact_AgreementActivated{AgreementActivated: &handoffv1.AgreementActivated{
		Name: a.Name, Version: version, Document: bytes.Clone(in.Document), Unsigned: true,
	}}})
	return d.facts, nil
}

// Apply asks to put a roster in force.
type Apply struct {
	RequestID   string
	Document    []byte
	Traceparent string
}

// DecideApply puts a document in force as the next version of the roster. No facts and no error mean that the request
// was decided before (see State.Request) or that the document is in force already, to the byte.
func (s *State) DecideApply(in Apply, now time.Time) ([]*handoffv1.Fact, error) {
	hash := hashOf("apply", in.Document)
	if done, err := s.repeated(in.RequestID, hash); done || err != nil {
		return nil, err
	}
	r, fs := roster.Parse(in.Document)
	if r == nil {
		return nil, &Error{Code: CodeInvalidDocument, Message: "the roster is not valid: " + firstError(fs), Findings: fs}
	}
	if old := s.rosters.roster; old != nil {
		if bytes.Equal(old.Document, in.Document) {
			return nil, nil
		}
		for _, p := range old.Reps {
			if n := s.carriedBy(p.ID).open; n > 0 && r.Rep(p.ID) == nil {
				return nil, &Error{Code: CodeRepHolds, Message: fmt.Sprintf(
					"the rep %q holds %d open handoffs and cannot be dropped; hand them over or close them first", p.ID, n)}
			}
		}
	}
	d := s.decide(now, in.Traceparent)
	d.request(in.RequestID, hash)
	d.add("", &handoffv1.Fact{Fact: &handoffv1.Fact_RosterApplied{RosterApplied: &handoffv1.RosterApplied{
		Version: s.rosters.version + 1, Document: bytes.Clone(in.Document),
	}}})
	return d.facts, nil
}

// DecideFoldVersion puts a version of the scorers' fold in force. No facts mean that it, or a newer one, is in force already.
func (s *State) DecideFoldVersion(version uint32, now time.Time) []*handoffv1.Fact {
	if version <= max(s.foldVersion, 1) { // shards begin with version 1
		return nil
	}
	d := s.decide(now, "")
	d.add("", &handoffv1.Fact{Fact: &handoffv1.Fact_FoldVersionActivated{FoldVersionActivated: &handoffv1.FoldVersionActivated{Version: version}}})
	return d.facts
}

// declarations are how a handoff's agreement reads attributes, for the roster's conditions.
func declaration(a *agreement.Agreement, name string) attribute.Declaration {
	f := a.Fields[name]
	return attribute.Declaration{Type: attribute.Type(f.Type), Range: f.Range}
}
