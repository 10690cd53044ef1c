package handoff_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the tests must not depend on the machine's zones

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	"github.com/leadbaton/baton/services/internal/handoff"
)

// incarnations of the streams of tests.
const (
	leadsIncarnation    = 7
	handoffsIncarnation = 9
)

// failer is a *testing.T or a *rapid.T.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// world is a router's state with the streams it stands on.
type world struct {
	t        failer
	s        *handoff.State
	messages [][]*handoffv1.Fact // HANDOFFS; sequence 1 first
	facts    []*handoffv1.Fact   // all of them
	told     []handoff.Message   // everything the shards were told
	leads    uint64              // last sequence of LEADS
	now      time.Time
	again    func() ([]*handoffv1.Fact, error) // the last input once more
}

func newWorld(t failer, now time.Time, agreement, roster string) *world {
	t.Helper()
	w := &world{t: t, s: handoff.New(), now: now}
	if agreement != "" {
		w.must(w.activate("a-1", agreement))
	}
	if roster != "" {
		w.must(w.apply("r-1", roster))
	}
	return w
}

func file(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// keyOf is the lead key of a test's person.
func keyOf(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:16])
}

func (w *world) must(facts []*handoffv1.Fact, err error) []*handoffv1.Fact {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("refused: %v", err)
	}
	return facts
}

// decided stores the facts of a decision as the stream does, and folds them.
func (w *world) decided(decide func() ([]*handoffv1.Fact, error)) ([]*handoffv1.Fact, error) {
	w.t.Helper()
	w.again = decide
	facts, err := decide()
	if err != nil {
		// What is refused has changed nothing, so later it may be taken.
		w.again = func() ([]*handoffv1.Fact, error) { return nil, nil }
		if len(facts) > 0 {
			w.t.Fatalf("facts and an error: %v", err)
		}
		return nil, err
	}
	return facts, w.store(facts)
}

func (w *world) store(facts []*handoffv1.Fact) error {
	w.t.Helper()
	for _, message := range handoff.Pack(facts, 1<<20) {
		w.fold(message)
	}
	return nil
}

// fold sends a message through its bytes, so that nothing of the decision is shared with the state.
func (w *world) fold(message []*handoffv1.Fact) {
	w.t.Helper()
	b, err := handoff.Encode(message)
	if err != nil {
		w.t.Fatalf("encode: %v", err)
	}
	stored, err := handoff.Decode(b)
	if err != nil {
		w.t.Fatalf("decode: %v", err)
	}
	w.messages = append(w.messages, stored)
	w.facts = append(w.facts, stored...)
	told, err := w.s.Evolve(stored, uint64(len(w.messages)), handoffsIncarnation)
	if err != nil {
		w.t.Fatalf("evolve: %v", err)
	}
	w.told = append(w.told, told...)
}

// rebuild folds HANDOFFS from its start.
func (w *world) rebuild() (*handoff.State, []handoff.Message) {
	w.t.Helper()
	return w.folded(w.messages)
}

// folded folds messages into a new state.
func (w *world) folded(messages [][]*handoffv1.Fact) (*handoff.State, []handoff.Message) {
	w.t.Helper()
	s := handoff.New()
	var told []handoff.Message
	for i, message := range messages {
		more, err := s.Evolve(message, uint64(i)+1, handoffsIncarnation)
		if err != nil {
			w.t.Fatalf("rebuild: %v", err)
		}
		told = append(told, more...)
	}
	return s, told
}

// checkRebuild holds the live state against one that is folded from HANDOFFS alone.
func (w *world) checkRebuild() {
	w.t.Helper()
	s, told := w.rebuild()
	if live, built := w.s.Fingerprint(), s.Fingerprint(); live != built {
		w.t.Fatalf("the rebuilt state is\n%s\nbut live it is\n%s", built, live)
	}
	if !handoff.SameTurns(w.s, s) {
		w.t.Fatalf("the rebuilt state picks in another way")
	}
	if len(told) != len(w.told) {
		w.t.Fatalf("the shards are told %d messages after a rebuild, %d before", len(told), len(w.told))
	}
	for i := range told {
		if told[i].Shard != w.told[i].Shard || !proto.Equal(told[i].Inbound, w.told[i].Inbound) {
			w.t.Fatalf("message %d is %v after a rebuild, %v before", i, told[i], w.told[i])
		}
	}
	w.checkAlone(s)
	for i, message := range w.messages {
		if _, err := w.s.Evolve(message, uint64(i)+1, handoffsIncarnation); err != nil {
			w.t.Fatalf("folding a message again: %v", err)
		}
	}
	if again := w.s.Fingerprint(); again != s.Fingerprint() {
		w.t.Fatalf("folding every fact again has changed the state")
	}
}

// places are what says where in HANDOFFS something is.
var places = regexp.MustCompile(`(?i)(sequence:? ?)\d+|(facts:)\[[\d ]*\]`)

