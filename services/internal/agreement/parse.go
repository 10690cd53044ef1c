package agreement

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/leadbaton/baton/services/internal/condition"
	"github.com/leadbaton/baton/services/internal/document"
)

// APIVersion and Kind are what every agreement begins with.
const (
	APIVersion = "baton/v1"
	Kind       = "Agreement"
)

// Parse reads an agreement. The findings are in the order of the document; the Agreement is nil if any is an Error.
// It keeps doc.
func Parse(doc []byte) (*Agreement, []document.Finding) { return parse(doc, false) }

func parse(doc []byte, advise bool) (*Agreement, []document.Finding) {
	d := document.Parse(doc)
	p := &parser{a: &Agreement{Document: doc, written: map[string]string{}}, advise: advise}
	if d.Root().Present() {
		p.document(d.Root().Map())
	}
	findings := d.Findings()
	if document.Invalid(findings) {
		return nil, findings
	}
	return p.a, findings
}

// parser fills an Agreement from the nodes of its document. What a section needs of another is read before it.
type parser struct {
	a *Agreement
	// Conditions of applies see the event; of rules all; of fit, divert and disqualify what is known of the lead.
	overEvent, overAll, overLead *condition.Env
	deliver                      Term // sla.sales.deliver
	closesSaid                   bool
	advise                       bool // find what is valid but likely not meant, too
}

func (p *parser) document(m *document.Map) {
	m.Enum("apiVersion", []string{APIVersion}, document.Required)
	if kind := m.Get("kind", document.Required); kind.Present() && kind.Enum(Kind) == "" {
		return // another kind of document: its keys would only be noise
	}
	a := p.a
	a.Name = m.ID("name", document.Required)
	a.Owner = m.Text("owner")
	a.Review = p.duration(m.Get("review", document.NotInForce), day, tenYears)
	a.Market = m.Text("market")
	p.language(m.Map("language"))
	p.fields(m.Map("fields"))
	p.stages(m.List("stages"))
	p.overAll = condition.NewEnv(p.fieldTypes())
	p.overEvent = p.overAll.Only("event", "campaign", "source")
	p.overLead = p.overAll.Only("lead", "account")
	a.Applies = p.condition(m.Get("applies"), p.overEvent)
	p.engagement(m.Map("engagement", document.Required))
	p.fit(m.Map("fit"))
	p.grades(m.Get("grades"))
	p.sla(m.Map("sla"))
	p.qualification(m.Map("qualification", document.Required))
	p.consent(m.Map("consent"))
	p.account(m.Get("account", document.NotInForce))
	p.escalation(m.Get("escalation", document.NotInForce))
	p.reasons(m.Map("reasons"))
	p.targets(m.Get("targets", document.NotInForce))
	p.signers(m.Get("signers", document.NotInForce))
	tests := m.Get("tests")
	p.tests(tests.List())
	m.Done()
	if p.advise && len(p.a.Tests) == 0 {
		m.Node().Warnf("has no tests; a few examples of who is passed and who is not show both teams what they agree on")
	}
}

const (
	day      = 24 * time.Hour
	tenYears = 3650 * day
)

// duration reads a duration and keeps how it is written.
func (p *parser) duration(n document.Node, low, high time.Duration) time.Duration {
	d := n.DurationIn(low, high)
	if n.IsScalar() {
		p.a.written[n.Path()] = n.Written()
	}
	return d
}

func (p *parser) points(n document.Node) Points { return Points(n.Points()) }

// positive reads points above 0.
func (p *parser) positive(n document.Node) Points { return Points(n.Decimal(1, document.MaxPoints)) }

func (p *parser) optionalPoints(n document.Node) *Points {
	if !n.Present() {
		return nil
	}
	v := p.points(n)
	return &v
}

// condition compiles a condition; nil if the node is absent, wrong, or says just true.
func (p *parser) condition(n document.Node, env *condition.Env) *condition.Program {
	if !n.Present() {
		return nil
	}
	if !n.IsScalar() {
		n.Text() // says what it must be
		return nil
	}
	src := n.Written()
	if strings.TrimSpace(src) == "true" {
		return nil
	}
	program, err := env.Compile(src)
	if err != nil {
		for _, e := range condition.All(err) {
			n.ErrorWithin(e.Line, e.Column, "%s", e.Message)
		}
		return nil
	}
	for _, path := range program.Attributes() {
		p.adviseAttribute(n, path)
	}
	return program
}

var attributePattern = regexp.MustCompile(`^(lead|account)\.[A-Za-z][A-Za-z0-9_-]{0,63}$`)

// attribute reads the path of an attribute, such as lead.email.
func (p *parser) attribute(n document.Node) string {
	s := n.Text()
	if s == "" || attributePattern.MatchString(s) {
		p.adviseAttribute(n, s)
		return s
	}
	n.Errorf("%q is not an attribute; write lead. or account. and its name, such as lead.email", clip(s))
	return ""
}

