// Package subject builds and reads the names of Baton's streams and the subjects in them.
//
//	baton.engagement.<source>.<shard>.<bucket>   streams ENGAGEMENT_0 to ENGAGEMENT_F, one for each shard
//	baton.intake.<source>                        stream INTAKE: events of publishers that cannot compute a lead key
//	baton.leads.<shard>.<bucket>.<place>         stream LEADS
//	baton.handoffs.<handoff id or _>             stream HANDOFFS
//	baton.rejected.<shard>.<id>                  stream REJECTED
//
// A shard is one lower-case hex digit: the first of the lead key. A bucket is the three digits after it.
package subject

import (
	"fmt"
	"strings"

	"github.com/leadbaton/baton/api/leadkey"
)

// Names of the streams that are not a shard's; EngagementStream names those.
const (
	LeadsStream    = "LEADS"
	HandoffsStream = "HANDOFFS"
	RejectedStream = "REJECTED"
	IntakeStream   = "INTAKE"
)

// Wildcards that the streams are bound to; EngagementFilter gives those of the shards.
const (
	AllEngagement = "baton.engagement.>"
	AllLeads      = "baton.leads.>"
	AllHandoffs   = "baton.handoffs.>"
	AllRejected   = "baton.rejected.>"
	AllIntake     = "baton.intake.>"
)

const (
	engagement = "baton.engagement."
	leads      = "baton.leads."
	handoffs   = "baton.handoffs."
	rejected   = "baton.rejected."
	intake     = "baton.intake."
)

// Shards are the names of the 16 shards, in order.
var Shards = [16]string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "a", "b", "c", "d", "e", "f"}

var streams = [16]string{
	"ENGAGEMENT_0", "ENGAGEMENT_1", "ENGAGEMENT_2", "ENGAGEMENT_3", "ENGAGEMENT_4", "ENGAGEMENT_5", "ENGAGEMENT_6", "ENGAGEMENT_7",
	"ENGAGEMENT_8", "ENGAGEMENT_9", "ENGAGEMENT_A", "ENGAGEMENT_B", "ENGAGEMENT_C", "ENGAGEMENT_D", "ENGAGEMENT_E", "ENGAGEMENT_F",
}

// ShardNumber returns 0 to 15 for the name of a shard, or -1.
func ShardNumber(shard string) int {
	if len(shard) != 1 {
		return -1
	}
	return hexDigit(shard[0])
}

// EngagementStream returns the name of a shard's stream: ENGAGEMENT_A for "a"; "" if there is no such shard.
func EngagementStream(shard string) string {
	n := ShardNumber(shard)
	if n < 0 {
		return ""
	}
	return streams[n]
}

// ShardOfStream returns the shard whose stream is called name.
func ShardOfStream(name string) (shard string, ok bool) {
	for i, s := range streams {
		if s == name {
			return Shards[i], true
		}
	}
	return "", false
}

// StreamOf returns the name of the stream that holds what is published on a subject of Baton's.
func StreamOf(subject string) (stream string, ok bool) {
	switch {
	case strings.HasPrefix(subject, engagement):
		e, ok := ParseEngagement(subject)
		return EngagementStream(e.Shard), ok
	case strings.HasPrefix(subject, leads):
		return LeadsStream, true
	case strings.HasPrefix(subject, handoffs):
		return HandoffsStream, true
	case strings.HasPrefix(subject, rejected):
		return RejectedStream, true
	case strings.HasPrefix(subject, intake):
		return IntakeStream, true
	}
	return "", false
}

// EngagementFilter returns the wildcard of all that is published into a shard.
func EngagementFilter(shard string) string { return engagement + "*." + shard + ".*" }

// LeadFilter returns the wildcard of the bucket that holds all of a lead's events, and those of a few other leads.
func LeadFilter(key leadkey.Key) string {
	return engagement + "*." + key.Shard() + "." + key.Bucket()
}

// SourceFilter returns the wildcard of all that a source may publish: the permission of its NATS user.
func SourceFilter(source string) string { return engagement + source + ".>" }

// ProducerPrefix returns the wildcard of all that one of Baton's own producers has put into a shard: what its messages'
// expected last sequence counts over. The producer is "shard-0" to "shard-f" or "router".
func ProducerPrefix(producer, shard string) string {
	return engagement + OwnSource(producer) + "." + shard + ".*"
}

// Inbound returns the subject of a message of one of Baton's own producers to a lead.
func Inbound(producer string, key leadkey.Key) string { return ForEvent(OwnSource(producer), key) }

// InboundAll returns the subject of a message of one of Baton's own producers to every lead of a shard.
func InboundAll(producer, shard string) string {
	return engagement + OwnSource(producer) + "." + shard + ".000"
}

// ForEvent returns the subject of an engagement event of source about the lead. It does not judge source; see ValidSource.
func ForEvent(source string, key leadkey.Key) string {
	var b [64]byte
	return string(AppendEvent(b[:0], source, key))
}

// AppendEvent appends what ForEvent returns to dst.
func AppendEvent(dst []byte, source string, key leadkey.Key) []byte {
	dst = append(dst, engagement...)
	dst = append(dst, source...)
	dst = append(dst, '.')
	dst = append(dst, key.Shard()...)
	dst = append(dst, '.')
	return append(dst, key.Bucket()...)
}

// Intake returns the subject for events of a publisher that cannot compute lead keys.
func Intake(source string) string { return intake + source }

