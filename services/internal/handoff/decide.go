package handoff

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
)

// decision gathers the facts of one decision. They are stored all or none.
type decision struct {
	s           *State
	now         time.Time
	traceparent string
	consumed    *handoffv1.Consumed
	facts       []*handoffv1.Fact
}

// decide begins a decision. now never goes backwards.
func (s *State) decide(now time.Time, traceparent string) *decision {
	if now.UnixNano() < s.decided {
		now = timeOf(s.decided)
	}
	return &decision{s: s, now: now.UTC(), traceparent: traceparent}
}

func (d *decision) request(id string, hash []byte) {
	d.consumed = &handoffv1.Consumed{RequestId: id, RequestHash: hash}
}

// add appends a fact; every fact of a decision says what the decision has consumed.
func (d *decision) add(handoffID string, f *handoffv1.Fact) {
	f.DecidedAt = timestamppb.New(d.now)
	f.HandoffId = handoffID
	f.Consumed = d.consumed
	f.Traceparent = d.traceparent
	d.facts = append(d.facts, f)
}

// window adds WindowMissed if the deadline has passed at an instant without a receipt.
func (d *decision) window(r *record, at time.Time) {
	if !d.s.awaiting[r] || at.UnixNano() < r.deadline {
		return
	}
	d.add(r.id, &handoffv1.Fact{Fact: &handoffv1.Fact_WindowMissed{WindowMissed: &handoffv1.WindowMissed{
		Deadline: timestamppb.New(timeOf(r.deadline)),
	}}})
}

func (d *decision) close(r *record, outcome handoffv1.Outcome, reason string) {
	d.add(r.id, &handoffv1.Fact{Fact: &handoffv1.Fact_HandoffClosed{HandoffClosed: &handoffv1.HandoffClosed{
		Outcome: outcome, Reason: reason,
	}}})
}

// MaxRequestID is how long a request id may be, in bytes.
const MaxRequestID = 128

// repeated says whether the request was decided before.
func (s *State) repeated(id string, hash []byte) (bool, error) {
	switch r := s.requests.byID[id]; {
	case id == "":
		return false, &Error{Code: CodeInvalid, Message: "the request has no id; give it one, and repeat it with the same"}
	case len(id) > MaxRequestID:
		return false, &Error{Code: CodeInvalid, Message: fmt.Sprintf("the request's id has %d bytes; at most %d are taken", len(id), MaxRequestID)}
	case r == nil:
		return false, nil
	case r.hash != string(hash):
		return false, &Error{Code: CodeRequestConflict, Message: "another request had this id; a new request needs a new id"}
	}
	return true, nil
}

// hashOf hashes a request: its kind and its parts, each with its length.
func hashOf(kind string, parts ...[]byte) []byte {
	h := sha256.New()
	var n [8]byte
	write := func(b []byte) {
		binary.BigEndian.PutUint64(n[:], uint64(len(b)))
		h.Write(n[:])
		h.Write(b)
	}
	write([]byte(kind))
	for _, p := range parts {
		write(p)
	}
	return h.Sum(nil)
}

var idEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// handoffID returns the id of the handoff of a qualification: 60 bits of its fact's hash, short enough to be read out.
// false if the handoff is there already.
func (s *State) handoffID(f *leadv1.Fact, lead string) (string, bool) {
	for i := 0; ; i++ {
		text := f.GetId()
		if i > 0 {
			text = fmt.Sprintf("%s#%d", text, i)
		}
		sum := sha256.Sum256([]byte(text))
		id := "h-" + idEncoding.EncodeToString(sum[:])[:12]
		r := s.handoffs[id]
		switch {
		case r == nil:
			return id, true
		case r.lead == lead && r.agreement == f.GetAgreement() && r.episode == f.GetLeadQualified().GetEpisode():
			return id, false
		}
	}
}

// seedOf breaks the ties of an assignment.
func seedOf(handoffID string, assignment uint32) uint64 {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%d", handoffID, assignment))
	return binary.BigEndian.Uint64(sum[:])
}

func decodeQualified(b []byte) *leadv1.LeadQualified {
	q := &leadv1.LeadQualified{}
	if err := proto.Unmarshal(b, q); err != nil {
		return nil // Evolve has encoded it
	}
	return q
}

// cut shortens a text to at most n bytes, at a whole character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}
