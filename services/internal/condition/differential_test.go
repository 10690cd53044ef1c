package condition

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/leadbaton/baton/services/internal/attribute"
)

// What a condition's shape says is what cel-go says of it: its result, and whether it ended in an error. Conditions and
// scopes are made of chance; cel-go evaluates the same checked condition.

// source is what chance is drawn from: bytes of the fuzzer, zeros when they are used up.
type source struct{ bytes []byte }

func (c *source) below(n int) int {
	if len(c.bytes) == 0 {
		return 0
	}
	b := c.bytes[0]
	c.bytes = c.bytes[1:]
	return int(b) % n
}

func (c *source) one(of ...string) string { return of[c.below(len(of))] }

var (
	texts = []string{
		"", "a", "demo", "Demo", "/pricing", "/pricing/enterprise", "/careers", "DE", "AT", "über", "日本語", "e\u0301", "\U0001F600", "true", "1", "1.0", "null",
		"a b\tc", "Director of Sales", "x\xff",
	}
	wholes = []int64{0, 1, -1, 2, 3, 7, 24, 25, 200, 500, 1 << 53, 1<<53 + 1, -1 << 53, math.MaxInt64, math.MaxInt64 - 1, math.MinInt64, math.MinInt64 + 1}
	// None of an event's numbers is infinite or NaN; a roster's score could be.
	doubles = []float64{
		0, math.Copysign(0, -1), 1, -1, 2, 3, 0.5, 25, 24.999999999999996, 200, 1 << 53, 1<<53 + 2, -1 << 53, 1 << 63, -1 << 63, 1<<63 - 1024, 1e300, -1e300, 5e-324,
		math.NaN(), math.Inf(1), math.Inf(-1),
	}
	objects = []string{
		`{"medium":"cpc","n":3,"deep":{"a":[1,"x",null]}}`, `{}`, `[]`, `[1,2,3]`, `["a","demo"]`, `{"medium"`, `[null]`, `{"a":true}`,
	}
	names = []string{"path", "form", "seats", "paid", "utm", "utm-source", "other", "title", "country", "optIn", "employees", "openDeals", "freeMail", "emailDomain"}
)

// literal returns a literal of CEL.
func (c *source) literal() string {
	switch c.below(8) {
	default:
		return c.text()
	case 4:
		return fmt.Sprint(wholes[c.below(len(wholes))])
	case 5:
		return celDouble(doubles[c.below(len(doubles)-3)])
	case 6:
		return c.one("true", "false", "null")
	case 7:
		return c.one("3u", "b'a'", "[1, 2]", `["a"]`, "1 + 2", "duration('1h')", "2.0 * 3.0", "'a' + 'b'")
	}
}

func (c *source) text() string { return celText(texts[c.below(len(texts)-1)]) }

