package fold

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc64"
	"io"

	"github.com/klauspost/compress/s2"
)

// Snapshots keeps what shards were at an instant, outside their store: a store that has lost a shard starts from there and
// folds only what came after it.
type Snapshots interface {
	// List returns a shard's snapshots, newest first.
	List(ctx context.Context, shard string) ([]SnapshotInfo, error)
	// Save keeps what write writes as the shard's newest snapshot; began is where the shard stood when it was begun. Until
	// it is there whole nothing changes; then the one before it stays, and older ones go.
	Save(ctx context.Context, shard string, began Head, write func(io.Writer) error) error
	// Open reads a snapshot. An error that is ErrDamaged says that no repetition will read it.
	Open(ctx context.Context, shard, name string) (io.ReadCloser, error)
	// Forget deletes one.
	Forget(ctx context.Context, shard, name string) error
}

// SnapshotInfo tells one snapshot of a shard from the others.
type SnapshotInfo struct {
	Name string
	// Sequence is how far the shard was when the snapshot was begun; it holds what was folded up to there, or more.
	Sequence uint64
	// Size in bytes, as it is kept.
	Size uint64
}

// ErrDamaged says that what is kept of a snapshot is not what was written.
var ErrDamaged = errors.New("fold: the snapshot is damaged")

// A snapshot is a line that names the format, then blocks of entries, compressed as one stream. Each block is preceded by its
// length; the last is followed by a length of 0 and the CRC-64 of all blocks. Later entries replace earlier ones of the same
// name: states are written as a scan finds them, and after that what changed while it went on.
const snapshotFormat = "baton snapshot 1\n"

// Kinds of entries.
const (
	entryBegin   = iota + 1 // shard, incarnation of the log, Head where the scan began
	entryField              // name and value
	entryDeleted            // name
	entryRecord             // of the outbox
	entryEnd                // Head, and how many entries came before
)

// Bounds of a block; one entry alone may be larger than blockBytes.
const (
	blockBytes   = 512 << 10
	blockEntries = 1000
	maxBlock     = 256 << 20
)

var crcTable = crc64.MakeTable(crc64.ECMA)

// snapshotWriter encodes a snapshot.
type snapshotWriter struct {
	out     *s2.Writer
	block   []byte
	inBlock int
	entries uint64
	crc     uint64
	err     error
}

func newSnapshotWriter(w io.Writer, shard string, incarnation int64, began Head) *snapshotWriter {
	_, err := io.WriteString(w, snapshotFormat)
	s := &snapshotWriter{out: s2.NewWriter(w, s2.WriterConcurrency(1)), err: err}
	s.entry(entryBegin)
	s.text(shard)
	s.block = binary.AppendVarint(s.block, incarnation)
	s.head(began)
	return s
}

func (s *snapshotWriter) entry(kind byte) {
	if s.inBlock >= blockEntries || len(s.block) >= blockBytes {
		s.flush()
	}
	s.inBlock++
	s.entries++
	s.block = append(s.block, kind)
}

func (s *snapshotWriter) text(v string) {
	s.block = append(binary.AppendUvarint(s.block, uint64(len(v))), v...)
}

func (s *snapshotWriter) bytes(v []byte) {
	s.block = append(binary.AppendUvarint(s.block, uint64(len(v))), v...)
}

func (s *snapshotWriter) head(h Head) {
	s.text(h.Position.String())
	s.text(h.Version)
}

func (s *snapshotWriter) field(name string, value []byte) {
	s.entry(entryField)
	s.text(name)
	s.bytes(value)
}

func (s *snapshotWriter) deleted(name string) {
	s.entry(entryDeleted)
	s.text(name)
}

func (s *snapshotWriter) record(r *Record) {
	s.entry(entryRecord)
	s.bytes(AppendRecord(nil, r))
}

func (s *snapshotWriter) write(b []byte) {
	if s.err == nil {
		_, s.err = s.out.Write(b)
	}
}

// flush ends a block.
func (s *snapshotWriter) flush() {
	if len(s.block) > 0 {
		s.write(binary.AppendUvarint(nil, uint64(len(s.block))))
		s.write(s.block)
		s.crc = crc64.Update(s.crc, crcTable, s.block)
	}
	s.block, s.inBlock = s.block[:0], 0
}

// end completes the snapshot: it is the shard as of h.
func (s *snapshotWriter) end(h Head) error {
	n := s.entries
	s.entry(entryEnd)
	s.head(h)
	s.block = binary.AppendUvarint(s.block, n)
	s.flush()
	s.write(binary.BigEndian.AppendUint64([]byte{0}, s.crc))
	if err := s.out.Close(); s.err == nil {
		s.err = err
	}
	return s.err
}

