package document

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// Limits of a document. They keep the work for any input small; no document that people sign comes near them.
const (
	MaxSize     = 256 << 10 // bytes
	MaxDepth    = 32        // maps and lists within each other
	MaxFindings = 100       // after these the rest is left out, and the last finding says so
)

// Document is one YAML document and everything that was found wrong with it so far. It is not for concurrent use.
type Document struct {
	root     Node
	lines    []string
	findings []Finding
	full     bool
}

// Parse reads one YAML document of at most MaxSize bytes. It never fails: what is wrong is in Findings, and the root
// of a document that cannot be read at all is absent, so that readers of it return zero values and add nothing.
//
// Found here, wherever they stand: bad syntax, duplicate keys, keys that are no words, anchors, aliases, merge keys,
// tags, a second document. Readers of nodes find the rest.
func Parse(data []byte) *Document {
	d := &Document{lines: []string{""}}
	if len(data) > MaxSize {
		d.add(Error, 1, 1, "", fmt.Sprintf("the document has %d bytes; at most %d are read", len(data), MaxSize))
		return d
	}
	d.lines = strings.Split(string(data), "\n")
	if !utf8.Valid(data) {
		line, column := invalidAt(data)
		d.add(Error, line, column, "", "the document is not UTF-8 text here; save it as UTF-8")
		return d
	}
	y := d.decode(data)
	if y == nil {
		return d
	}
	if !d.check(y, "", 0) {
		return d
	}
	d.root = Node{doc: d, y: y}
	return d
}

// Root is the document's outermost node; absent if the document cannot be read.
func (d *Document) Root() Node { return d.root }

// Findings returns everything found so far, in the order of the document.
func (d *Document) Findings() []Finding {
	fs := slices.Clone(d.findings)
	slices.SortStableFunc(fs, func(a, b Finding) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	if d.full {
		last := Finding{Severity: Error, Line: max(1, len(d.lines)), Column: 1, Message: "too many findings; correct these first"}
		fs = append(fs, last)
	}
	return fs
}

func (d *Document) add(s Severity, line, column int, path, message string) {
	if s == Error && len(d.findings) >= MaxFindings {
		// An error outweighs a warning, so that a full list cannot hide that the document is invalid.
		d.full = true
		return
	}
	if len(d.findings) >= MaxFindings {
		return
	}
	if path == "" {
		path = "document"
	}
	// An empty value at the end stands on the line after the last.
	line = max(1, min(line, len(d.lines)))
	d.findings = append(d.findings, Finding{Severity: s, Line: line, Column: max(1, column), Path: path, Message: message})
}

// decode returns the content of the only document in data, or nil after a finding.
func (d *Document) decode(data []byte) *yaml.Node {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	y, err := decodeOne(dec)
	switch {
	case errors.Is(err, io.EOF):
		d.add(Error, 1, 1, "", "the document is empty")
		return nil
	case err != nil:
		d.syntax(err)
		return nil
	}
	next, err := decodeOne(dec)
	switch {
	case err == nil:
		d.add(Error, next.Line, next.Column, "", "a second document begins here; put each into a file of its own")
		return nil
	case !errors.Is(err, io.EOF):
		d.syntax(err)
		return nil
	}
	if len(y.Content) != 1 {
		d.add(Error, 1, 1, "", "the document is empty")
		return nil
	}
	return y.Content[0]
}

// decodeOne turns a panic of the YAML library into an error: documents come from people and may be anything.
func decodeOne(dec *yaml.Decoder) (y *yaml.Node, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the YAML cannot be read: %v", r)
		}
	}()
	y = &yaml.Node{}
	if err := dec.Decode(y); err != nil {
		return nil, err
	}
	return y, nil
}

// syntax reports an error of the YAML library, which names its line in its text.
func (d *Document) syntax(err error) {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	line, column := 1, 1
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if digits, message, ok := strings.Cut(rest, ": "); ok {
			if n, err := strconv.Atoi(digits); err == nil {
				line, text = n, message
			}
		}
	}
	if name, ok := strings.CutPrefix(text, "unknown anchor '"); ok {
		// The library does not say where.
		name, _, _ = strings.Cut(name, "'")
		for i, l := range d.lines {
			if before, _, found := strings.Cut(l, "*"+name); found {
				line, column = i+1, utf8.RuneCountInString(before)+1
				break
			}
		}
		d.add(Error, line, column, "", aliasMessage)
		return
	}
	switch text {
	// Errors of its parser, unlike those of its scanner, count lines from 0.
	case "did not find expected key":
		line, text = line+1, "a key is expected here or in what follows; look at the indentation and for a missing colon"
	case "did not find expected '-' indicator":
		line, text = line+1, "a - is expected here or in what follows; look at the indentation of the list"
	case "did not find expected ',' or ']'":
		line, text = line+1, "the list that begins here has no end; look for a missing ] or comma"
	case "did not find expected ',' or '}'":
		line, text = line+1, "the map that begins here has no end; look for a missing } or comma"
	case "found character that cannot start any token":
		text = "this line begins with a character that cannot stand there; indent with spaces, not tabs, and quote texts that begin with % @ or `"
	case "mapping values are not allowed in this context":
		text = "a colon is not expected here; quote a text that contains a colon"
	}
	d.add(Error, min(line, len(d.lines)), column, "", "not YAML: "+text)
}

