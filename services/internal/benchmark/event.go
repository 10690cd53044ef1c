package benchmark

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// Agreement is the document that all parts score under: 24 engagement rules and 6 fit rules with conditions like those of
// the example. Only a demo request qualifies: the backlog has none, so that every run does the same.
func Agreement() []byte {
	var s strings.Builder
	s.WriteString(`apiVersion: baton/v1
kind: Agreement
name: bench
fields:
  lead.country: {type: country}
  account.employees: {type: int, range: low}
engagement:
  halfLife: 14d
  groups:
    web: {limit: 60}
    email: {limit: 20}
    forms: {limit: 60}
  rules:
`)
	for i, p := range pages {
		capped := ""
		if i == 0 {
			capped = ", cap: {points: 45, per: 7d}"
		}
		fmt.Fprintf(&s, "    - {id: page-%d, on: page.viewed, when: 'event.path.startsWith(%q)', points: %d, group: web%s}\n", i, p, i+1, capped)
	}
	for i, f := range forms {
		fmt.Fprintf(&s, "    - {id: form-%s, on: form.submitted, when: 'event.form == %q', points: %d, group: forms}\n", f, f, 2*i+1)
	}
	for i := range mailRules {
		fmt.Fprintf(&s, "    - {id: mail-%d, on: [email.opened, email.clicked], when: 'campaign.name == \"campaign-%d\"', points: 1, group: email, cap: {points: 5, per: 7d}}\n", i, i)
	}
	s.WriteString("fit:\n  rules:\n")
	for i, c := range []string{
		`lead.title.matches("(?i)\\b(chief|vp|head|director)\\b")`, "account.employees >= 200", "lead.freeMail",
		`lead.country in ["DE", "AT", "CH"]`, `account.industry == "retail"`, "has(lead.phone)",
	} {
		fmt.Fprintf(&s, "    - {id: fit-%d, when: '%s', points: %d}\n", i, c, 5*i)
	}
	s.WriteString("qualification:\n  require: [lead.email]\n  paths:\n    - {id: hand-raise, rule: form-demo}\n    - {id: scored, threshold: 250}\n")
	return []byte(s.String())
}

// Roster is a team without limits.
func Roster() []byte {
	return []byte(`apiVersion: baton/v1
kind: Roster
channels:
  desk: {grpc: {}}
teams:
  - id: world
    pick: rotate
    reps: [rep-1, rep-2, rep-3, rep-4]
    hours: {zone: UTC, shifts: [{days: mon-sun, from: "00:00", to: "24:00"}]}
reps:
  - {id: rep-1, name: One, email: one@sales.example, channels: [{use: desk}]}
  - {id: rep-2, name: Two, email: two@sales.example, channels: [{use: desk}]}
  - {id: rep-3, name: Three, email: three@sales.example, channels: [{use: desk}]}
  - {id: rep-4, name: Four, email: four@sales.example, channels: [{use: desk}]}
`)
}

// What the events are made of, and the rules ask for. The first form asks for a handoff.
var (
	pages      = []string{"/pricing", "/product", "/docs", "/blog", "/careers", "/compare", "/customers", "/security", "/partners", "/legal"}
	forms      = []string{"demo", "contact", "trial", "newsletter", "webinar", "download"}
	titles     = []string{"Director of Sales", "Software Engineer", "VP Marketing", "Analyst", "Student", "Head of Operations", "Buyer"}
	countries  = []string{"DE", "US", "FR", "AT", "GB", "Switzerland", "ES"}
	industries = []string{"retail", "field-service", "software", "logistics"}
	channels   = []string{"paid_search", "email", "social", "partner"}
	referrers  = []string{"https://search.example/results?q=lead+routing", "https://news.example/2026/tools", "https://social.example/post/18273645"}
	agents     = []string{"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36", "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X)"}
	campaigns  = numbered("campaign-", mailRules+4)
	// kinds are the types of events by their share of 40.
	kinds = expand([]share{
		{"page.viewed", 20}, {"email.opened", 7}, {"email.clicked", 4}, {"form.submitted", 2}, {"ad.clicked", 2},
		{"asset.downloaded", 2}, {"webinar.attended", 1}, {"lead.updated", 2},
	})
)

const (
	mailRules = 8
	// tieEvery is how many events there are for each that ties its address to a browser, and for each that ties it to a
	// number in another system.
	tieEvery = 2000
)

type share struct {
	kind  string
	parts int
}

func expand(shares []share) (all []string) {
	for _, s := range shares {
		for range s.parts {
			all = append(all, s.kind)
		}
	}
	return all
}

func numbered(prefix string, n int) (all []string) {
	for i := range n {
		all = append(all, prefix+strconv.Itoa(i))
	}
	return all
}

// Events makes realistic engagement events, the same ones each time. Some leads have very many events, most have few
// (Zipf's law).
type Events struct {
	rng  *rand.Rand
	zipf *rand.Zipf
	at   time.Time
	n    int
}

// NewEvents returns events of a number of leads, the first one dated at an instant.
func NewEvents(leads int, at time.Time) *Events {
	rng := rand.New(rand.NewPCG(1, 2))
	return &Events{rng: rng, zipf: rand.NewZipf(rng, 1.1, 10, uint64(leads-1)), at: at}
}

