package condition

import (
	"sync"
	"testing"

	"github.com/leadbaton/baton/services/internal/attribute"
)

var fields = map[string]attribute.Type{
	"lead.country":      attribute.TypeCountry,
	"lead.optIn":        attribute.TypeBool,
	"account.employees": attribute.TypeInt,
	"account.openDeals": attribute.TypeInt,
}

var scope = Scope{
	Event: attribute.Map{
		"path":       attribute.TextOf("/pricing/enterprise"),
		"form":       attribute.TextOf("demo"),
		"seats":      attribute.FloatOf("25"),
		"share":      attribute.FloatOf("0.5"),
		"paid":       attribute.BoolOf(true),
		"nothing":    {Kind: attribute.Null},
		"utm-source": attribute.TextOf("news"),
		"at":         attribute.TextOf("2026-11-16T09:00:00Z"),
		"items":      {Kind: attribute.JSON, Str: `[{"sku":"a","n":1},{"sku":"b","n":2}]`},
		"utm":        {Kind: attribute.JSON, Str: `{"medium":"cpc","term":null,"tags":["x","y"]}`},
		"broken":     {Kind: attribute.JSON, Str: `{"medium`},
	},
	Lead: attribute.Map{
		"email":       attribute.TextOf("d@acme.example"),
		"emailDomain": attribute.TextOf("acme.example"),
		"freeMail":    attribute.BoolOf(false),
		"title":       attribute.TextOf("Director of Sales"),
		"country":     attribute.TextOf("DE"),
		"optIn":       attribute.BoolOf(true),
	},
	Account:   attribute.Map{"employees": attribute.IntOf(200), "domain": attribute.TextOf("acme.example")},
	Source:    "web",
	Score:     82.5,
	Grade:     "A1",
	Path:      "hand-raise",
	Agreement: "b2b",
}

func TestMatch(t *testing.T) {
	const (
		yes = "true"
		no  = "false"
		bad = "error"
	)
	for src, want := range map[string]string{
		`event.path.startsWith("/pricing")`: yes,
		`event.form == "demo"`:              yes,
		`event.form == "trial"`:             no,
		`event["utm-source"] == "news"`:     yes,
		`"path" in event`:                   yes,
		`"other" in event`:                  no,
		`source == "web"`:                   yes,
		`lead.title.matches("(?i)\\b(chief|vp|head|director)\\b")`:   yes,
		`lead.title.matches("(?i)student")`:                          no,
		`lead.country in ["DE", "AT", "CH"]`:                         yes,
		`lead.freeMail`:                                              no,
		`!lead.freeMail && lead.emailDomain == account.domain`:       yes,
		`account.employees >= 200`:                                   yes,
		`account.employees >= 200.5`:                                 no,
		`event.seats > 24`:                                           yes,
		`event.seats == 25`:                                          yes,
		`event.seats == 25.0`:                                        yes,
		`event.share < 1`:                                            yes,
		`event.seats >= account.employees`:                           no,
		`event.seats in [25, 50]`:                                    yes,
		`int(event.seats) % 2 == 1`:                                  yes,
		`event.paid`:                                                 yes,
		`event.nothing == null`:                                      yes,
		`has(event.nothing)`:                                         yes,
		`has(event.form)`:                                            yes,
		`has(event.other)`:                                           no,
		`has(lead.phone)`:                                            no,
		`has(lead.phone) && lead.phone.startsWith("+49")`:            no,
		`!has(account.openDeals) || account.openDeals == 0`:          yes,
		`event.items[1].sku == "b"`:                                  yes,
		`event.items.exists(i, i.sku == "b" && i.n == 2)`:            yes,
		`event.items.all(i, i.n > 1)`:                                no,
		`size(event.items) == 2`:                                     yes,
		`event.utm.medium == "cpc"`:                                  yes,
		`has(event.utm.medium)`:                                      yes,
		`has(event.utm.campaign)`:                                    no,
		`event.utm.term == null`:                                     yes,
		`"x" in event.utm.tags`:                                      yes,
		`event.utm.map(k, k) == ["medium", "tags", "term"]`:          yes,
		`event.utm == event.utm`:                                     yes,
		`timestamp(event.at).getFullYear() == 2026`:                  yes,
		`timestamp(event.at) + duration("1h") > timestamp(event.at)`: yes,
		`timestamp(event.at).getHours("+02:00") == 11`:               yes,
		`event.at.size() > 3 ? source == "web" : false`:              yes,
		`campaign.name == "autumn"`:                                  bad,
		`has(campaign.name)`:                                         no,
		`event.other == "x"`:                                         bad,
		`event.other`:                                                bad,
		`event.path`:                                                 bad,
		`event.path > 3`:                                             bad,
		`event.broken.medium == "cpc"`:                               bad,
		`event.items[7].sku == "b"`:                                  bad,
		`event.path.sub.sub == "x"`:                                  bad,
		`event.seats / 0.0 > 1.0`:                                    yes,
		`account.employees / 0 > 1`:                                  bad,
		`lead == lead`:                                               yes,
		"source ==\n  \"web\"":                                       yes,
	} {
		p, err := NewEnv(fields).Compile(src)
		if err != nil {
			t.Errorf("%s: %v", src, err)
			continue
		}
		if got := result(p, &scope); got != want {
			t.Errorf("%s = %s; want %s", src, got, want)
		}
	}
}

