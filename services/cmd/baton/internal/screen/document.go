package screen

import (
	"fmt"
	"strconv"

	"google.golang.org/protobuf/types/known/timestamppb"

	agreementv1 "github.com/leadbaton/baton/api/gen/baton/agreement/v1"
	rosterv1 "github.com/leadbaton/baton/api/gen/baton/roster/v1"
	shardv1 "github.com/leadbaton/baton/api/gen/baton/shard/v1"
	"github.com/leadbaton/baton/services/internal/document"
)

// Findings writes what lint has to say of a file, as compilers do.
func (p *Page) Findings(file string, findings []document.Finding) {
	for _, f := range findings {
		severity := p.dress(bad, "error")
		if f.Severity == document.Warning {
			severity = p.dress(note, "warning")
		}
		path := ""
		if f.Path != "" {
			path = Clean(f.Path) + ": "
		}
		p.line("%s:%d:%d: %s: %s%s", file, f.Line, f.Column, severity, path, Clean(f.Message))
	}
}

// Activated says which version of an agreement is in force.
func (p *Page) Activated(r *agreementv1.ActivateResponse) {
	a := r.GetAgreement()
	what := "is in force since"
	if r.GetUnchanged() {
		what = "was in force already, to the byte, since"
	}
	p.line("agreement %s %s %s", p.dress(bold, Clean(a.GetName())+" v"+version(a.GetVersion())), what, since(p, a.GetActivatedAt()))
	p.unsigned(a)
}

func (p *Page) unsigned(a *agreementv1.Agreement) {
	if a.GetUnsigned() {
		p.Warn("it is unsigned: no signature of marketing or sales covers it")
	}
}

// Agreement writes the head of an agreement in force.
func (p *Page) Agreement(a *agreementv1.Agreement) {
	p.line("agreement %s in force since %s", p.dress(bold, Clean(a.GetName())+" v"+version(a.GetVersion())), since(p, a.GetActivatedAt()))
	p.unsigned(a)
}

// Applied says which version of the roster is in force.
func (p *Page) Applied(r *rosterv1.ApplyResponse) {
	what := "is in force since"
	if r.GetUnchanged() {
		what = "was in force already, to the byte, since"
	}
	p.line("roster %s %s %s", p.dress(bold, "v"+version(r.GetRoster().GetVersion())), what, since(p, r.GetRoster().GetAppliedAt()))
}

// Roster writes the head of the roster in force.
func (p *Page) Roster(r *rosterv1.Roster) {
	p.line("roster %s in force since %s", p.dress(bold, "v"+version(r.GetVersion())), since(p, r.GetAppliedAt()))
}

// since writes an instant for a sentence that begins with "since".
func since(p *Page, ts *timestamppb.Timestamp) string {
	if ts == nil {
		return "an unknown time"
	}
	return stamp(ts) + " (" + p.Ago(ts) + ")"
}

func version(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

// TestResult is what became of one of a document's own tests.
type TestResult struct {
	Name   string `json:"name"`
	Line   int    `json:"line"`
	Passed bool   `json:"passed"`
	// Failures are what was not as the test wants, one sentence each.
	Failures []string `json:"failures,omitempty"`
}

// Tests writes what became of a document's own tests.
func (p *Page) Tests(file string, results []TestResult) {
	failed := 0
	for _, r := range results {
		if r.Passed {
			p.line("%s  %s", p.dress(good, "ok"), Clean(r.Name))
			continue
		}
		failed++
		p.line("%s  %s (%s:%d)", p.dress(bad, "FAILED"), Clean(r.Name), file, r.Line)
		for _, f := range r.Failures {
			p.line("    %s", Clean(f))
		}
	}
	switch n := uint64(len(results)); {
	case n == 0:
		p.Warn("%s has no tests: add what both teams expect of it under `tests`", file)
	case failed == 0:
		p.line("%s passed", Count(n, "test", "tests"))
	default:
		p.line("%d of %s failed", failed, Count(n, "test", "tests"))
	}
}

// Verified writes the result of a verification.
func (p *Page) Verified(r *shardv1.VerifyResponse) {
	for _, d := range r.GetDifferences() {
		p.line("%s %s", p.dress(bad, "differs:"), Clean(d))
	}
	text := fmt.Sprintf("folded %s again; compared %s and %s", Count(r.GetMessages(), "message", "messages"),
		Count(r.GetStates(), "state", "states"), Count(r.GetFacts(), "fact", "facts"))
	if n := len(r.GetDifferences()); n > 0 {
		p.line("%s: %s", text, Count(uint64(n), "difference", "differences"))
		return
	}
	if r.GetStates() == 0 && r.GetFacts() == 0 {
		// Equal would be true, and would be read as a proof.
		p.line("%s: there was nothing to compare with", text)
		return
	}
	p.line("%s: %s", text, p.dress(good, "all equal"))
}

// Shard writes how far one shard is.
func (p *Page) Shard(s *shardv1.Shard) {
	text := fmt.Sprintf("shard %s: folded up to %s, %s waiting", Clean(s.GetId()), Grouped(s.GetSequence()), Count(s.GetLag(), "message", "messages"))
	if s.GetOwner() != "" {
		text += ", owned by " + Clean(s.GetOwner())
	}
	p.line("%s", text)
	if s.GetStopped() != "" {
		p.Warn("it stands still: %s", Clean(s.GetStopped()))
	}
}
