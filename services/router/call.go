package router

import (
	"cmp"
	"context"
	"hash/fnv"
	"math/rand/v2"
	"regexp"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	channelv1 "github.com/leadbaton/baton/api/gen/baton/channel/v1"
	"github.com/leadbaton/baton/services/internal/handoff"
	"github.com/leadbaton/baton/services/internal/telemetry"
)

// Times and bounds of delivery.
const (
	calls           = 64               // at once, of all channels together
	callsPerChannel = 16               // at once, of one channel: one that hangs leaves room for the others
	callTime        = 10 * time.Second // for one call
	leastCall       = time.Second      // no call begins with less time than this left of its channel's turn
	turnTime        = time.Minute      // without a receipt, then it is the next channel's turn
	firstPause      = 500 * time.Millisecond
	longestPause    = 15 * time.Second
)

// longer doubles a pause within its bounds.
func longer(pause time.Duration) time.Duration {
	return min(max(2*pause, firstPause), longestPause)
}

// jitterOf spreads pauses by up to a fifth, so that what failed together is not tried again together. It is seeded by the
// assignment, so that a run can be repeated.
func jitterOf(a handoff.Assignment) func(time.Duration) time.Duration {
	h := fnv.New64a()
	_, _ = h.Write([]byte(a.HandoffID))
	rng := rand.New(rand.NewPCG(h.Sum64(), uint64(a.Assignment)))
	return func(d time.Duration) time.Duration {
		spread := int64(d / 5)
		return min(max(d+time.Duration(rng.Int64N(2*spread+1)-spread), firstPause), longestPause)
	}
}

// attempt is what came of one call.
type attempt struct {
	receipt   *channelv1.DeliverResponse // nil = none
	permanent bool
	unknown   bool
	code      codes.Code
	detail    string
}

// call calls the notifier once.
func (v *delivery) call(ctx context.Context, c *channel, within time.Duration) (out attempt) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	ctx, end := v.d.metrics.delivering(ctx, v, c)
	defer func() { end(&out) }()
	if tp := cmp.Or(telemetry.Format(trace.SpanContextFromContext(ctx)), v.a.Traceparent); headerValue(tp) {
		ctx = metadata.AppendToOutgoingContext(ctx, "traceparent", tp)
	}
	var header, trailer metadata.MD
	var reached peer.Peer
	receipt, err := v.d.notifier.Deliver(ctx, &channelv1.DeliverRequest{
		IdempotencyKey: v.a.IdempotencyKey(c.Name), Handoff: v.handoff, Deadline: timestamppb.New(v.a.Deadline),
		Channel: c.Name, Kind: c.Kind, To: c.To, Attempt: c.attempts,
	}, grpc.Header(&header), grpc.Trailer(&trailer), grpc.Peer(&reached))
	if err == nil {
		return attempt{receipt: cmp.Or(receipt, &channelv1.DeliverResponse{})}
	}
	// A connection that broke after it was reached, with no word from the other side: the rep may have been told.
	broke := reached.Addr != nil && len(header) == 0 && len(trailer) == 0
	code := status.Code(err)
	return attempt{permanent: permanent(code), unknown: unknown(code) || broke && !permanent(code), code: code, detail: v.detail(c, err)}
}

// headerValue says whether a text may go as a header. gRPC refuses the whole call otherwise, and a trace context is
// whatever a publisher sent: it must not keep a rep from being told.
func headerValue(s string) bool {
	return s != "" && len(s) <= maxTraceparent && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// permanent are the codes after which a channel is of no use for an assignment, as channel.proto has them.
func permanent(c codes.Code) bool {
	switch c { //nolint:exhaustive // every other code means: try again
	case codes.Unimplemented, codes.InvalidArgument, codes.FailedPrecondition, codes.PermissionDenied, codes.NotFound:
		return true
	}
	return false
}

// unknown are the codes after which the rep may have been told.
func unknown(c codes.Code) bool {
	switch c { //nolint:exhaustive // every other code says that it was not
	case codes.DeadlineExceeded, codes.Canceled, codes.Unknown, codes.Internal, codes.DataLoss:
		return true
	}
	return false
}

// What looks like a person's address or number in a channel's words.
var (
	addressLike = regexp.MustCompile(`\S*@\S*`)
	numberLike  = regexp.MustCompile(`\+?\d[\d ()/.-]{4,}\d`)
)

// maxDetail is how much of a channel's words is looked at, in bytes.
const maxDetail = 1000

// detail is what a channel said, without what is personal: whatever is known of the lead, and the rep's address.
func (v *delivery) detail(c *channel, err error) string {
	s := status.Convert(err)
	text := s.Message()
	if len(text) > maxDetail {
		text = strings.ToValidUTF8(text[:maxDetail], "")
	}
	text = addressLike.ReplaceAllString(text, "…")
	profile := v.handoff.GetQualified().GetProfile()
	hidden := []string{c.To, v.handoff.GetLeadKey()}
	for _, m := range []map[string]string{profile.GetLead(), profile.GetIds()} {
		for _, value := range m {
			hidden = append(hidden, value)
		}
	}
	for _, value := range hidden {
		if len(value) > 2 {
			text = hide(text, value)
		}
	}
	text = numberLike.ReplaceAllString(text, "…")
	if text == "" {
		return s.Code().String()
	}
	return s.Code().String() + ": " + text
}

// hide replaces every occurrence of a value, in whatever case.
func hide(text, value string) string {
	return regexp.MustCompile("(?i)"+regexp.QuoteMeta(value)).ReplaceAllString(text, "…")
}