// checkAlone holds a state against one that is folded from the same facts with one in each message.
func (w *world) checkAlone(s *handoff.State) {
	w.t.Helper()
	var messages [][]*handoffv1.Fact
	for _, f := range w.facts {
		messages = append(messages, []*handoffv1.Fact{f})
	}
	alone, told := w.folded(messages)
	text := func(s *handoff.State) string { return places.ReplaceAllString(s.Fingerprint(), "$1$2") }
	if got, want := text(s), text(alone); got != want {
		w.t.Fatalf("the state is\n%s\nbut from the same facts in a message each it is\n%s", got, want)
	}
	if !handoff.SameTurns(alone, s) {
		w.t.Fatalf("the state picks in another way than from the same facts in a message each")
	}
	if len(told) != len(w.told) {
		w.t.Fatalf("the shards are told %d messages, %d for the same facts in a message each", len(w.told), len(told))
	}
	for i := range told {
		in := proto.CloneOf(w.told[i].Inbound)
		told[i].Inbound.Origin, in.Origin = nil, nil
		if told[i].Shard != w.told[i].Shard || !proto.Equal(told[i].Inbound, in) {
			w.t.Fatalf("message %d is %v, %v for the same facts in a message each", i, in, told[i])
		}
	}
}

// checkAgain gives the last input once more, which must change nothing.
func (w *world) checkAgain() {
	w.t.Helper()
	facts, err := w.again()
	if len(facts) > 0 {
		w.t.Fatalf("the same input again gives %v", facts)
	}
	if e := (*handoff.Error)(nil); err != nil && !errors.As(err, &e) {
		w.t.Fatalf("the same input again: %v", err)
	}
}

func (w *world) activate(id, doc string) ([]*handoffv1.Fact, error) {
	now := w.now
	return w.decided(func() ([]*handoffv1.Fact, error) {
		return w.s.DecideActivate(handoff.Activate{RequestID: id, Document: []byte(doc)}, now)
	})
}

func (w *world) apply(id, doc string) ([]*handoffv1.Fact, error) {
	now := w.now
	return w.decided(func() ([]*handoffv1.Fact, error) {
		return w.s.DecideApply(handoff.Apply{RequestID: id, Document: []byte(doc)}, now)
	})
}

func (w *world) lead(f *leadv1.Fact) ([]*handoffv1.Fact, error) {
	w.leads++
	in, now := handoff.Lead{Incarnation: leadsIncarnation, Sequence: w.leads, Fact: f}, w.now
	if f.Id == "" {
		f.Id = fmt.Sprintf("%s-1-%d-0", f.GetLeadKey(), w.leads)
	}
	return w.decided(func() ([]*handoffv1.Fact, error) { return w.s.DecideLead(in, now) })
}

// qualified is a lead's fact; words are path=hand-raise, act=09:00 of the day of now, and attributes.
func (w *world) qualified(name string, words ...string) *leadv1.Fact {
	q := &leadv1.LeadQualified{
		Path: "scored", WindowStartsAt: timestamppb.New(w.now), Score: &leadv1.Score{Total: 90, Grade: "B1"},
		Profile: &leadv1.Profile{Lead: map[string]string{"email": name + "@example.com"}, Account: map[string]string{}},
		Act:     &leadv1.Act{Source: "web", Type: "page.viewed"}, Episode: uint32(w.leads + 1),
	}
	for _, word := range words {
		k, v, _ := strings.Cut(word, "=")
		switch {
		case k == "path":
			q.Path = v
			q.Urgent = v == "hand-raise"
		case k == "act":
			at, err := time.Parse("15:04", v)
			if err != nil {
				w.t.Fatalf("%v", err)
			}
			y, m, d := w.now.Date()
			q.WindowStartsAt = timestamppb.New(time.Date(y, m, d, at.Hour(), at.Minute(), 0, 0, time.UTC))
		case strings.HasPrefix(k, "account."):
			q.Profile.Account[strings.TrimPrefix(k, "account.")] = v
		default:
			q.Profile.Lead[k] = v
		}
	}
	return &leadv1.Fact{
		LeadKey: keyOf(name), Agreement: "b2b", AgreementVersion: 1, Fact: &leadv1.Fact_LeadQualified{LeadQualified: q},
	}
}

func (w *world) answer(in handoff.Answer) ([]*handoffv1.Fact, error) {
	now := w.now
	return w.decided(func() ([]*handoffv1.Fact, error) { return w.s.DecideAnswer(in, now) })
}

func (w *world) receipt(in handoff.Receipt) ([]*handoffv1.Fact, error) {
	now := w.now
	return w.decided(func() ([]*handoffv1.Fact, error) { return w.s.DecideReceipt(in, now) })
}

// failure is an input that may come again: every failure that is not for good is another turn.
func (w *world) failure(in handoff.Failure) ([]*handoffv1.Fact, error) {
	facts, err := w.s.DecideFailure(in, w.now)
	if err != nil {
		return nil, err
	}
	w.again = func() ([]*handoffv1.Fact, error) { return nil, nil }
	return facts, w.store(facts)
}

// timers decides everything that is due.
func (w *world) timers() []*handoffv1.Fact {
	w.t.Helper()
	var all []*handoffv1.Fact
	for range 10_000 {
		facts := w.must(w.s.DecideTimer(w.now))
		if len(facts) == 0 {
			if due := w.s.NextDue(); !due.IsZero() && !due.After(w.now) {
				w.t.Fatalf("nothing to decide at %s, but the next due time is %s", w.now, due)
			}
			return all
		}
		_ = w.store(facts)
		all = append(all, facts...)
	}
	w.t.Fatalf("the timers never come to rest")
	return nil
}

// open is the id of a person's open handoff.
func (w *world) open(name string) string { return w.s.OpenHandoff("b2b", keyOf(name)) }
