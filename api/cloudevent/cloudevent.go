// Package cloudevent reads and checks engagement events: CloudEvents 1.0, in structured JSON or as the protobuf message
// io.cloudevents.v1.CloudEvent, without reflection. The scorer reads with it, and publishers check with it: what Decode
// accepts, Baton accepts.
package cloudevent

import (
	"crypto/sha256"
	"encoding/hex"
	"unsafe"

	engagementv1 "github.com/leadbaton/baton/api/gen/baton/engagement/v1"
	"github.com/leadbaton/baton/api/leadkey"
	"github.com/leadbaton/baton/api/subject"
)

// MaxSize is the greatest size of an event in bytes.
const MaxSize = 64 << 10

// Content types of the two encodings.
const (
	ContentTypeJSON     = "application/cloudevents+json"
	ContentTypeProtobuf = "application/cloudevents+protobuf"
)

// TypeLeadMerged is the type of the event by which an operator makes the lead `data.from` part of the event's own lead.
const TypeLeadMerged = "lead.merged"

// Greatest lengths, in bytes.
const (
	MaxID       = 256 // an event's id
	MaxType     = 128
	MaxEmail    = 254
	MaxSystem   = 64  // the name of a system in lead.ids
	MaxIdentity = 256 // an id of a system, an anonymous id
	// MaxIDs is how many systems' ids one event may give.
	MaxIDs = 32
)

// Event is one engagement event. Its strings are views into the body that it was decoded from (unless they had escapes):
// they are valid for as long as the body is not changed. An Event may be decoded into again; its slices are then reused.
type Event struct {
	ID     string
	Source string
	Type   string
	// Time is when it happened, in Unix nanoseconds; 0 if the event does not say.
	Time int64
	// History is the extension attribute of that name: the event scores, but hands nothing off.
	History bool
	// TraceParent is the distributed-tracing extension attribute, as published.
	TraceParent string

	// The lead's identities. Email is normalised; IDs are sorted by system and hold Strings. Key is the key of the first.
	Email       string
	IDs         []Member
	AnonymousID string
	Key         leadkey.Key

	// Lead and Account are the scalar attributes besides the identities, in document order. Lead includes the
	// normalised "email" if it is given.
	Lead    []Member
	Account []Member
	// Campaign and Properties are the JSON texts of objects; "" if they are not given. CampaignMembers and
	// PropertyMembers are what Members says of them.
	Campaign        string
	Properties      string
	CampaignMembers []Member
	PropertyMembers []Member
	// MergeFrom is `data.from` of a lead.merged event.
	MergeFrom leadkey.Key
}

// Reset makes e the zero Event but keeps the room of its slices.
func (e *Event) Reset() {
	*e = Event{
		IDs: e.IDs[:0], Lead: e.Lead[:0], Account: e.Account[:0],
		CampaignMembers: e.CampaignMembers[:0], PropertyMembers: e.PropertyMembers[:0],
	}
}

// Error says why an event is rejected. It quotes nothing of the event but names of its fields, so it holds no personal data.
type Error struct {
	Reason engagementv1.Rejection_Reason
	// Detail is one sentence that says where the fault is and what to do.
	Detail string
}

// Error returns the detail.
func (e *Error) Error() string { return e.Detail }

func reject(reason engagementv1.Rejection_Reason, detail string) error {
	return &Error{Reason: reason, Detail: detail}
}

// Short names of the reasons that Decode and Check give.
const (
	malformed = engagementv1.Rejection_REASON_MALFORMED
	tooLarge  = engagementv1.Rejection_REASON_TOO_LARGE
	missing   = engagementv1.Rejection_REASON_MISSING_ATTRIBUTE
	source    = engagementv1.Rejection_REASON_WRONG_SOURCE
	noLead    = engagementv1.Rejection_REASON_NO_LEAD
	wrongKey  = engagementv1.Rejection_REASON_WRONG_KEY
)

// Decode reads body into e, whatever e held before. Every error is an *Error; e then has nothing but the ID and
// Type that could be read.
//
// A name that an object gives twice has its last value. Attributes that Decode does not know are passed over. Decode
// accepts the source _operator, whose events only Baton publishes; see CheckPublisher.
func Decode(body []byte, e *Event) error {
	e.Reset()
	if len(body) > MaxSize {
		return reject(tooLarge, "the event is larger than 64 KiB: leave out what Baton does not need")
	}
	var v envelope
	err := v.read(body, e)
	if err == nil {
		err = v.fill(e)
	}
	if err != nil {
		e.Reset()
		v.identify(e)
	}
	return err
}

// Check says whether the event may arrive on the subject. Its error is an *Error.
func (e *Event) Check(s subject.Engagement) error {
	if e.Source != s.Source {
		return reject(source, "the event's source is not the source token of the subject that it was published on")
	}
	if !s.Holds(e.Key) {
		return reject(wrongKey, "the subject's shard and bucket are not those of the event's lead: compute the lead key anew")
	}
	return nil
}

// CheckPublisher says whether a publisher may publish the event: its source is not one of Baton's own. Its error is an *Error.
func (e *Event) CheckPublisher() error {
	if err := subject.ValidSource(e.Source); err != nil {
		return reject(source, err.Error())
	}
	return nil
}

// Subject returns the subject that the event is published on.
func (e *Event) Subject() string { return subject.ForEvent(e.Source, e.Key) }

// MessageID returns the Nats-Msg-Id of an event: 32 hex digits of the SHA-256 of source, newline, id.
func MessageID(source, id string) string {
	var stack [MaxID + 64]byte
	b := append(stack[:0], source...)
	b = append(b, '\n')
	b = append(b, id...)
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// ContentType returns the content type of an event's bytes: that of JSON or of protobuf. It does not judge them.
func ContentType(body []byte) string {
	if looksJSON(body) && (body[0] != '\n' || (&envelope{}).readProtobuf(body, &Event{}) != nil) {
		return ContentTypeJSON
	}
	return ContentTypeProtobuf
}

// view returns b as a string without copying it.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