func result(p *Program, s *Scope) string {
	switch match, errored := p.Match(s); {
	case match && errored:
		return "true and error"
	case match:
		return "true"
	case errored:
		return "error"
	}
	return "false"
}

// CEL absorbs an error where the other side decides, whichever side it is on, and in loops too.
func TestErrorsAreAbsorbed(t *testing.T) {
	for src, want := range map[string]string{
		`event.other == "x" || source == "web"`:                      "true",
		`source == "web" || event.other == "x"`:                      "true",
		`event.other == "x" && source == "mail"`:                     "false",
		`source == "mail" && event.other == "x"`:                     "false",
		`event.other == "x" || source == "mail"`:                     "error",
		`event.other == "x" && source == "web"`:                      "error",
		`!(event.other == "x" || source == "web")`:                   "false",
		`event.items.exists(i, i.gone == 1 || i.sku == "b")`:         "true",
		`event.items.exists(i, i.gone == 1)`:                         "error",
		`event.items.all(i, i.gone == 1 && i.sku == "z")`:            "false",
		`event.other == "x" ? true : source == "web"`:                "error",
		`(event.other == "x" || source == "web") && has(lead.email)`: "true",
		`lead.freeMail || lead.phone == "1" || lead.optIn`:           "true",
	} {
		p, err := NewEnv(fields).Compile(src)
		if err != nil {
			t.Errorf("%s: %v", src, err)
			continue
		}
		if got := result(p, &scope); got != want {
			t.Errorf("%s = %s; want %s", src, got, want)
		}
	}
}

func TestNilProgramIsTrue(t *testing.T) {
	var p *Program
	if got := result(p, &Scope{}); got != "true" || p.String() != "true" {
		t.Errorf("nil = %s, %q", got, p.String())
	}
}

func TestEmptyScope(t *testing.T) {
	for src, want := range map[string]string{
		`event.path == "x"`: "error", `has(lead.email)`: "false", `"x" in account`: "false", `lead["x"] == "y"`: "error", `source == ""`: "true",
	} {
		p, err := NewEnv(nil).Compile(src)
		if err != nil {
			t.Fatal(err)
		}
		if got := result(p, &Scope{}); got != want {
			t.Errorf("%s = %s; want %s", src, got, want)
		}
	}
}

func TestRosterConditions(t *testing.T) {
	for src, want := range map[string]string{
		`score >= 80 && grade.startsWith("A")`:                   "true",
		`score > 82.4 && score < 83`:                             "true",
		`path == "hand-raise" && agreement == "b2b"`:             "true",
		`lead.country in ["DE", "AT", "CH"]`:                     "true",
		`account.employees >= 200 && lead.title.contains("Dir")`: "true",
	} {
		p, err := NewRosterEnv(nil).Compile(src)
		if err != nil {
			t.Errorf("%s: %v", src, err)
			continue
		}
		if got := result(p, &scope); got != want {
			t.Errorf("%s = %s; want %s", src, got, want)
		}
	}
}

func TestProgramsAreSafeForConcurrentUse(t *testing.T) {
	env := NewEnv(fields)
	var programs []*Program
	for _, src := range []string{`event.path.startsWith("/pricing")`, `event.other == "x"`, `event.items.exists(i, i.sku == "b")`} {
		p, err := env.Compile(src)
		if err != nil {
			t.Fatal(err)
		}
		programs = append(programs, p)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				for i, want := range []string{"true", "error", "true"} {
					if got := result(programs[i], &scope); got != want {
						t.Errorf("%s = %s; want %s", programs[i], got, want)
					}
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkMatch holds each condition's shape against cel-go's evaluation of it.
func BenchmarkMatch(b *testing.B) {
	for _, c := range []struct{ name, src string }{
		{"startsWith", `event.path.startsWith("/pricing")`},
		{"equals", `event.form == "demo"`},
		{"unknown", `event.other == "demo"`},
		{"regex", `lead.title.matches("(?i)\\b(chief|vp|head|director)\\b")`},
		{"compare", `account.employees >= 200`},
		{"in", `lead.country in ["DE", "AT", "CH"]`},
		{"joined", `event.path.startsWith("/pricing") && (event.seats > 24 || event.form == "demo") && !lead.freeMail`},
		{"loop", `event.items.exists(i, i.sku == "b")`},
	} {
		p, err := NewEnv(fields).Compile(c.src)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(c.name+"/match", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.Match(&scope)
			}
		})
		b.Run(c.name+"/cel-go", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.ask(&scope)
			}
		})
	}
}
