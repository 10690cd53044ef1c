package fold

import (
	"encoding/binary"
	"errors"
)

// recordFormat is the first byte of an encoded Record.
const recordFormat = 1

// AppendRecord encodes r for a store.
func AppendRecord(dst []byte, r *Record) []byte {
	dst = append(dst, recordFormat, byte(r.Guard))
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.Incarnation))
	dst = binary.BigEndian.AppendUint64(dst, r.Sequence)
	dst = binary.BigEndian.AppendUint32(dst, r.Ordinal)
	for _, s := range []string{r.Stream, r.Subject, r.Prefix, r.Traceparent} {
		dst = binary.AppendUvarint(dst, uint64(len(s)))
		dst = append(dst, s...)
	}
	return append(dst, r.Data...)
}

// ParseRecord is the reverse of AppendRecord.
func ParseRecord(b []byte) (Record, error) {
	bad := errors.New("fold: an outbox record is damaged")
	if len(b) < 22 || b[0] != recordFormat {
		return Record{}, bad
	}
	r := Record{
		Guard:       Guard(b[1]),
		Incarnation: int64(binary.BigEndian.Uint64(b[2:])),
		Sequence:    binary.BigEndian.Uint64(b[10:]),
		Ordinal:     binary.BigEndian.Uint32(b[18:]),
	}
	b = b[22:]
	for _, s := range []*string{&r.Stream, &r.Subject, &r.Prefix, &r.Traceparent} {
		n, k := binary.Uvarint(b)
		if k <= 0 || uint64(len(b)-k) < n {
			return Record{}, bad
		}
		*s = string(b[k : k+int(n)])
		b = b[k+int(n):]
	}
	r.Data = append([]byte(nil), b...)
	return r, nil
}
