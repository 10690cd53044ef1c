package condition

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/leadbaton/baton/services/internal/attribute"
)

// What is wrong with a condition is found when it is compiled, with its place and in plain words.
func TestCompileErrors(t *testing.T) {
	all := NewEnv(fields)
	for _, c := range []struct {
		env       *Env
		src, want string
	}{
		{all, ``, `1:1: the condition is empty`},
		{all, "  \n", `1:1: the condition is empty`},
		{all, `account.employees.startsWith("x")`, `1:29: startsWith() of whole number does not work with text`},
		{all, `account.employees == "200"`, `1:19: == does not work with whole number, text`},
		{all, `lead.title > 3`, `1:12: > does not work with text, whole number`},
		{all, `lead.optIn == "yes"`, `1:12: == does not work with true/false, text`},
		{all, `!lead.title`, `1:1: ! does not work with text`},
		{all, `account.employees in ["a"]`, `1:19: in does not work with whole number, list(text)`},
		{all, `account.employees`, `1:1: a condition must be true or false, but this is whole number`},
		{all, `lead.title`, `1:1: a condition must be true or false, but this is text`},
		{all, `evnt.path == "x"`, `1:1: evnt is not known; a condition at this place may use event, lead, account, campaign, source`},
		{all, `score > 3.0`, `1:1: score is not known here; a condition at this place may use event, lead, account, campaign, source`},
		{all, `lead.title.beginsWith("x")`, `1:22: there is no function beginsWith(); usual ones are startsWith(), endsWith(), contains(), matches(), size(), has()`},
		{all, `lead.title.first == "x"`, `1:11: what is before the dot is text and has no fields`},
		{all, `lead.title.matches("(x")`, `1:20: the pattern of matches() is not a regular expression (RE2)`},
		{all, `lead.title.matches(event.pattern)`, `1:25: the pattern of matches() must be written out, such as "(?i)director"`},
		{all, `lead.title ==`, `1:14: this is not a condition: it ends too early`},
		{all, `lead.title = "x"`, `1:12: this is not a condition: token recognition error at: '= '`},
		{all, "true &&\n  source == 3", `2:10: == does not work with text, whole number`},
		{all, `lead.country == "Germany"`, `1:17: lead.country is a two-letter code: write "DE" for "Germany"`},
		{all, `"de" == lead.country`, `1:1: lead.country is a two-letter code: write "DE" for "de"`},
		{all, `lead["country"] in ["DE", "Atlantis"]`, `1:27: "Atlantis" is not a country; lead.country is a two-letter code such as "DE"`},
		{all, `{"a": 1}.all(k, k == "a")`, `1:1: maps {...} are not allowed in conditions; use a list [...]`},
		{all, `google.protobuf.Duration{seconds: 1} == duration("1s")`, `objects are not allowed in conditions`},
		{all, `baton.Lead{} == lead`, `objects are not allowed in conditions`},
		{all, `timestamp(event.at).getHours("Europe/Berlin") > 8`, `1:30: a zone must be written out as "UTC" or an offset such as "+02:00"`},
		{all, `timestamp("yesterday") > timestamp(event.at)`, `invalid timestamp argument`},
		{all.Only("lead", "account"), `event.path == "x"`, `1:1: event is not known here; a condition at this place may use lead, account`},
		{all, strings.Repeat("!", 5000) + "true", `expression code point size exceeds limit`},
		{all, strings.Repeat("(", 300) + "true" + strings.Repeat(")", 300), `recursion`},
		{all, `lead.title.matches("(a{1000}){50}")`, `the pattern of matches() is not a regular expression`},
	} {
		p, err := c.env.Compile(c.src)
		if err == nil {
			t.Errorf("%.60s: compiled", c.src)
			continue
		}
		var es Errors
		if p != nil || !errors.As(err, &es) || len(es) == 0 {
			t.Errorf("%.60s: %v, %T", c.src, p, err)
			continue
		}
		if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60s:\n got %s\nwant %s", c.src, err, c.want)
		}
	}
}

func TestAttributes(t *testing.T) {
	p, err := NewEnv(fields).Compile(`has(lead.phone) && lead["job-title"] == "x" && account.employees > 3 && lead.phone != "" && event.lead == "x"`)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"account.employees", "lead.job-title", "lead.phone"}; !slices.Equal(p.Attributes(), want) {
		t.Errorf("Attributes = %v; want %v", p.Attributes(), want)
	}
	if (*Program)(nil).Attributes() != nil {
		t.Error("a condition that is always true names attributes")
	}
}

// A loop in a loop over what an event carries ends as an error, soon and at the same place everywhere.
func TestLoopsAreBounded(t *testing.T) {
	p, err := NewEnv(nil).Compile(`event.n.all(a, event.n.all(b, event.n.all(c, event.n.all(d, a + b + c + d > -1.0))))`)
	if err != nil {
		t.Fatal(err)
	}
	list := "[" + strings.Repeat("1,", 999) + "1]"
	s := &Scope{Event: attribute.Map{"n": {Kind: attribute.JSON, Str: list}}}
	if got := result(p, s); got != "error" {
		t.Errorf("10^12 rounds: %s", got)
	}
	s.Event = attribute.Map{"n": {Kind: attribute.JSON, Str: "[1,2]"}}
	if got := result(p, s); got != "true" {
		t.Errorf("16 rounds: %s", got)
	}
}

func TestNothingOfAScopeIsKept(t *testing.T) {
	p, err := NewEnv(nil).Compile(`event.path == "x"`)
	if err != nil {
		t.Fatal(err)
	}
	if got := result(p, &Scope{Event: attribute.Map{"path": attribute.TextOf("x")}}); got != "true" {
		t.Error(got)
	}
	if got := result(p, &Scope{}); got != "error" {
		t.Errorf("after another scope: %s", got)
	}
}

func FuzzCompile(f *testing.F) {
	for _, src := range []string{
		`event.path.startsWith("/pricing")`, `lead.country in ["DE", "AT"]`, `account.employees >= 200 || has(lead.phone)`,
		`event.items.exists(i, i.sku == "b")`, `lead.title.matches("(?i)x")`, `event["utm-source"] == "a"`, `{"a": 1}["a"] == 1`,
		`timestamp(event.at).getHours("+02:00") == 11`, `campaign.name + source == "x"`, `dyn(lead) == 1`, `type(event) == type(lead)`,
		`[1, 2].map(x, x * 2) == [2, 4]`, `size(event) > 1`, `event.utm.map(k, k).size() > 1`,
	} {
		f.Add(src)
	}
	env, roster := NewEnv(fields), NewRosterEnv(nil)
	f.Fuzz(func(t *testing.T, src string) {
		for _, e := range []*Env{env, roster} {
			p, err := e.Compile(src)
			if (p == nil) != (err != nil) {
				t.Fatalf("program %v beside %v", p, err)
			}
			lines := strings.Count(src, "\n") + 1
			if err != nil {
				for _, part := range All(err) {
					if part.Line < 1 || part.Line > lines || part.Column < 1 || part.Message == "" {
						t.Errorf("error %+v in %d lines", part, lines)
					}
				}
				continue
			}
			first := result(p, &scope)
			if again := result(p, &scope); again != first || first == "true and error" {
				t.Errorf("%s, then %s", first, again)
			}
			result(p, &Scope{})
		}
	})
}
