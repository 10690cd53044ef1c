package fold

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Errors of a Store. Any other error of Commit means that the outcome is unknown: repeat it with the same nonce.
var (
	// ErrFenced says that the lease token is not the stored one: another owner has the shard, or the store lost it.
	ErrFenced = errors.New("fold: fenced: another owner has taken the shard, or the store was reset")
	// ErrWentBack says that the shard has not had the commits that it should have had.
	ErrWentBack = errors.New("fold: fenced: the store is not as this owner left it: it went back in time")
)

// UnfitError says that a store must not be used as it is set up: no waiting changes that.
type UnfitError struct{ Reason string }

// Error implements error.
func (e *UnfitError) Error() string { return e.Reason }

func unfit(format string, args ...any) error {
	return &UnfitError{Reason: fmt.Sprintf(format, args...)}
}

// Lease is the right to commit to a shard.
type Lease struct {
	Shard string
	Owner string
	// Token is random for each acquisition; every commit carries it.
	Token string
}

// Held is a shard as its owner knows it: what it reads must be of its own lease, and no less than it has committed. What is
// ahead of it, since another owner has taken over, is no more its own than what is behind. The zero Held is whatever is there.
type Held struct {
	Token   string // of the lease
	Commits uint64 // that are known to be applied
}

// check says whether what a store has is held.
func (h Held) check(token string, commits uint64) error {
	switch {
	case h.Token != "" && h.Token != token:
		return ErrFenced
	case commits < h.Commits:
		return ErrWentBack
	}
	return nil
}

// Leases says who owns which shard. Expiry is judged by the store's clock alone.
type Leases interface {
	// Beat says that a member lives for another ttl, and returns all living members in order.
	Beat(ctx context.Context, member string, ttl time.Duration) ([]string, error)
	// Leave is the opposite of Beat.
	Leave(ctx context.Context, member string) error
	// Acquire takes a shard that is free or whose lease has run out; false if somebody has it.
	Acquire(ctx context.Context, shard, member string, ttl time.Duration) (Lease, bool, error)
	// Renew lengthens a lease, and returns how many commits the shard has had; ErrFenced if the lease is not the stored one.
	Renew(ctx context.Context, l Lease, ttl time.Duration) (uint64, error)
	// Release gives a shard back; nothing happens if the lease is not the stored one.
	Release(ctx context.Context, l Lease) error
	// Owners returns the owner of each shard that has one.
	Owners(ctx context.Context, shards []string) (map[string]string, error)
}

// Store keeps the states, the position and the outbox of every shard as one atom.
type Store interface {
	Leases
	// Head returns where a shard stands.
	Head(ctx context.Context, shard string) (Head, error)
	// Load returns the records with these names (see Field); nil where there is none. ErrFenced and ErrWentBack say that what
	// answers is not what is held, as a server that was the master and follows the new one.
	Load(ctx context.Context, shard string, h Held, fields []string) ([][]byte, error)
	// Scan calls fn for every record of a shard's states, in no order, until fn returns false. A record that changes
	// meanwhile may come in either form. Errors as Load.
	Scan(ctx context.Context, shard string, h Held, fn func(field string, value []byte) bool) error
	// Outbox returns what is in the outbox, in order. Errors as Load.
	Outbox(ctx context.Context, shard string, h Held) ([]Record, error)
	// Commit applies all of c or nothing. See Commit.
	Commit(ctx context.Context, c *Commit) error
	// Dump returns a shard whole, as it was at one instant.
	Dump(ctx context.Context, shard string) (Dump, error)
	// Reset replaces a shard's position, whoever owns it, and on wipe forgets states and outbox: `baton shard adopt`.
	Reset(ctx context.Context, shard string, to Position, wipe bool) error
	// Check says whether the store may be used; an *UnfitError tells what to change, any other that it cannot be reached.
	Check(ctx context.Context) error
}