const (
	aliasMessage  = "aliases (*name) are not allowed; write the value out"
	anchorMessage = "anchors (&name) are not allowed; write the value out where it is needed"
)

// check finds what is forbidden wherever it stands. It says whether the tree may be read.
func (d *Document) check(y *yaml.Node, path string, depth int) bool {
	if depth > MaxDepth {
		d.add(Error, y.Line, y.Column, path, fmt.Sprintf("maps and lists are nested more than %d deep", MaxDepth))
		return false
	}
	ok := true
	refuse := func(message string) {
		d.add(Error, y.Line, y.Column, path, message)
		ok = false
	}
	if y.Anchor != "" {
		refuse(anchorMessage)
	}
	if y.Style&yaml.TaggedStyle != 0 {
		refuse("tags (" + quote(y.Tag) + ") are not allowed; the key says what type its value has")
	}
	switch y.Kind {
	case yaml.AliasNode:
		refuse(aliasMessage)
	case yaml.SequenceNode:
		for i, item := range y.Content {
			ok = d.check(item, itemPath(path, i, item), depth+1) && ok
		}
	case yaml.MappingNode:
		ok = d.checkMap(y, path, depth) && ok
	case yaml.ScalarNode, yaml.DocumentNode:
	}
	return ok
}

func (d *Document) checkMap(y *yaml.Node, path string, depth int) bool {
	ok := true
	lines := make(map[string]int, len(y.Content)/2)
	for i := 0; i+1 < len(y.Content); i += 2 {
		key, value := y.Content[i], y.Content[i+1]
		switch {
		case key.Kind == yaml.AliasNode:
			d.add(Error, key.Line, key.Column, path, aliasMessage)
			ok = false
			continue
		case key.Kind != yaml.ScalarNode:
			d.add(Error, key.Line, key.Column, path, "a key must be one word, not a map or a list")
			ok = false
			continue
		case key.Tag == "!!merge":
			d.add(Error, key.Line, key.Column, path, "merge keys (<<) are not allowed; write the keys out")
			ok = false
			continue
		case key.Anchor != "":
			d.add(Error, key.Line, key.Column, path, anchorMessage)
			ok = false
		case key.Style&yaml.TaggedStyle != 0:
			d.add(Error, key.Line, key.Column, path, "tags ("+quote(key.Tag)+") are not allowed")
			ok = false
		}
		at := keyPath(path, key.Value)
		if line, twice := lines[key.Value]; twice {
			// The first one is read on, so the rest of the document is still checked.
			d.add(Error, key.Line, key.Column, at, fmt.Sprintf("the key %s is already on line %d; keep one of them", quote(key.Value), line))
		} else {
			lines[key.Value] = key.Line
		}
		ok = d.check(value, at, depth+1) && ok
	}
	return ok
}

// invalidAt returns where data stops being UTF-8.
func invalidAt(data []byte) (line, column int) {
	line, column = 1, 1
	for len(data) > 0 {
		r, n := utf8.DecodeRune(data)
		if r == utf8.RuneError && n == 1 {
			return line, column
		}
		column++
		if r == '\n' {
			line, column = line+1, 1
		}
		data = data[n:]
	}
	return line, column
}

func keyPath(path, key string) string {
	if key == "" || strings.ContainsAny(key, " .[]") {
		key = quote(key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// itemPath names an item of a list by its id if it has one, else by its place from 0.
func itemPath(path string, i int, item *yaml.Node) string {
	if item.Kind == yaml.MappingNode {
		for k := 0; k+1 < len(item.Content); k += 2 {
			key, value := item.Content[k], item.Content[k+1]
			if key.Value == "id" && value.Kind == yaml.ScalarNode && validID(value.Value) {
				return path + "[" + value.Value + "]"
			}
		}
	}
	return path + "[" + strconv.Itoa(i) + "]"
}

// quote shows a value of the document within a message, cut to what a line can hold.
func quote(s string) string {
	const most = 48
	if utf8.RuneCountInString(s) > most {
		s = string([]rune(s)[:most]) + "…"
	}
	return strconv.Quote(s)
}
