// Package natsbatch publishes to JetStream in atomic batches (NATS server 2.12 or newer): all messages of a batch are
// stored, one after the other, or none is.
//
// A JetStream that syncs always stores about a thousand single messages a second, and the same thousand in one batch in the
// time of a few. Publish sends one batch; a Publisher makes batches of what concurrent callers publish.
package natsbatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
)

// MaxBatch is the most messages that an atomic batch may have.
const MaxBatch = 1000

// Headers of the atomic batch publish.
const (
	headerID       = "Nats-Batch-Id"
	headerSequence = "Nats-Batch-Sequence"
	headerCommit   = "Nats-Batch-Commit"
)

// Ack says where messages were stored.
type Ack struct {
	// Stream that holds them.
	Stream string
	// Sequence of the message; of the last one of a batch. The others' are the ones right before it.
	Sequence uint64
	// Duplicate says that a message with the same Nats-Msg-Id had been stored before, and this one was not.
	Duplicate bool
	// Retried says that an earlier attempt of this same publish had an unknown outcome. With Duplicate, what had been
	// stored before is most likely this very message. Only a Publisher sets it.
	Retried bool
}

// Error is what JetStream says when it refuses: nothing was stored.
type Error struct {
	// Code is JetStream's own error code, such as 10071.
	Code int
	// Status is the class of the error, as in HTTP.
	Status      int
	Description string
}

// Error returns the description with its code.
func (e *Error) Error() string {
	return fmt.Sprintf("JetStream refused the message: %s (%d)", e.Description, e.Code)
}

// Codes of JetStream's errors that are told apart.
const (
	codeUnavailable       = 10008 // JetStream system temporarily unavailable
	codeNotLeader         = 10009
	codeNoResources       = 10023
	codeWrongLastSequence = 10071 // names the last sequence
	codeStoreFailed       = 10077
	codeOffline           = 10118
	codeDuplicateInFlight = 10158 // the same Nats-Msg-Id is being stored
	codeSequenceInFlight  = 10164 // wrong last sequence, of a message that is being stored
	codeTooManyRequests   = 10167
	codeBatchDisabled     = 10174
	codeBatchIncomplete   = 10176
	codeOfflineReason     = 10194
	codeBatchDuplicate    = 10201
	codeTooManyBatches    = 10210
)

// Temporary says that the same publish may succeed later, without anything else being changed.
func (e *Error) Temporary() bool {
	switch e.Code {
	case codeUnavailable, codeNotLeader, codeNoResources, codeStoreFailed, codeOffline, codeDuplicateInFlight,
		codeSequenceInFlight, codeTooManyRequests, codeBatchIncomplete, codeOfflineReason, codeTooManyBatches:
		return true
	}
	return false
}

// IsWrongLastSequence says that the stream, or the subject, is not where the message's Nats-Expected-Last-Sequence or
// Nats-Expected-Last-Subject-Sequence expected it. Read what is there.
func IsWrongLastSequence(err error) bool { return hasCode(err, codeWrongLastSequence) }

// IsInFlight says that another message, whose outcome is not known yet, stands in the way: an earlier one of the same batch,
// which will stand in the way again, or somebody else's. Try again.
func IsInFlight(err error) bool {
	return hasCode(err, codeSequenceInFlight) || hasCode(err, codeDuplicateInFlight)
}

// IsDuplicate says that a batch was refused since the stream has one of its Nats-Msg-Ids already. Publish its messages
// one by one to learn which.
func IsDuplicate(err error) bool { return hasCode(err, codeBatchDuplicate) }

func hasCode(err error, code int) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}

// ErrTooMany is the error for a batch of none or of more than MaxBatch messages; nothing was sent.
var ErrTooMany = fmt.Errorf("a batch must have 1 to %d messages", MaxBatch)

// defaultWait bounds a publish whose context has no deadline.
const defaultWait = 10 * time.Second

// Publish stores msgs, which are all of one stream, as one atomic batch. The stream must allow atomic publish. Every message
// may have its own Nats-Msg-Id and expected sequences. The messages are not changed.
//
// If the error is an *Error, or ErrTooMany, or wraps nats.ErrNoResponders, then nothing was stored. Any other error
// (context's end, lost connection) means that the outcome is unknown: all of the messages are stored, or none.
func Publish(ctx context.Context, nc *nats.Conn, msgs []*nats.Msg) (Ack, error) {
	if len(msgs) == 0 || len(msgs) > MaxBatch {
		return Ack{}, ErrTooMany
	}
	if _, has := ctx.Deadline(); !has {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, defaultWait)
		defer cancel()
	}
	if len(msgs) == 1 {
		reply, err := nc.RequestMsgWithContext(ctx, &nats.Msg{Subject: msgs[0].Subject, Header: msgs[0].Header, Data: msgs[0].Data})
		if err != nil {
			return Ack{}, fmt.Errorf("publish: %w", err)
		}
		return readAck(reply)
	}
	id := nuid.Next()
	last := len(msgs) - 1
	for i, m := range msgs {
		out := member(m, id, i+1)
		if i == last {
			out.Header[headerCommit] = []string{"1"}
		}
		if i > 0 && i < last {
			if err := nc.PublishMsg(out); err != nil {
				// Without its commit the batch is never stored.
				return Ack{}, fmt.Errorf("publish message %d of a batch of %d: %w", i+1, len(msgs), err)
			}
			continue
		}
		reply, err := nc.RequestMsgWithContext(ctx, out)
		if err != nil {
			return Ack{}, fmt.Errorf("publish message %d of a batch of %d: %w", i+1, len(msgs), err)
		}
		if i == last {
			return readAck(reply)
		}
		// The first message's reply is empty if the batch is begun.
		if len(reply.Data) > 0 {
			if _, err := readAck(reply); err != nil {
				return Ack{}, err
			}
			return Ack{}, errors.New("publish a batch: this NATS server does not know atomic batches; it must be 2.12 or newer")
		}
	}
	return Ack{}, nil
}

// member returns a copy of m as a part of a batch.
func member(m *nats.Msg, id string, sequence int) *nats.Msg {
	h := make(nats.Header, len(m.Header)+3)
	maps.Copy(h, m.Header)
	h[headerID] = []string{id}
	h[headerSequence] = []string{strconv.Itoa(sequence)}
	return &nats.Msg{Subject: m.Subject, Header: h, Data: m.Data}
}

// readAck reads JetStream's reply to a publish.
func readAck(reply *nats.Msg) (Ack, error) {
	if len(reply.Data) == 0 && reply.Header.Get("Status") == "503" {
		return Ack{}, fmt.Errorf("publish: %w", nats.ErrNoResponders)
	}
	var r struct {
		Stream    string `json:"stream"`
		Seq       uint64 `json:"seq"`
		Duplicate bool   `json:"duplicate"`
		Error     *struct {
			Code        int    `json:"code"`
			ErrCode     int    `json:"err_code"`
			Description string `json:"description"`
		} `json:"error"`
	}
	if err := json.Unmarshal(reply.Data, &r); err != nil {
		return Ack{}, fmt.Errorf("publish: JetStream's acknowledgement is not JSON: %w", err)
	}
	if r.Error != nil {
		return Ack{}, &Error{Code: r.Error.ErrCode, Status: r.Error.Code, Description: r.Error.Description}
	}
	if r.Stream == "" || r.Seq == 0 {
		return Ack{}, errors.New("publish: the acknowledgement is not JetStream's: something else answers on this subject")
	}
	return Ack{Stream: r.Stream, Sequence: r.Seq, Duplicate: r.Duplicate}, nil
}
