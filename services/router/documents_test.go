package router

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agreementv1 "github.com/leadbaton/baton/api/gen/baton/agreement/v1"
	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	rosterv1 "github.com/leadbaton/baton/api/gen/baton/roster/v1"
	"github.com/leadbaton/baton/api/subject"
)

func TestAnAgreementIsPutInForceAndRelayed(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		m := w.router("a")
		w.eventually(5*time.Second, "a leads", m.Leading)
		if _, err := m.agreements.Get(t.Context(), &agreementv1.GetRequest{}); status.Code(err) != codes.NotFound {
			t.Errorf("before the first agreement: %v", err)
		}
		doc := testdata(t, "agreement.yaml")
		activate := func(request string, doc []byte) *agreementv1.ActivateResponse {
			t.Helper()
			out, err := m.agreements.Activate(t.Context(), &agreementv1.ActivateRequest{RequestId: request, Document: doc})
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
		if out := activate("1", doc); out.GetAgreement().GetVersion() != 1 || out.GetUnchanged() || !out.GetAgreement().GetUnsigned() {
			t.Errorf("first: %v", out)
		}
		for _, shard := range subject.Shards { // whatever is published now is judged by it
			if in := w.inbound(shard); len(in) != 1 || in[0].GetAgreementInForce().GetVersion() != 1 {
				t.Errorf("shard %s has %d markers when the activation is answered", shard, len(in))
			}
		}
		if out := activate("1", doc); out.GetAgreement().GetVersion() != 1 || out.GetUnchanged() {
			t.Errorf("the same request again: %v", out)
		}
		if out := activate("2", doc); out.GetAgreement().GetVersion() != 1 || !out.GetUnchanged() {
			t.Errorf("the same document again: %v", out)
		}
		next := append(bytes.Clone(doc), "\n# the next version\n"...)
		if out := activate("3", next); out.GetAgreement().GetVersion() != 2 || out.GetUnchanged() {
			t.Errorf("the next version: %v", out)
		}
		if _, err := m.agreements.Activate(t.Context(), &agreementv1.ActivateRequest{RequestId: "3", Document: doc}); status.Code(err) != codes.AlreadyExists {
			t.Errorf("another document under the same id: %v", err)
		}
		got, err := m.agreements.Get(t.Context(), &agreementv1.GetRequest{})
		if err != nil || got.GetAgreement().GetVersion() != 2 || !bytes.Equal(got.GetAgreement().GetDocument(), next) {
			t.Errorf("get: %v, %v", got, err)
		}
		if all, err := m.agreements.List(t.Context(), &agreementv1.ListRequest{}); err != nil || len(all.GetAgreements()) != 1 {
			t.Errorf("list: %v, %v", all, err)
		}
		w.eventually(2*time.Second, "every shard has both versions", func() bool {
			for _, shard := range []string{"0", "8", "f"} {
				in := w.inbound(shard)
				if len(in) != 2 || in[0].GetAgreementInForce().GetVersion() != 1 || !bytes.Equal(in[1].GetAgreementInForce().GetDocument(), next) {
					return false
				}
			}
			return true
		})
	})
}

func TestABadDocumentChangesNothing(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		m := w.leading("a")
		before := len(w.ledgerFacts())
		agreement, roster := string(testdata(t, "agreement.yaml")), string(testdata(t, "roster.yaml"))
		activate := func(request, doc string) error {
			_, err := m.agreements.Activate(t.Context(), &agreementv1.ActivateRequest{RequestId: request, Document: []byte(doc)})
			return err
		}
		apply := func(request, doc string) error {
			_, err := m.rosters.Apply(t.Context(), &rosterv1.ApplyRequest{RequestId: request, Document: []byte(doc)})
			return err
		}
		want := func(what string, err error, code codes.Code, texts ...string) {
			t.Helper()
			if status.Code(err) != code {
				t.Errorf("%s: %v, want %v", what, err, code)
			}
			for _, text := range texts {
				if !strings.Contains(status.Convert(err).Message(), text) {
					t.Errorf("%s: %v does not say %q", what, err, text)
				}
			}
		}
		want("no request id", activate("", agreement), codes.InvalidArgument, "request_id")
		want("no request id", apply("", roster), codes.InvalidArgument, "request_id")
		bad := strings.Replace(strings.Replace(agreement, "points: 100", "points: many", 1), "deliver: 1h", "deliver: soon", 1)
		err := activate("1", bad)
		want("two errors", err, codes.InvalidArgument, "error: engagement.rules[demo-requested].points: ", "error: sla.sales.deliver: ")
		if lines := strings.Split(status.Convert(err).Message(), "\n"); len(lines) < 2 {
			t.Errorf("findings: %q", lines)
		}
		want("its own test fails", activate("2", strings.Replace(agreement, "want: {qualified: true, path: hand-raise}", "want: {qualified: false}", 1)),
			codes.FailedPrecondition, "a demo request is passed at once")
		want("unknown channel", apply("3", strings.Replace(roster, "use: desk", "use: fax", 1)), codes.InvalidArgument, "error: ", "fax")
		want("not YAML", apply("4", "{"), codes.InvalidArgument)
		if after := len(w.ledgerFacts()); after != before {
			t.Errorf("%d facts before, %d after", before, after)
		}
	})
}

