package document

import (
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// Flag says more of a key that is asked for.
type Flag uint8

// The flags. They are combined with |.
const (
	// Required: a map without this key is an Error.
	Required Flag = 1 << iota
	// NotInForce: the key is read and checked, but has no effect in this version of Baton; using it is a Warning.
	NotInForce
)

// notInForce is the one text of these warnings, so that people can search for it.
const notInForce = "parsed and checked, but not yet in force in this version"

// Map reads the keys of a map. Every key is asked for once, then Done finds those that nobody asked for.
type Map struct {
	node  Node
	asked []string        // in order, for messages
	known map[string]bool // the same, to look up
}

func (m *Map) ask(key string) {
	if m.known == nil {
		m.known = map[string]bool{}
	}
	m.known[key] = true
}

// Map returns a reader of the node's keys. It is never nil: that of an absent node, or after an Error of one that is
// no map, has no keys and requires none.
func (n Node) Map() *Map {
	if n.y != nil && n.y.Kind != yaml.MappingNode {
		n.Errorf("must be a map (key: value), but is %s", n.kind())
		n = Node{}
	}
	return &Map{node: n}
}

// Node is the map itself.
func (m *Map) Node() Node { return m.node }

// Get returns the value of a key; absent if it is not there or empty. An empty value (key:) is an Error.
func (m *Map) Get(key string, flags ...Flag) Node {
	var flag Flag
	for _, f := range flags {
		flag |= f
	}
	m.ask(key)
	m.asked = append(m.asked, key)
	if m.node.y == nil {
		return Node{}
	}
	k, v := m.find(key)
	if v == nil {
		if flag&Required != 0 {
			m.node.Errorf("the key %s is missing", quote(key))
		}
		return Node{}
	}
	n := Node{doc: m.node.doc, y: v, path: keyPath(m.node.path, key)}
	if v.Kind == yaml.ScalarNode && v.Tag == "!!null" {
		n.doc.add(Error, k.Line, k.Column, n.path, "has no value; give it one or leave the key out")
		return Node{}
	}
	if flag&NotInForce != 0 {
		n.doc.add(Warning, k.Line, k.Column, n.path, notInForce)
	}
	return n
}

// NotInForce adds the warning of that flag at the node.
func (n Node) NotInForce() { n.Warnf("%s", notInForce) }

func (m *Map) find(key string) (k, v *yaml.Node) {
	for i := 0; i+1 < len(m.node.y.Content); i += 2 {
		if m.node.y.Content[i].Value == key {
			return m.node.y.Content[i], m.node.y.Content[i+1]
		}
	}
	return nil, nil
}

// Has says whether the key is there, without asking for it.
func (m *Map) Has(key string) bool {
	if m.node.y == nil {
		return false
	}
	_, v := m.find(key)
	return v != nil
}

// Entry is one key of a map whose keys are names that the document chooses.
type Entry struct {
	// Key is the key's text. KeyNode stands where it stands, for findings about it.
	Key     string
	KeyNode Node
	Value   Node
}

// Entries returns every key that was not asked for before, in the order of the document, and asks for them.
func (m *Map) Entries() []Entry {
	var out []Entry
	if m.node.y == nil {
		return nil
	}
	for i := 0; i+1 < len(m.node.y.Content); i += 2 {
		k, v := m.node.y.Content[i], m.node.y.Content[i+1]
		if m.known[k.Value] {
			continue
		}
		m.ask(k.Value)
		path := keyPath(m.node.path, k.Value)
		e := Entry{Key: k.Value, KeyNode: Node{doc: m.node.doc, y: k, path: path}}
		e.Value = Node{doc: m.node.doc, y: v, path: path}
		out = append(out, e)
	}
	return out
}

// Done adds an Error for every key that was not asked for, with the likely one that was meant.
func (m *Map) Done() {
	if m.node.y == nil {
		return
	}
	for i := 0; i+1 < len(m.node.y.Content); i += 2 {
		k := m.node.y.Content[i]
		if m.known[k.Value] {
			continue
		}
		n := Node{doc: m.node.doc, y: k, path: keyPath(m.node.path, k.Value)}
		switch near := Nearest(k.Value, m.asked); {
		case near != "":
			n.Errorf("unknown key %s; did you mean %s?", quote(k.Value), quote(near))
		case len(m.asked) > 0:
			n.Errorf("unknown key %s; known here: %s", quote(k.Value), strings.Join(m.asked, ", "))
		default:
			n.Errorf("unknown key %s", quote(k.Value))
		}
	}
}

// Map asks for a key whose value is a map.
func (m *Map) Map(key string, flags ...Flag) *Map { return m.Get(key, flags...).Map() }

// List asks for a key whose value is a list.
func (m *Map) List(key string, flags ...Flag) []Node { return m.Get(key, flags...).List() }

// Texts asks for a key whose value is a list of texts.
func (m *Map) Texts(key string, flags ...Flag) []string { return m.Get(key, flags...).Texts() }

// Text asks for a key whose value is a text.
func (m *Map) Text(key string, flags ...Flag) string { return m.Get(key, flags...).Text() }

// ID asks for a key whose value is an id.
func (m *Map) ID(key string, flags ...Flag) string { return m.Get(key, flags...).ID() }

// Bool asks for a key whose value is true or false.
func (m *Map) Bool(key string, flags ...Flag) bool { return m.Get(key, flags...).Bool() }

// Int asks for a key whose value is a whole number from low to high.
func (m *Map) Int(key string, low, high int64, flags ...Flag) int64 {
	return m.Get(key, flags...).Int(low, high)
}

// Duration asks for a key whose value is a duration.
func (m *Map) Duration(key string, flags ...Flag) time.Duration {
	return m.Get(key, flags...).Duration()
}

// Points asks for a key whose value is a number of thousandths.
func (m *Map) Points(key string, flags ...Flag) int64 { return m.Get(key, flags...).Points() }

// Enum asks for a key whose value is one of some words.
func (m *Map) Enum(key string, words []string, flags ...Flag) string {
	return m.Get(key, flags...).Enum(words...)
}

// Date asks for a key whose value is a date.
func (m *Map) Date(key string, flags ...Flag) Date { return m.Get(key, flags...).Date() }
