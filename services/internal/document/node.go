package document

import (
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"
)

// Node is one value of a document: a map, a list, or a scalar. The zero Node is absent: its readers return zero values
// and find nothing, so that a reader checks presence only where absence means something.
//
// A reader that meets what it does not expect adds an Error to the document and returns the zero value.
type Node struct {
	doc  *Document
	y    *yaml.Node
	path string
}

// Present says whether the node is in the document.
func (n Node) Present() bool { return n.y != nil }

// IsMap says whether the node is a map.
func (n Node) IsMap() bool { return n.y != nil && n.y.Kind == yaml.MappingNode }

// IsList says whether the node is a list.
func (n Node) IsList() bool { return n.y != nil && n.y.Kind == yaml.SequenceNode }

// IsScalar says whether the node is a single value. Null is none.
func (n Node) IsScalar() bool {
	return n.y != nil && n.y.Kind == yaml.ScalarNode && n.y.Tag != "!!null"
}

// Line is the node's line from 1; 0 if absent.
func (n Node) Line() int {
	if n.y == nil {
		return 0
	}
	return n.y.Line
}

// Column is the node's column from 1, in characters; 0 if absent.
func (n Node) Column() int {
	if n.y == nil {
		return 0
	}
	return n.y.Column
}

// Path is where the node stands, such as engagement.rules[pricing-page].points. Items of lists are named by their id,
// else by their place from 0.
func (n Node) Path() string { return n.path }

// Written is a scalar as it stands in the document, without quotes; "" for others.
func (n Node) Written() string {
	if !n.IsScalar() {
		return ""
	}
	return n.y.Value
}

// Errorf adds an Error at the node. An absent node adds nothing.
func (n Node) Errorf(format string, args ...any) {
	if n.y != nil {
		n.doc.add(Error, n.y.Line, n.y.Column, n.path, fmt.Sprintf(format, args...))
	}
}

// Warnf adds a Warning at the node. An absent node adds nothing.
func (n Node) Warnf(format string, args ...any) {
	if n.y != nil {
		n.doc.add(Warning, n.y.Line, n.y.Column, n.path, fmt.Sprintf(format, args...))
	}
}

// ErrorWithin adds an Error at a place within a scalar: line and column are from 1, within the scalar's text. It is
// for texts that have a grammar of their own.
func (n Node) ErrorWithin(line, column int, format string, args ...any) {
	if n.y == nil {
		return
	}
	l, c := n.within(line, column)
	n.doc.add(Error, l, c, n.path, fmt.Sprintf(format, args...))
}

// within maps a place in a scalar's text to a place in the document. Where YAML folds or escapes, it stays at the
// scalar's start or line, which is near enough to find the place.
func (n Node) within(line, column int) (int, int) {
	l, c := n.y.Line, n.y.Column
	switch {
	case line < 1 || column < 1:
	case n.y.Style&yaml.LiteralStyle != 0:
		// The text begins on the line after the |, and all its lines share the first one's indentation.
		if l < len(n.doc.lines) {
			first := n.doc.lines[l]
			indent := len(first) - len(strings.TrimLeft(first, " "))
			return min(l+line, len(n.doc.lines)), indent + column
		}
	case n.y.Style&yaml.FoldedStyle != 0:
		return min(l+1, len(n.doc.lines)), 1
	case line == 1 && n.y.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0:
		return l, c + 1 + n.quotedOffset(column-1)
	case line == 1:
		return l, c + column - 1
	}
	return l, c
}

// quotedOffset is how many characters of a quoted scalar's source stand before character k of its text.
func (n Node) quotedOffset(k int) int {
	if n.y.Line > len(n.doc.lines) {
		return k
	}
	src := []rune(n.doc.lines[n.y.Line-1])
	start := n.y.Column // the character after the quote, from 0
	at := start
	for range k {
		if at >= len(src) {
			break
		}
		switch {
		case src[at] == '\'' && n.y.Style&yaml.SingleQuotedStyle != 0:
			at += 2 // '' stands for '
		case src[at] == '\\' && n.y.Style&yaml.DoubleQuotedStyle != 0:
			at += 2
			if at <= len(src) {
				switch src[at-1] {
				case 'x':
					at += 2
				case 'u':
					at += 4
				case 'U':
					at += 8
				}
			}
		default:
			at++
		}
	}
	return min(at, len(src)) - start
}

// kind names what the node is, for messages.
func (n Node) kind() string {
	switch n.y.Kind {
	case yaml.MappingNode:
		return "a map"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		switch n.y.Tag {
		case "!!null":
			return "empty"
		case "!!bool":
			return n.y.Value
		case "!!int", "!!float":
			return "the number " + quote(n.y.Value)
		default:
			return quote(n.y.Value)
		}
	case yaml.AliasNode, yaml.DocumentNode:
	}
	return "something else"
}

// scalar returns the text of a scalar, or finds that the node is not what it should be.
func (n Node) scalar(want string) (string, bool) {
	if n.y == nil {
		return "", false
	}
	if !n.IsScalar() {
		n.Errorf("must be %s, but is %s", want, n.kind())
		return "", false
	}
	return n.y.Value, true
}

// List returns the items of a list.
func (n Node) List() []Node {
	if n.y == nil {
		return nil
	}
	if n.y.Kind != yaml.SequenceNode {
		n.Errorf("must be a list, but is %s", n.kind())
		return nil
	}
	items := make([]Node, len(n.y.Content))
	for i, item := range n.y.Content {
		items[i] = Node{doc: n.doc, y: item, path: itemPath(n.path, i, item)}
	}
	return items
}

// ListOrOne returns the items of a list, or the single value itself.
func (n Node) ListOrOne() []Node {
	if n.IsScalar() {
		return []Node{n}
	}
	return n.List()
}

// Texts returns the texts of a list of texts. Those that are none are left out, after an Error.
func (n Node) Texts() []string {
	var out []string
	for _, item := range n.List() {
		if s, ok := item.text(); ok {
			out = append(out, s)
		}
	}
	return out
}

// Value returns the node as encoding/json would be given it: map[string]any, []any, string, bool, nil, and numbers as
// json.Number, whose digits are exact.
func (n Node) Value() any {
	if n.y == nil {
		return nil
	}
	switch n.y.Kind {
	case yaml.MappingNode:
		out := make(map[string]any, len(n.y.Content)/2)
		for i := 0; i+1 < len(n.y.Content); i += 2 {
			key := n.y.Content[i].Value
			if _, twice := out[key]; twice {
				continue
			}
			out[key] = Node{doc: n.doc, y: n.y.Content[i+1], path: keyPath(n.path, key)}.Value()
		}
		return out
	case yaml.SequenceNode:
		out := make([]any, len(n.y.Content))
		for i, item := range n.y.Content {
			out[i] = Node{doc: n.doc, y: item, path: itemPath(n.path, i, item)}.Value()
		}
		return out
	case yaml.ScalarNode:
		return n.jsonScalar()
	case yaml.AliasNode, yaml.DocumentNode:
	}
	return nil
}