// The parts of an event, as a marketing platform would write them.
type (
	cloudEvent struct {
		SpecVersion string `json:"specversion"`
		ID          string `json:"id"`
		Source      string `json:"source"`
		Type        string `json:"type"`
		Time        string `json:"time"`
		ContentType string `json:"datacontenttype"`
		Data        data   `json:"data"`
	}
	data struct {
		Lead       person         `json:"lead"`
		Account    *company       `json:"account,omitempty"`
		Campaign   *campaign      `json:"campaign,omitempty"`
		Properties map[string]any `json:"properties,omitempty"`
	}
	person struct {
		Email       string            `json:"email"`
		IDs         map[string]string `json:"ids,omitempty"`
		AnonymousID string            `json:"anonymousId,omitempty"`
		Name        string            `json:"name,omitempty"`
		Title       string            `json:"title,omitempty"`
		Company     string            `json:"company,omitempty"`
		Phone       string            `json:"phone,omitempty"`
		Country     string            `json:"country,omitempty"`
	}
	company struct {
		Domain    string `json:"domain"`
		Name      string `json:"name,omitempty"`
		Employees int    `json:"employees,omitempty"`
		Industry  string `json:"industry,omitempty"`
	}
	campaign struct {
		Name    string `json:"name"`
		Channel string `json:"channel"`
		Asset   string `json:"asset,omitempty"`
	}
)

// Next returns the next event, up to a minute of event time after the one before.
func (e *Events) Next() []byte {
	e.at = e.at.Add(time.Duration(e.rng.IntN(60_000)) * time.Millisecond)
	who := int(e.zipf.Uint64())
	return e.write(kinds[e.rng.IntN(len(kinds))], who, fmt.Sprintf("person-%06d", who), e.at)
}

// At returns the next event as one of that instant.
func (e *Events) At(at time.Time) []byte {
	e.at = at
	return e.Next()
}

// Demo returns the demo request of a lead that had no event before, and its address.
func (e *Events) Demo(at time.Time) (body []byte, address string) {
	name := fmt.Sprintf("demo-%06d", e.n)
	address = fmt.Sprintf("%s@company-%04d.example", name, e.n%3000)
	return e.write("form.submitted", e.n, name, at), address
}

func (e *Events) write(kind string, who int, name string, at time.Time) []byte {
	e.n++
	domain := "company-" + pad(who%3000, 4) + ".example"
	d := data{Lead: person{Email: name + "@" + domain}}
	demo := strings.HasPrefix(name, "demo-")
	if demo || kind == "lead.updated" || e.rng.IntN(5) == 0 {
		d.Lead.Name, d.Lead.Title, d.Lead.Company = "Person "+strconv.Itoa(who), titles[who%len(titles)], "Company "+strconv.Itoa(who%3000)
		d.Lead.Country = countries[who%len(countries)]
		if who%3 == 0 {
			d.Lead.Phone = "+49 30 " + pad(who, 7)
		}
		d.Account = &company{Domain: domain, Name: d.Lead.Company, Employees: who % 3000, Industry: industries[who%len(industries)]}
	}
	switch e.n % tieEvery {
	case 0:
		d.Lead.AnonymousID = "browser-" + pad(e.n, 9)
	case tieEvery / 2:
		d.Lead.IDs = map[string]string{"crm": pad(e.n, 9)}
	}
	switch kind {
	case "page.viewed":
		d.Account = &company{Domain: domain}
		d.Properties = map[string]any{
			"path": pages[e.rng.IntN(len(pages))] + "/" + strconv.Itoa(e.rng.IntN(50)), "referrer": referrers[e.rng.IntN(len(referrers))],
			"device": "desktop", "userAgent": agents[e.rng.IntN(len(agents))], "seconds": e.rng.IntN(300),
		}
		if e.rng.IntN(3) == 0 {
			d.Campaign = e.campaign()
		}
	case "form.submitted":
		form := forms[0]
		if !demo {
			form = forms[1+e.rng.IntN(len(forms)-1)]
		}
		d.Properties = map[string]any{"form": form, "path": pages[0], "fields": map[string]any{"team": e.rng.IntN(90), "message": "Please tell me more."}}
		d.Campaign = e.campaign()
	case "lead.updated":
	default:
		d.Campaign = e.campaign()
		d.Properties = map[string]any{"asset": "guide-" + strconv.Itoa(e.rng.IntN(9)), "link": "https://www.vendor.example/go?utm_source=mail&utm_content=b" + strconv.Itoa(e.rng.IntN(9))}
	}
	b, err := json.Marshal(cloudEvent{"1.0", "01JD" + pad(e.n, 22), "web", kind, at.UTC().Format(time.RFC3339Nano), "application/json", d})
	if err != nil {
		panic("benchmark: an event cannot be written: " + err.Error())
	}
	return b
}

func (e *Events) campaign() *campaign {
	n := e.rng.IntN(len(campaigns))
	return &campaign{Name: campaigns[n], Channel: channels[n%len(channels)], Asset: "asset-" + strconv.Itoa(n)}
}

func pad(n, digits int) string {
	s := strconv.Itoa(n)
	return strings.Repeat("0", max(0, digits-len(s))) + s
}