func celText(s string) string {
	return `"` + strings.NewReplacer("\t", `\t`, `"`, `\"`, `\`, `\\`).Replace(s) + `"`
}

func celDouble(d float64) string {
	if s := fmt.Sprintf("%g", d); strings.ContainsAny(s, ".e") {
		return s
	}
	return fmt.Sprintf("%g.0", d)
}

// value returns an expression that has a value.
func (c *source) value(depth int) string {
	switch c.below(12) {
	default:
		return c.field()
	case 6:
		return c.one("source", "grade", "path", "agreement")
	case 7:
		return "score"
	case 8, 9:
		return c.literal()
	case 10:
		v := c.field()
		return c.one("size("+v+")", v+".size()", "dyn("+v+")", "int("+v+")", "string("+v+")", v+" + "+v, v+".medium", v+"[0]", "type("+v+")")
	case 11:
		if depth <= 0 {
			return c.field()
		}
		return "(" + c.condition(depth-1) + c.one("", " ? "+c.value(depth-1)+" : "+c.value(depth-1)) + ")"
	}
}

func (c *source) field() string {
	of := c.one("event", "event", "campaign", "lead", "account")
	name := names[c.below(len(names))]
	if strings.Contains(name, "-") || c.below(6) == 0 {
		return of + `["` + name + `"]`
	}
	return of + "." + name
}

// condition returns an expression that is true or false, if it can be compiled at all.
func (c *source) condition(depth int) string {
	if depth > 0 {
		switch c.below(10) {
		case 0, 1:
			return "(" + c.condition(depth-1) + " && " + c.condition(depth-1) + ")"
		case 2, 3:
			return "(" + c.condition(depth-1) + " || " + c.condition(depth-1) + ")"
		case 4:
			return "!(" + c.condition(depth-1) + ")"
		case 5:
			return "(" + c.condition(depth-1) + " ? " + c.condition(depth-1) + " : " + c.condition(depth-1) + ")"
		}
	}
	switch c.below(16) {
	default:
		return c.value(depth) + c.one(" == ", " != ") + c.value(depth)
	case 4, 5:
		return c.value(depth) + c.one(" < ", " <= ", " > ", " >= ") + c.value(depth)
	case 6, 7:
		return c.value(depth) + "." + c.one("startsWith", "endsWith", "contains") + "(" + c.one(c.text(), c.value(depth)) + ")"
	case 8:
		return c.value(depth) + ".matches(" + c.one(`"(?i)\\b(chief|vp|head|director)\\b"`, `"^/pricing"`, `"^$"`, `"[^a-z]"`, `"日"`) + ")"
	case 9, 10:
		list := c.literal()
		for range c.below(12) {
			list += ", " + c.literal()
		}
		return c.value(depth) + " in [" + list + "]"
	case 11:
		return "has(" + c.one("event", "campaign", "lead", "account", "event.utm") + "." + c.one("path", "form", "utm", "other", "title", "freeMail", "medium") + ")"
	case 12:
		return c.one(c.text(), c.value(depth)) + " in " + c.one("event", "campaign", "lead", "account", "event.utm", "[]")
	case 13:
		return c.field()
	case 14:
		return c.one("true", "false", "event.utm.exists(x, x == 3)", "event.utm.all(x, event.form == 'demo')", "event == event", "lead == lead")
	case 15:
		return "event." + names[c.below(len(names))] + c.one(" == 'demo'", " > 24", " == true", ".startsWith('/pricing')", " in ['demo', 'DE']")
	}
}

// object returns what is known of one object. Now and then a value is not of its declared type, as none ever should be.
func (c *source) object() attribute.Object {
	switch c.below(8) {
	case 0:
		return nil
	case 1:
		return attribute.Map{}
	}
	m := attribute.Map{}
	for _, name := range names {
		var v attribute.Value
		switch c.below(9) {
		case 0:
			continue
		case 1:
			v = attribute.Value{Kind: attribute.Null}
		case 2:
			v = attribute.IntOf(wholes[c.below(len(wholes))])
		case 3:
			v = attribute.Value{Kind: attribute.Float, Num: doubles[c.below(len(doubles))]}
		case 4:
			v = attribute.BoolOf(c.below(2) == 1)
		case 5:
			v = attribute.Value{Kind: attribute.JSON, Str: objects[c.below(len(objects))]}
		case 6:
			v = c.declared(name)
		default:
			v = attribute.TextOf(texts[c.below(len(texts))])
		}
		m[name] = v
	}
	return m
}

// declared returns a value of the type that the agreement of these tests declares for a lead's or an account's field.
func (c *source) declared(name string) attribute.Value {
	switch name {
	case "employees", "openDeals", "seats":
		return attribute.IntOf(wholes[c.below(len(wholes))])
	case "optIn", "freeMail", "paid":
		return attribute.BoolOf(c.below(2) == 1)
	}
	return attribute.TextOf(texts[c.below(len(texts))])
}

func (c *source) scope() *Scope {
	return &Scope{
		Event: c.object(), Lead: c.object(), Account: c.object(), Campaign: c.object(),
		Source: texts[c.below(len(texts))], Score: doubles[c.below(len(doubles))],
		Grade: c.one("A1", "B2", ""), Path: texts[c.below(len(texts))], Agreement: c.one("b2b", "demo"),
	}
}

// differ says where the shape of a condition and cel-go differ; decided is whether the shape alone came to a result.
func differ(p *Program, s *Scope) (difference string, decided bool) {
	match, errored := p.ask(s)
	if m, e := p.Match(s); m != match || e != errored {
		return fmt.Sprintf("%s\nscope %#v\nmatch %v, errored %v; cel-go says %v, %v", p, s, m, e, match, errored), false
	}
	return "", p.test != nil && p.test.eval(s) != unsure
}

func differentialEnvs() []*Env { return []*Env{NewRosterEnv(fields), NewRosterEnv(nil)} }

// FuzzDifferential makes conditions and scopes of bytes; if condition is not empty, it is what is compiled.
func FuzzDifferential(f *testing.F) {
	envs := differentialEnvs()
	for i, src := range []string{
		"", `event.path.startsWith("/pricing") && event.seats > 24`, `lead.title.matches("(?i)x") || account.employees >= 200`,
		`!has(account.openDeals) || account.openDeals == 0`, `event.form in ["demo", "trial"] ? lead.freeMail : source == "web"`,
		`event.seats in [25, 50.0, "25", true]`, `size(event.path) > 3 && "utm-source" in event`, `event["utm-source"] != null && 3 < event.seats`,
	} {
		f.Add(src, randomBytes(uint64(i)))
	}
	f.Fuzz(func(t *testing.T, src string, data []byte) {
		c := &source{data}
		if src == "" {
			src = c.condition(4)
		}
		for _, env := range envs {
			p, err := env.Compile(src)
			if err != nil {
				continue
			}
			rest := *c
			for range 4 {
				if d, _ := differ(p, rest.scope()); d != "" {
					t.Fatal(d)
				}
			}
		}
	})
}

func randomBytes(seed uint64) []byte {
	rng := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, 512)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// The same with tens of thousands of pairs in every run. Every shape must have been met, and most pairs must have been
// decided without cel-go, or this would show nothing.
func TestShapesSayWhatCELSays(t *testing.T) {
	envs := differentialEnvs()
	shapes := map[string]int{}
	var compiled, pairs, decided int
	for seed := range uint64(2500) {
		c := &source{randomBytes(seed)}
		src := c.condition(int(seed % 4))
		for _, env := range envs {
			p, err := env.Compile(src)
			if err != nil {
				continue
			}
			compiled++
			count(shapes, p.test)
			for i := range uint64(16) {
				s := &source{randomBytes(seed<<8 | i<<1 | 1)}
				d, ok := differ(p, s.scope())
				if d != "" {
					t.Fatalf("seed %d: %s", seed, d)
				}
				pairs++
				if ok {
					decided++
				}
			}
		}
	}
	t.Logf("%d conditions, %d pairs, %d of them decided without cel-go; shapes: %v", compiled, pairs, decided, shapes)
	if pairs < 30_000 || decided < pairs/2 {
		t.Errorf("%d pairs, %d decided without cel-go: too few to show anything", pairs, decided)
	}
	for _, shape := range []test{
		ask{}, always(true), all{}, some{}, not{}, &choice{}, &flag{}, &present{}, &equality{}, &isText{}, &order{}, &affix{}, &prefix{}, &pattern{}, &among{},
	} {
		if name := reflect.TypeOf(shape).String(); shapes[name] < 20 {
			t.Errorf("the shape %s was met %d times", name, shapes[name])
		}
	}
}

// Every number of the tables above with every other, by each operator: where doubles and whole numbers end, and where
// they cannot be told from their neighbours, chance comes too seldom.
func TestNumbersSayWhatCELSays(t *testing.T) {
	env := NewEnv(fields)
	var literals []string
	var values []attribute.Value
	for _, n := range wholes {
		literals, values = append(literals, fmt.Sprint(n)), append(values, attribute.IntOf(n))
	}
	for _, d := range doubles {
		if values = append(values, attribute.Value{Kind: attribute.Float, Num: d}); d-d == 0 {
			literals = append(literals, celDouble(d))
		}
	}
	for _, literal := range literals {
		for _, form := range []string{"%s == event.n", "event.n != %s", "event.n < %s", "event.n <= %s", "%s > event.n", "event.n >= %s", "event.n in [%s]", "event.n in ['x', %s]"} {
			p, err := env.Compile(fmt.Sprintf(form, literal))
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range values {
				if d, decided := differ(p, &Scope{Event: attribute.Map{"n": v}}); d != "" || !decided {
					t.Errorf("%s with %v: decided %v %s", p, v, decided, d)
				}
			}
		}
	}
}

// count counts the shapes of a condition.
func count(shapes map[string]int, t test) {
	if t == nil {
		shapes["none"]++
		return
	}
	shapes[reflect.TypeOf(t).String()]++
	switch t := t.(type) {
	case all:
		for _, part := range t {
			count(shapes, part)
		}
	case some:
		for _, part := range t {
			count(shapes, part)
		}
	case not:
		count(shapes, t.of)
	case *choice:
		count(shapes, t.when)
		count(shapes, t.then)
		count(shapes, t.otherwise)
	}
}

// The conditions that people write have a shape in all their parts: cel-go is not needed for them.
func TestCommonConditionsHaveAShape(t *testing.T) {
	env := NewEnv(fields)
	for _, src := range []string{
		`event.product == "payroll"`, `event.path.startsWith("/pricing")`, `event.form == "demo"`, `"demo" == event.form`, `event["utm-source"] != "news"`,
		`lead.title.matches("(?i)\\b(chief|vp|head|director)\\b")`, `account.employees >= 200`, `lead.freeMail`, `!lead.freeMail`, `account.stage == "customer"`,
		`account.openDeals > 0`, `account.domain == "rival.example"`, `has(lead.phone) && lead.phone.startsWith("+49")`, `lead.country in ["DE", "AT", "CH"]`,
		`event.seats >= 25.5 || event.seats in [1, 2]`, `size(event.path) > 3 && event.path.endsWith("/")`, `event.path.size() < 5`, `"coupon" in event`,
		`lead.optIn ? source == "web" : campaign.name.contains("x")`, `event.path.startsWith("/a") || (event.paid == true && event.form != null)`, `true`,
		`lead.emailDomain == account.domain`, `event.at < "2026"`, `source in ["web", "crm"]`,
	} {
		p, err := env.Compile(src)
		if err != nil {
			t.Errorf("%s: %v", src, err)
			continue
		}
		shapes := map[string]int{}
		if count(shapes, p.test); shapes["none"] > 0 || shapes[reflect.TypeOf(ask{}).String()] > 0 {
			t.Errorf("%s has parts without a shape: %v", src, shapes)
		}
	}
}

// Nothing is allocated but by cel-go.
func TestShapesAllocateNothing(t *testing.T) {
	p, err := NewEnv(fields).Compile(`(event.path.startsWith("/x") || event.seats > 24 || lead.country in ["AT"]) && !lead.freeMail && size(event.form) == 4`)
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { p.Match(&scope) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
	if got := result(p, &scope); got != "true" {
		t.Error(got)
	}
}