// Head is where a shard stands.
type Head struct {
	// Position is zero if nothing was committed yet.
	Position Position
	// Version is that of the Machine that wrote the states; "" if nothing was committed yet.
	Version string
	// Commits is how many commits the shard has had in this store. Nothing but a store that goes back in time takes one away.
	Commits uint64
	// Outbox is how many records wait to leave.
	Outbox int
}

// Dump is a shard at one instant.
type Dump struct {
	Head
	Fields map[string][]byte
	Outbox []Record
}

// Commit is one atomic change of a shard. It applies only if the stored token is Lease.Token and the shard has had exactly
// Number-1 commits; else nothing changes, and the error is ErrFenced or ErrWentBack. The nonce of the last applied commit is
// kept: repeating it is success and changes nothing.
type Commit struct {
	Lease   Lease
	Version string
	// Number is which of the shard's commits this is; the first is 1. A position would not do: some commits leave it as it is.
	Number uint64
	To     Position
	Nonce  string
	// Fields to set, as name and value in turn; Deleted are names to delete.
	Fields  []FieldValue
	Deleted []string
	// Records to add to the outbox, and ids (Record.ID) of those that have left.
	Records []Record
	Left    []string

	messages int // that were folded, to be measured
}

// FieldValue is one record of a state.
type FieldValue struct {
	Name  string
	Value []byte
}

// Field names a record of a state in the store: the key, and its part.
func Field(key, part string) string {
	if part == "" {
		return key
	}
	return key + "/" + part
}

// String encodes a position; the zero Position is "".
func (p Position) String() string {
	if p == (Position{}) {
		return ""
	}
	return strconv.FormatInt(p.Created, 10) + " " + strconv.FormatUint(p.Sequence, 10) + " " + strconv.FormatInt(p.Time, 10)
}

// ParsePosition is the reverse of String.
func ParsePosition(s string) (Position, error) {
	if s == "" {
		return Position{}, nil
	}
	var p Position
	if n, err := fmt.Sscanf(s, "%d %d %d", &p.Created, &p.Sequence, &p.Time); n != 3 || err != nil {
		return Position{}, fmt.Errorf("fold: %q is not a position", s)
	}
	return p, nil
}

// ID names a record within its shard's outbox; ids sort in the order in which records leave.
func (r *Record) ID() string {
	return fmt.Sprintf("%016x.%016x.%08x", uint64(r.Incarnation), r.Sequence, r.Ordinal)
}

// Origin is the place of a record's cause as the header of its message carries it; origins of one producer ascend.
func (r *Record) Origin() Origin { return Origin{r.Incarnation, r.Sequence, r.Ordinal} }

// Origin is a place in a producer's order.
type Origin struct {
	Incarnation int64
	Sequence    uint64
	Ordinal     uint32
}

// After says whether o is later than p.
func (o Origin) After(p Origin) bool {
	if o.Incarnation != p.Incarnation {
		return o.Incarnation > p.Incarnation
	}
	if o.Sequence != p.Sequence {
		return o.Sequence > p.Sequence
	}
	return o.Ordinal > p.Ordinal
}

// String encodes an origin.
func (o Origin) String() string {
	return strconv.FormatInt(o.Incarnation, 10) + "-" + strconv.FormatUint(o.Sequence, 10) + "-" + strconv.FormatUint(uint64(o.Ordinal), 10)
}

// ParseOrigin is the reverse of String.
func ParseOrigin(s string) (Origin, error) {
	a, rest, ok1 := strings.Cut(s, "-")
	b, c, ok2 := strings.Cut(rest, "-")
	inc, err1 := strconv.ParseInt(a, 10, 64)
	seq, err2 := strconv.ParseUint(b, 10, 64)
	ord, err3 := strconv.ParseUint(c, 10, 32)
	if !ok1 || !ok2 || err1 != nil || err2 != nil || err3 != nil {
		return Origin{}, fmt.Errorf("fold: %q is not an origin", s)
	}
	return Origin{inc, seq, uint32(ord)}, nil
}
