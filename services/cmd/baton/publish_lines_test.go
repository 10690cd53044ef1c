package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/leadbaton/baton/api/client"
	"github.com/leadbaton/baton/api/cloudevent"
)

// readLines returns what a lineReader makes of a text: "number:line", or "number!" for a line that is too long.
func readLines(r io.Reader) (got []string, err error) {
	l := newLineReader(r)
	for {
		b, err := l.next()
		switch {
		case errors.Is(err, io.EOF):
			return got, nil
		case errors.Is(err, errLong):
			got = append(got, fmt.Sprintf("%d!", l.number))
		case err != nil:
			return got, err
		default:
			got = append(got, fmt.Sprintf("%d:%s", l.number, b))
		}
	}
}

func TestLines(t *testing.T) {
	most := strings.Repeat("m", cloudevent.MaxSize)
	tooLong := strings.Repeat("x", 3*cloudevent.MaxSize)
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"nothing":                      {"", nil},
		"no end of the last line":      {"a\nb", []string{"1:a", "2:b"}},
		"empty lines are counted":      {"\n \na\r\n\n\nb\n", []string{"3:a", "6:b"}},
		"byte order mark":              {"\xef\xbb\xbfa\n\xef\xbb\xbfb\n", []string{"1:a", "2:\xef\xbb\xbfb"}},
		"the longest line":             {most + "\r\nb\n", []string{"1:" + most, "2:b"}},
		"too long":                     {"a\n" + tooLong + "\nb\n", []string{"1:a", "2!", "3:b"}},
		"too long without an end":      {"a\n" + tooLong, []string{"1:a", "2!"}},
		"spaces around a line are cut": {"  a \t\n", []string{"1:a"}},
	} {
		got, err := readLines(strings.NewReader(c.text))
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: got %.100q, %v", name, got, err)
		}
		slowly, err := readLines(iotest.OneByteReader(strings.NewReader(c.text)))
		if err != nil || !slices.Equal(slowly, c.want) {
			t.Errorf("%s, byte by byte: got %.100q, %v", name, slowly, err)
		}
	}
}

func TestLinesOfAReaderThatFails(t *testing.T) {
	broken := errors.New("the disk is gone")
	got, err := readLines(io.MultiReader(strings.NewReader("a\nb"), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) || !slices.Equal(got, []string{"1:a", "2:b"}) {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestTallyNamesTheFirstBadLines(t *testing.T) {
	var c tally
	for i := range 30 {
		c.add(i, client.Result{Outcome: client.Rejected, Err: errors.New("wrong")})
	}
	c.add(31, client.Result{Outcome: client.Failed, Err: errors.New("away")})
	c.add(32, client.Result{Outcome: client.Accepted})
	c.add(33, client.Result{Outcome: client.Duplicate})
	if len(c.lines) != listed || c.bad() != 31 || c.total() != 33 || c.lines[0] != "line 0 rejected: wrong" {
		t.Errorf("got %+v", c)
	}
}
