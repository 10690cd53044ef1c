package notifier

import (
	"encoding/base64"
	"encoding/binary"
	"errors"

	"github.com/leadbaton/baton/services/internal/fold"
)

// A token is a position in HANDOFFS: all changes up to it have been sent. Besides incarnation and sequence it has the time
// of the message there: a stream that was restored from an older copy and has grown again has the same incarnation and
// the same sequence, but another message at it.

const tokenVersion = 1

// encodeToken returns the token of a position.
func encodeToken(p fold.Position) string {
	b := []byte{tokenVersion}
	b = binary.AppendVarint(b, p.Created)
	b = binary.AppendUvarint(b, p.Sequence)
	b = binary.AppendVarint(b, p.Time)
	return base64.RawURLEncoding.EncodeToString(b)
}

var errToken = errors.New("not a token")

// decodeToken reads what encodeToken wrote.
func decodeToken(s string) (p fold.Position, err error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) == 0 || b[0] != tokenVersion {
		return p, errToken
	}
	b = b[1:]
	var n [3]int
	if p.Created, n[0] = binary.Varint(b); n[0] <= 0 {
		return p, errToken
	}
	b = b[n[0]:]
	if p.Sequence, n[1] = binary.Uvarint(b); n[1] <= 0 {
		return p, errToken
	}
	b = b[n[1]:]
	if p.Time, n[2] = binary.Varint(b); n[2] <= 0 || len(b) != n[2] {
		return p, errToken
	}
	return p, nil
}