// snapshotPart is one block of a snapshot.
type snapshotPart struct {
	fields  []FieldValue
	deleted []string
	records []Record
}

// snapshotReader decodes a snapshot. Its errors are ErrDamaged, or those of reading.
type snapshotReader struct {
	in  *bufio.Reader
	crc uint64

	shard       string
	incarnation int64
	began, head Head // head is known at the end
	entries     uint64
	ended       bool
}

// newSnapshotReader reads where the snapshot was begun.
func newSnapshotReader(r io.Reader) (*snapshotReader, snapshotPart, error) {
	format := make([]byte, len(snapshotFormat))
	if _, err := io.ReadFull(r, format); err != nil {
		return nil, snapshotPart{}, damagedAt(err)
	}
	if string(format) != snapshotFormat {
		return nil, snapshotPart{}, fmt.Errorf("%w: it does not begin as a snapshot of this format", ErrDamaged)
	}
	s := &snapshotReader{in: bufio.NewReaderSize(s2.NewReader(r), 64<<10)}
	first, err := s.next()
	switch {
	case errors.Is(err, io.EOF), err == nil && s.shard == "":
		err = fmt.Errorf("%w: it does not say what it is of", ErrDamaged)
	}
	return s, first, err
}

// damagedAt tells what is damaged from what could not be read.
func damagedAt(err error) error {
	for _, e := range []error{io.EOF, io.ErrUnexpectedEOF, s2.ErrCorrupt, s2.ErrCRC, s2.ErrTooLarge, s2.ErrUnsupported} {
		if errors.Is(err, e) {
			return fmt.Errorf("%w: %s", ErrDamaged, err.Error())
		}
	}
	return err
}

// next returns the next block; io.EOF after the last one, once all of the snapshot is known to be what was written.
func (s *snapshotReader) next() (snapshotPart, error) {
	n, err := binary.ReadUvarint(s.in)
	switch {
	case err != nil:
		return snapshotPart{}, damagedAt(err)
	case n > maxBlock:
		return snapshotPart{}, fmt.Errorf("%w: a block of %d bytes", ErrDamaged, n)
	case n == 0:
		return snapshotPart{}, s.last()
	}
	block := make([]byte, n)
	if _, err := io.ReadFull(s.in, block); err != nil {
		return snapshotPart{}, damagedAt(err)
	}
	s.crc = crc64.Update(s.crc, crcTable, block)
	return s.decode(block)
}

func (s *snapshotReader) last() error {
	var sum [8]byte
	if _, err := io.ReadFull(s.in, sum[:]); err != nil {
		return damagedAt(err)
	}
	if binary.BigEndian.Uint64(sum[:]) != s.crc || !s.ended {
		return fmt.Errorf("%w: its checksum is wrong", ErrDamaged)
	}
	if _, err := s.in.ReadByte(); err != io.EOF {
		return fmt.Errorf("%w: it goes on after its end", ErrDamaged)
	}
	return io.EOF
}

func (s *snapshotReader) decode(b []byte) (p snapshotPart, err error) {
	bad := false
	number := func() uint64 {
		n, k := binary.Uvarint(b)
		if k <= 0 {
			bad, b = true, nil
			return 0
		}
		b = b[k:]
		return n
	}
	bytes := func() []byte {
		n := number()
		if n > uint64(len(b)) {
			bad, b = true, nil
			return nil
		}
		v := b[:n:n]
		b = b[n:]
		return v
	}
	head := func() (h Head) {
		h.Position, err = ParsePosition(string(bytes()))
		bad = bad || err != nil
		h.Version = string(bytes())
		return h
	}
	for len(b) > 0 && !bad && !s.ended {
		kind := b[0]
		b = b[1:]
		if (kind == entryBegin) != (s.entries == 0) {
			bad = true
			break
		}
		before := s.entries
		s.entries++
		switch kind {
		case entryBegin:
			s.shard = string(bytes())
			n, k := binary.Varint(b)
			if bad = bad || k <= 0; !bad {
				s.incarnation, b = n, b[k:]
			}
			s.began = head()
		case entryField:
			p.fields = append(p.fields, FieldValue{string(bytes()), bytes()})
		case entryDeleted:
			p.deleted = append(p.deleted, string(bytes()))
		case entryRecord:
			r, err := ParseRecord(bytes())
			bad = bad || err != nil
			p.records = append(p.records, r)
		case entryEnd:
			s.head = head()
			bad = bad || number() != before
			s.ended = true
		default:
			bad = true
		}
	}
	if bad || len(b) > 0 {
		return snapshotPart{}, fmt.Errorf("%w: an entry cannot be read", ErrDamaged)
	}
	return p, nil
}
