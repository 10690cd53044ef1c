package lead

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/leadbaton/baton/services/internal/agreement"
	"github.com/leadbaton/baton/services/internal/attribute"
	"github.com/leadbaton/baton/services/internal/document"
	"github.com/leadbaton/baton/services/internal/fold"
)

// Log is the state of key "": what holds for all leads of a shard. Its main record holds origins and versions; each
// agreement's document is a part of its own, "agreement-<name>".
type Log struct {
	version    uint32           // of the fold, in force
	origins    []producerOrigin // by producer
	agreements []*inForce       // by name
	// epoch counts the versions that took force.
	epoch   uint64
	changed bool
	// fields are the declared attributes, of the name spaces of leads and accounts. Not stored.
	fields [spaces]map[string]field
}

// producerOrigin is the last message that one of Baton's own producers sent into this shard.
type producerOrigin struct {
	producer string
	last     fold.Origin
}

// inForce is a version of an agreement in force.
type inForce struct {
	*agreement.Agreement
	version uint32
	// rule is the index of each rule by its id.
	rule map[string]int
	// carries says of each rule whether a path rests on it.
	carries []bool
	changed bool
	erred   erred
}

// field is how an attribute is read, and whose word counts most.
type field struct {
	attribute.Declaration
	prefer []string
}

const agreementPart = "agreement-"

func newInForce(a *agreement.Agreement, version uint32) *inForce {
	f := &inForce{Agreement: a, version: version, rule: make(map[string]int, len(a.Rules)), carries: make([]bool, len(a.Rules))}
	for i := range a.Rules {
		f.rule[a.Rules[i].ID] = i
	}
	for _, p := range a.Paths {
		if p.Rule >= 0 {
			f.carries[p.Rule] = true
		}
	}
	f.erred = newErred(f)
	return f
}

// advance says whether a message is new, and takes note of it if so.
func (g *Log) advance(producer string, at fold.Origin) bool {
	i, ok := slices.BinarySearchFunc(g.origins, producer, func(o producerOrigin, p string) int { return cmp.Compare(o.producer, p) })
	switch {
	case !ok:
		g.origins = slices.Insert(g.origins, i, producerOrigin{keep(producer), at})
	case at.After(g.origins[i].last):
		g.origins[i].last = at
	default:
		return false
	}
	g.changed = true
	return true
}

// enforce puts a version in force.
func (g *Log) enforce(a *agreement.Agreement, version uint32) {
	f := newInForce(a, version)
	f.changed = true
	at, ok := g.at(a.Name)
	if ok {
		g.agreements[at] = f
	} else {
		g.agreements = slices.Insert(g.agreements, at, f)
	}
	g.epoch++
	g.changed = true
	g.declare()
}

func (g *Log) at(name string) (int, bool) {
	return slices.BinarySearchFunc(g.agreements, name, func(f *inForce, n string) int { return cmp.Compare(f.Name, n) })
}

// agreement returns the version in force of an agreement; nil if there is none.
func (g *Log) agreement(name string) *inForce {
	if at, ok := g.at(name); ok {
		return g.agreements[at]
	}
	return nil
}

// InForce returns the version in force of an agreement in this shard; nil and 0 if there is none.
func (g *Log) InForce(name string) (*agreement.Agreement, uint32) {
	if f := g.agreement(name); f != nil {
		return f.Agreement, f.version
	}
	return nil, 0
}

// declare collects the declared attributes. A lead has one value of an attribute whatever agreements are in force, so
// where several declare it the first by name decides.
func (g *Log) declare() {
	for space := range g.fields {
		g.fields[space] = map[string]field{}
	}
	for _, f := range g.agreements {
		for name, d := range f.Fields {
			for space := range ofIDs {
				n, ok := strings.CutPrefix(name, spacePrefix[space])
				if !ok {
					continue
				}
				if _, ok := g.fields[space][n]; !ok {
					g.fields[space][n] = field{
						attribute.Declaration{Type: attribute.Type(d.Type), Range: d.Range}, d.Prefer,
					}
				}
			}
		}
	}
}

// Changes implements fold.State.
func (g *Log) Changes(put func(part string, value []byte)) {
	if !g.changed {
		return
	}
	g.changed = false
	b := appendUint([]byte{encoding}, uint64(g.version))
	b = appendUint(b, g.epoch)
	b = appendUint(b, uint64(len(g.origins)))
	for _, o := range g.origins {
		b = appendText(b, o.producer)
		b = appendInt(b, o.last.Incarnation)
		b = appendUint(b, o.last.Sequence)
		b = appendUint(b, uint64(o.last.Ordinal))
	}
	b = appendUint(b, uint64(len(g.agreements)))
	for _, f := range g.agreements {
		b = appendText(b, f.Name)
		b = appendUint(b, uint64(f.version))
	}
	put("", b)
	for _, f := range g.agreements {
		if f.changed {
			f.changed = false
			put(agreementPart+f.Name, f.Document)
		}
	}
}

func loadLog(main []byte) (*Log, []string, error) {
	g := &Log{version: 1}
	g.declare()
	if main == nil {
		return g, nil, nil
	}
	r := &reader{b: main}
	if v := r.byte(); v != encoding {
		return nil, nil, fmt.Errorf("lead: the shard's state has the unknown encoding %d", v)
	}
	version := r.uint()
	if r.err == nil && (version == 0 || version > Newest) {
		return nil, nil, &fold.VersionError{Version: "lead-" + strconv.FormatUint(version, 10), Newest: Version}
	}
	g.version, g.epoch = uint32(version), r.uint()
	g.origins = make([]producerOrigin, r.count(4))
	for i := range g.origins {
		g.origins[i] = producerOrigin{r.text(), fold.Origin{Incarnation: r.int(), Sequence: r.uint(), Ordinal: uint32(r.uint())}}
	}
	var parts []string
	for range r.count(2) {
		name, version := r.text(), uint32(r.uint())
		g.agreements = append(g.agreements, &inForce{Agreement: &agreement.Agreement{Name: name}, version: version})
		parts = append(parts, agreementPart+name)
	}
	if r.err == nil && len(r.b) > 0 {
		r.fail()
	}
	return g, parts, r.err
}

// LoadPart implements fold.State.
func (g *Log) LoadPart(part string, value []byte) error {
	name, _ := strings.CutPrefix(part, agreementPart)
	at, ok := g.at(name)
	if !ok {
		return errDamaged
	}
	a, err := parse(value)
	if err != nil {
		return err
	}
	g.agreements[at] = newInForce(a, g.agreements[at].version)
	g.declare()
	return nil
}

// parse compiles a document that was found valid when it was put in force.
func parse(doc []byte) (*agreement.Agreement, error) {
	a, findings := agreement.Parse(slices.Clone(doc))
	for _, f := range findings {
		if f.Severity == document.Error {
			return nil, fmt.Errorf("lead: the agreement's document is invalid: line %d, column %d", f.Line, f.Column)
		}
	}
	return a, nil
}
