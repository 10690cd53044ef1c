package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/leadbaton/baton/api/client"
	"github.com/leadbaton/baton/api/cloudevent"
)

// errLong is a line that holds more than an event may.
var errLong = errors.New("the event is larger than 64 KiB: leave out what Baton does not need")

// lineReader reads JSON lines. Empty lines are passed over, but counted.
type lineReader struct {
	r      *bufio.Reader
	number int // of the line that next returned last, from 1
}

func newLineReader(r io.Reader) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(r, cloudevent.MaxSize+2)} // and its end
}

// byteOrderMark is what some programs write at the start of a file.
var byteOrderMark = []byte("\xef\xbb\xbf")

// next returns the next line that is not empty, as bytes of its own; errLong for one that is too long; io.EOF at the end.
func (l *lineReader) next() ([]byte, error) {
	for {
		b, err := l.r.ReadSlice('\n')
		if len(b) > 0 {
			l.number++
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = l.r.ReadSlice('\n')
			}
			if err != nil && !errors.Is(err, io.EOF) {
				return nil, err
			}
			return nil, errLong
		}
		if l.number == 1 {
			b = bytes.TrimPrefix(b, byteOrderMark)
		}
		if b = bytes.TrimSpace(b); len(b) > 0 {
			return bytes.Clone(b), nil // an error comes again with the next read
		}
		if err != nil {
			return nil, err
		}
	}
}

// listed is how many bad lines are named.
const listed = 20

// tally counts what became of the events.
type tally struct {
	accepted, duplicates, rejected, failed int64
	lines                                  []string // of the first bad ones
}

func (t *tally) total() int64 { return t.accepted + t.duplicates + t.rejected + t.failed }
func (t *tally) bad() int64   { return t.rejected + t.failed }

func (t *tally) add(line int, r client.Result) {
	switch r.Outcome {
	case client.Accepted:
		t.accepted++
	case client.Duplicate:
		t.duplicates++
	case client.Rejected:
		t.reject(line, r.Err)
	case client.Failed:
		t.failed++
		t.list(line, "not published", r.Err)
	}
}

func (t *tally) reject(line int, err error) {
	t.rejected++
	t.list(line, "rejected", err)
}

func (t *tally) list(line int, what string, err error) {
	if len(t.lines) < listed {
		t.lines = append(t.lines, fmt.Sprintf("line %d %s: %v", line, what, err))
	}
}