func TestARosterThatDropsWhoHoldsIsRefused(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		m := w.leading("a")
		w.qualify(dana, nil)
		h := w.delivered(m, dana, 2*time.Second)
		if h.GetRep() != "ann" {
			t.Fatalf("it is held by %s", h.GetRep())
		}
		roster := string(testdata(t, "roster.yaml"))
		without := strings.Replace(roster, "reps: [ann, bob]", "reps: [bob]", 1)
		from, to := strings.Index(without, "  - id: ann"), strings.Index(without, "  - id: bob")
		without = without[:from] + without[to:]
		in := &rosterv1.ApplyRequest{RequestId: "1", Document: []byte(without)}
		if _, err := m.rosters.Apply(t.Context(), in); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "ann") {
			t.Errorf("dropping ann: %v", err)
		}
		got, err := m.rosters.Get(t.Context(), &rosterv1.GetRequest{})
		if err != nil || got.GetRoster().GetVersion() != 1 || len(got.GetReps()) != 2 || got.GetReps()[0].GetOpen() != 1 || !got.GetReps()[1].GetAvailable() {
			t.Errorf("get: %v, %v", got, err)
		}
		say(t, m, "a", h.GetId(), &handoffv1.HandoffAnswered{Verb: handoffv1.Verb_VERB_REJECT, Reason: "not-our-market", Note: "retail"})
		out, err := m.rosters.Apply(t.Context(), in)
		if err != nil || out.GetRoster().GetVersion() != 2 {
			t.Errorf("dropping ann who holds nothing: %v, %v", out, err)
		}
	})
}

func TestAnAbsentSecretIsAWarning(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		m := w.leading("a")
		doc := strings.Replace(string(testdata(t, "roster.yaml")), "mail: {email: {}}", "mail: {slack: {tokenFile: /nowhere/slack}}", 1)
		out, err := m.rosters.Apply(t.Context(), &rosterv1.ApplyRequest{RequestId: "1", Document: []byte(doc)})
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, f := range out.GetFindings() {
			found = found || f.GetPath() == "channels.mail.slack.tokenFile" && f.GetSeverity() == agreementv1.Finding_SEVERITY_WARNING && f.GetLine() == 6
		}
		if !found {
			t.Errorf("findings: %v", out.GetFindings())
		}
	})
}

func TestANewRosterChangesTheChannelsOfARunningDelivery(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		m := w.leading("a")
		w.desk.set(refuse(codes.Unavailable, "not now"))
		w.qualify(dana, nil)
		<-time.After(5 * time.Minute)
		doc := strings.ReplaceAll(string(testdata(t, "roster.yaml")), "desk", "phone")
		if _, err := m.rosters.Apply(t.Context(), &rosterv1.ApplyRequest{RequestId: "1", Document: []byte(doc)}); err != nil {
			t.Fatal(err)
		}
		w.desk.set(nil)
		if h := w.delivered(m, dana, 20*time.Second); h.GetChannel() != "phone" {
			t.Errorf("delivered on %s", h.GetChannel())
		}
	})
}

func TestInitialDocumentsArePutInForceOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		for _, name := range []string{"a", "b"} {
			w.leading(name).stop()
		}
		if k := w.kinds(); k["agreement_activated"] != 1 || k["roster_applied"] != 1 {
			t.Errorf("facts: %v", k)
		}
	})
	for _, o := range []Options{{InitialAgreement: []byte("kind: Agreement")}, {InitialRoster: []byte("kind: Roster")}} {
		if _, err := initialDocuments(o.InitialAgreement, o.InitialRoster); err == nil || !strings.Contains(err.Error(), "apiVersion") {
			t.Errorf("a wrong document: %v", err)
		}
	}
}

// TestAFoldVersionIsRelayedOnce: the newest version that a leader knows reaches every shard once, and one that knows less
// takes nothing back.
func TestAFoldVersionIsRelayedOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		knows := func(version uint32) func(*Options, *Router) {
			return func(o *Options, _ *Router) { o.FoldVersion = version }
		}
		told := func(want int) func() bool {
			return func() bool {
				for _, shard := range subject.Shards {
					n := 0
					for _, in := range w.inbound(shard) {
						if in.GetFoldVersionInForce() != nil {
							n++
						}
					}
					if n != want {
						return false
					}
				}
				return true
			}
		}
		for i, version := range []uint32{1, 2, 2, 1} {
			m := w.router(string(rune('a'+i)), knows(version))
			w.eventually(10*time.Second, "it leads", m.Leading)
			w.eventually(5*time.Second, "every shard is told what is new", told(min(i, 1)))
			m.cancel()
			<-m.done
		}
		for _, in := range w.inbound("7") {
			if v := in.GetFoldVersionInForce(); v != nil && v.GetVersion() != 2 {
				t.Errorf("version %d was put in force", v.GetVersion())
			}
		}
	})
}