func (p *parser) attributes(items []document.Node) []string {
	out := make([]string, 0, len(items))
	for _, item := range items {
		path := p.attribute(item)
		switch {
		case path == "":
		case slices.Contains(out, path):
			item.Errorf("%s is listed twice", path)
		default:
			out = append(out, path)
		}
	}
	return out
}

// unique says once more that an id must be the only one of its kind.
func unique(seen map[string]int, n document.Node, id string) {
	if id == "" {
		return
	}
	if line, twice := seen[id]; twice {
		n.Errorf("the id %s is already on line %d; ids are unique, since facts and reports are keyed by them", id, line)
		return
	}
	seen[id] = n.Line()
}

// clip cuts a value for a message.
func clip(s string) string {
	if r := []rune(s); len(r) > 48 {
		return string(r[:48]) + "…"
	}
	return s
}

func (p *parser) language(m *document.Map) {
	p.a.Language = map[string]string{}
	for _, e := range m.Entries() {
		p.a.Language[e.Key] = e.Value.Text()
	}
}

var sourcePattern = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)

func (p *parser) fields(m *document.Map) {
	p.a.Fields = map[string]Field{}
	for _, e := range m.Entries() {
		if !attributePattern.MatchString(e.Key) {
			e.KeyNode.Errorf("%q is not an attribute; write lead. or account. and its name, such as lead.country", clip(e.Key))
		}
		f := e.Value.Map()
		field := Field{Type: FieldType(f.Enum("type", []string{"text", "int", "bool", "country"}, document.Required))}
		if r := f.Get("range"); r.Present() {
			field.Range = r.Enum("low", "high")
			if field.Type != TypeInt {
				r.Errorf("only an int has a range")
			}
		}
		for _, source := range f.List("prefer") {
			s := source.Text()
			switch {
			case s == "":
			case !sourcePattern.MatchString(s):
				source.Errorf("%q is not a source: use a-z, 0-9 and -, at most 32", clip(s))
			case slices.Contains(field.Prefer, s):
				source.Errorf("%s is listed twice", s)
			default:
				field.Prefer = append(field.Prefer, s)
			}
		}
		f.Done()
		switch e.Key {
		case "lead.freeMail", "lead.emailDomain":
			e.KeyNode.Errorf("is computed from lead.email and cannot be declared")
		case "lead.email":
			if field.Type != TypeText && field.Type != "" {
				e.KeyNode.Errorf("must be a text, since it is who the lead is")
			}
		}
		p.a.Fields[e.Key] = field
	}
}

func (p *parser) fieldTypes() map[string]FieldType {
	types := make(map[string]FieldType, len(p.a.Fields))
	for name, f := range p.a.Fields {
		types[name] = f.Type
	}
	return types
}

// Enters are what moves a lead to a stage: its first points, a qualification, the delivery, an answer.
var Enters = []string{
	"scored", "qualified", "delivered", "acknowledged", "accepted", "attempted", "reached", "meeting", "opportunity",
	"nurture", "rejected", "disqualified", "lost", "won",
}

func (p *parser) stages(items []document.Node) {
	ids, enters := map[string]int{}, map[string]int{}
	for _, item := range items {
		m := item.Map()
		s := Stage{
			ID:     m.ID("id", document.Required),
			Name:   m.Text("name"),
			Enters: m.Enum("enters", Enters, document.Required),
			Owner:  m.Text("owner"),
			Expect: p.duration(m.Get("expect"), time.Minute, tenYears),
		}
		m.Done()
		unique(ids, item, s.ID)
		if line, twice := enters[s.Enters]; twice && s.Enters != "" {
			item.Errorf("%s already enters the stage on line %d; it can move a lead to one stage only", s.Enters, line)
		} else {
			enters[s.Enters] = item.Line()
		}
		if s.Name == "" {
			s.Name = s.ID
		}
		p.a.Stages = append(p.a.Stages, s)
	}
}

var typePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/:-]{0,127}$`)

// eventType reads the type of an event, or, where that is allowed, a prefix of types that ends in *.
func (p *parser) eventType(n document.Node, prefix bool) string {
	s := n.Text()
	word := s
	if prefix {
		word = strings.TrimSuffix(s, "*")
	}
	if s == "" || word == "" || typePattern.MatchString(word) {
		return s
	}
	if strings.Contains(word, "*") {
		n.Errorf("%q: a * may only stand at the end of a type in a rule's on", clip(s))
	} else {
		n.Errorf("%q is not the type of an event, such as page.viewed", clip(s))
	}
	return ""
}

func (p *parser) consent(m *document.Map) {
	p.a.Consent = map[string][]string{}
	for _, e := range m.Entries() {
		if !typePattern.MatchString(e.Key) {
			e.KeyNode.Errorf("%q is not the type of an event, such as email.unsubscribed", clip(e.Key))
		}
		var scopes []string
		items := e.Value.List()
		for _, item := range items {
			scopes = append(scopes, item.ID())
		}
		if e.Value.IsList() && len(items) == 0 {
			e.Value.Errorf("names nothing that is withdrawn; write [email], [phone] or [all]")
		}
		p.a.Consent[e.Key] = scopes
	}
}
