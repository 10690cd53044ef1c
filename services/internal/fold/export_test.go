package fold

import (
	"bytes"
	"errors"
	"io"
	"time"

	"github.com/klauspost/compress/s2"
)

// SnapshotOften takes snapshots after fewer messages and in a shorter time than is worth it outside of a test.
func (g *Group) SnapshotOften(messages uint64, every time.Duration) {
	g.pace = newPace()
	g.pace.messages, g.pace.every = messages, every
}

// EncodeSnapshot writes a shard as a snapshot, and changes what is compressed by edit (nil = nothing).
func EncodeSnapshot(shard string, d Dump, edit func([]byte) []byte) []byte {
	var b bytes.Buffer
	w := newSnapshotWriter(&b, shard, d.Position.Created, d.Head)
	for name, value := range d.Fields {
		w.field(name, value)
	}
	w.flush()
	for i := range d.Outbox {
		w.record(&d.Outbox[i])
	}
	if err := w.end(d.Head); err != nil {
		panic(err)
	}
	if edit == nil {
		return b.Bytes()
	}
	plain, err := io.ReadAll(s2.NewReader(bytes.NewReader(b.Bytes()[len(snapshotFormat):])))
	if err != nil {
		panic(err)
	}
	var out bytes.Buffer
	out.WriteString(snapshotFormat)
	z := s2.NewWriter(&out)
	_, _ = z.Write(edit(plain))
	_ = z.Close()
	return out.Bytes()
}

// DecodeSnapshot reads what EncodeSnapshot has written.
func DecodeSnapshot(b []byte) (string, Dump, error) {
	d := Dump{Fields: map[string][]byte{}}
	r, p, err := newSnapshotReader(bytes.NewReader(b))
	for err == nil {
		for _, f := range p.fields {
			d.Fields[f.Name] = f.Value
		}
		d.Outbox = append(d.Outbox, p.records...)
		p, err = r.next()
	}
	if !errors.Is(err, io.EOF) {
		return "", Dump{}, err
	}
	d.Head = r.head
	return r.shard, d, nil
}

// Arena is an arena.
type Arena struct{ arena }

// Keep copies a value into it.
func (a *Arena) Keep(value []byte) []byte { return a.keep(value) }

// Reset frees all values.
func (a *Arena) Reset() { a.reset() }