// Leads returns the subject of a lead's fact: the lead's shard and bucket, and the place of the fact's cause in that shard
// (incarnation, sequence and ordinal), which is one token. It does not name the lead: subjects show in the server's
// monitoring, in errors and in logs, and a lead key can be guessed from an address.
func Leads(key leadkey.Key, place string) string {
	return leads + key.Shard() + "." + key.Bucket() + "." + place
}

// LeadsOf returns the wildcard of the facts of a lead's bucket: all of its own, and those of a few other leads.
func LeadsOf(key leadkey.Key) string { return leads + key.Shard() + "." + key.Bucket() + ".*" }

// LeadsOfShard returns the wildcard of the facts that a shard wrote.
func LeadsOfShard(shard string) string { return leads + shard + ".>" }

// Handoffs returns the subject of the router's facts about a handoff; an empty id stands for facts about none.
func Handoffs(handoffID string) string {
	if handoffID == "" {
		handoffID = "_"
	}
	return handoffs + handoffID
}

// Rejected returns the subject of the record of a rejected input of a shard.
func Rejected(shard, id string) string { return rejected + shard + "." + id }

// Engagement is what the subject of a message in a shard's stream says.
type Engagement struct {
	Source string // token of its publisher
	Shard  string // one hex digit
	Bucket string // three hex digits
}

// Own says whether the message is one of Baton's own producers' (its source begins with _). Events of _operator are own,
// but are CloudEvents like a publisher's.
func (e Engagement) Own() bool { return len(e.Source) > 0 && e.Source[0] == '_' }

// Producer returns the producer of a message of Baton's own: "shard-3", "router".
func (e Engagement) Producer() string {
	if !e.Own() {
		return ""
	}
	return e.Source[1:]
}

// Holds says whether a message about the lead belongs on this subject.
func (e Engagement) Holds(key leadkey.Key) bool {
	return len(key) == leadkey.Size && e.Shard == key.Shard() && e.Bucket == key.Bucket()
}

// String returns the subject.
func (e Engagement) String() string {
	return engagement + e.Source + "." + e.Shard + "." + e.Bucket
}

// ParseEngagement reads the subject of a message in a shard's stream, without allocation: the parts are views into s.
// It returns false unless s is exactly of the form that ForEvent writes for a valid source, Baton's own included.
func ParseEngagement(s string) (e Engagement, ok bool) {
	// The tail has a fixed length: ".S.BBB".
	const tail = 6
	if len(s) <= len(engagement)+tail || s[:len(engagement)] != engagement {
		return Engagement{}, false
	}
	t := s[len(s)-tail:]
	e = Engagement{Source: s[len(engagement) : len(s)-tail], Shard: t[1:2], Bucket: t[3:]}
	if t[0] != '.' || t[2] != '.' || hexDigit(t[1]) < 0 || hexDigit(t[3]) < 0 || hexDigit(t[4]) < 0 || hexDigit(t[5]) < 0 {
		return Engagement{}, false
	}
	if !validToken(e.Source) && !validOwn(e.Source) {
		return Engagement{}, false
	}
	return e, true
}

// ParseLeads reads the subject of a fact in LEADS, without allocation.
func ParseLeads(s string) (shard, bucket, place string, ok bool) {
	const head, mid = len(leads), len(leads) + len("s.bbb.")
	if len(s) < mid || s[:head] != leads || s[head+1] != '.' || s[mid-1] != '.' || !factToken(s[mid:]) {
		return "", "", "", false
	}
	for _, at := range [...]int{head, head + 2, head + 3, head + 4} {
		if hexDigit(s[at]) < 0 {
			return "", "", "", false
		}
	}
	return s[head : head+1], s[head+2 : head+5], s[mid:], true
}

// ParseIntake reads the source of a subject that Intake made for a publisher.
func ParseIntake(s string) (source string, ok bool) {
	if len(s) <= len(intake) || s[:len(intake)] != intake || !validToken(s[len(intake):]) {
		return "", false
	}
	return s[len(intake):], true
}

func factToken(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c <= ' ' || c == '.' || c == '*' || c == '>' || c == 0x7f {
			return false
		}
	}
	return s != ""
}

func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}

// String forms of Baton's own sources.
const (
	Operator = "_operator" // events that an operator makes, such as lead.merged
	Router   = "_router"   // what the router tells a shard
)

// MaxSource is the greatest length of a publisher's source token.
const MaxSource = 32

// ValidSource returns why a publisher may not call itself source; nil if it may. Tokens that begin with _ are Baton's own.
func ValidSource(source string) error {
	switch {
	case source == "":
		return fmt.Errorf("source is empty: it must be 1 to %d of a-z, 0-9 and -", MaxSource)
	case source[0] == '_':
		return fmt.Errorf("sources that begin with _ are Baton's own: choose another")
	case !validToken(source):
		return fmt.Errorf("source must be 1 to %d of a-z, 0-9 and -", MaxSource)
	}
	return nil
}

// OwnSource returns the source token of one of Baton's own producers: "_shard-3" for "shard-3".
func OwnSource(producer string) string { return "_" + producer }

// ShardProducer returns the name of a shard as a producer: "shard-3".
func ShardProducer(shard string) string { return "shard-" + shard }

func validToken(s string) bool {
	if s == "" || len(s) > MaxSource {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

func validOwn(s string) bool { return s != "" && s[0] == '_' && validToken(s[1:]) }
