// Package fold is the one mechanism of every service that keeps state: a pure fold over an ordered log, committed
// atomically with its position.
package fold

// Position says how far a log has been folded. The zero Position is the log's start, before its stream is known.
type Position struct {
	// Created is when the stream was created, in Unix nanoseconds.
	Created int64
	// Sequence is that of the last folded message; 0 = none.
	Sequence uint64
	// Time is when that message was stored, in Unix nanoseconds.
	Time int64
}

// Message is one message of the log.
type Message struct {
	Subject string
	Data    []byte
	// Incarnation names the log in the ids of facts and the origins of messages: when the stream was created, or
	// adopted last before this message (Unix nanoseconds).
	Incarnation int64
	Sequence    uint64
	// Time is when it was stored: its arrival. Unix nanoseconds.
	Time int64
	// History says that the log was adopted after this message had come: it counts, and hands nothing off.
	History bool
	// Traceparent is the W3C trace context that its publisher sent with it; "" = none.
	Traceparent string
	// Pending is how many messages were behind it when it was sent. It says nothing about the message, and nothing may be
	// decided on it.
	Pending uint64
}

// State is the decoded state of one key. The fold changes it in place.
//
// A state is kept as a main record and any number of parts, so that a large state whose small part changed writes little.
type State interface {
	// Changes calls put for every record whose bytes changed since the last call: part "" is the main record, a nil
	// value deletes. Equal states give equal bytes. It is called once a commit for each touched state.
	Changes(put func(part string, value []byte))
	// LoadPart is called for each part that Machine.Load asked for, before the state is first used.
	LoadPart(part string, value []byte) error
}

// Machine is a pure fold. It reads no clock, does no I/O, and depends on nothing but the log.
// The state of key "" belongs to the whole log (versions in force, origins) and is always at hand.
// One Machine serves one log and is used by one goroutine at a time, but for Decode.
type Machine interface {
	// Versions names the fold versions that this program folds, oldest first: each is some code, constants and encoding. A
	// log folds as the first until a marker in it puts a newer one in force.
	Versions() []string
	// InForce returns the version in force by the state of key "", as it is now.
	InForce(log State) string
	// Load decodes the main record of key (nil = there is none yet), and names the parts that it needs.
	Load(key string, main []byte) (s State, parts []string, err error)
	// Decode reads m ahead of its turn and names the keys of the states that folding it may touch, whatever version is in
	// force by then.
	Decode(m Message) Input
	// Fold applies one decoded message. A *VersionError says that it puts a version in force that this program does not
	// fold; then nothing was changed.
	Fold(tx *Tx, in Input) error
}

// Input is a decoded message.
type Input interface {
	// Keys are the keys that folding it may touch, besides "".
	Keys() []string
	// Message is what it was decoded from.
	Message() *Message
}

// Guard says how a record leaves exactly once.
type Guard uint8

const (
	// Once: the subject is the record's own; the stream refuses a second message on it (expected last subject
	// sequence 0). On a refusal what is there is compared: equal is done, different stops the shard.
	Once Guard = iota + 1
	// Ordered: the record is a message into another shard; Prefix is this producer's subjects there. It is published with the
	// expected last sequence of that prefix, in order, so that each message is there once.
	Ordered
	// Expand: the record stands for messages that are read from the log when it leaves (a claim's answer).
	// They leave as Ordered.
	Expand
)

// Record is one thing that leaves through the outbox.
type Record struct {
	// Incarnation, Sequence and Ordinal are the place of its cause, its origin: records leave in this order.
	Incarnation int64
	Sequence    uint64
	Ordinal     uint32
	Guard       Guard
	// Stream and Subject it is published to.
	Stream  string
	Subject string
	// Prefix is the wildcard that guards an Ordered record.
	Prefix string
	Data   []byte
	// Traceparent goes out as a header.
	Traceparent string
}

// Tx is the view that Machine.Fold has of the states, during one message.
type Tx struct {
	get  func(key string) State
	emit func(Record)
	ord  uint32
}

// NewTx returns a Tx over get and emit; the engine and pure runs (explain, simulate, test) make them.
func NewTx(get func(key string) State, emit func(Record)) *Tx { return &Tx{get: get, emit: emit} }

// Get returns the state of one of the keys that Input named, and marks it as touched.
func (t *Tx) Get(key string) State { return t.get(key) }

// NextOrdinal returns the ordinal that the next Emit will have within this message.
func (t *Tx) NextOrdinal() uint32 { return t.ord }

// Emit puts a record into the outbox. Its Incarnation and Sequence are set by the engine; its Ordinal counts within the
// message.
func (t *Tx) Emit(r Record) {
	r.Ordinal = t.ord
	t.ord++
	t.emit(r)
}

// Begin starts the next message: ordinals count anew.
func (t *Tx) Begin() { t.ord = 0 }
