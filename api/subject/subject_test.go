package subject

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/leadbaton/baton/api/leadkey"
)

var key = leadkey.FromEmail("d@acme.example") // 13a7...

// TestNames pins every name: they are contract.
func TestNames(t *testing.T) {
	for want, got := range map[string]string{
		"baton.engagement.web.1.3a7":      ForEvent("web", key),
		"baton.engagement._shard-3.1.3a7": Inbound(ShardProducer("3"), key),
		"baton.engagement._router.1.3a7":  Inbound("router", key),
		"baton.engagement._router.b.000":  InboundAll("router", "b"),
		"baton.engagement._shard-3.b.*":   ProducerPrefix(ShardProducer("3"), "b"),
		"baton.engagement.*.1.3a7":        LeadFilter(key),
		"baton.engagement.*.b.*":          EngagementFilter("b"),
		"baton.engagement.web.>":          SourceFilter("web"),
		"ENGAGEMENT_B":                    EngagementStream("b"),
		"ENGAGEMENT_0":                    EngagementStream("0"),
		"baton.intake.web":                Intake("web"),
		"baton.leads.1.3a7.7-1-0":         Leads(key, "7-1-0"),
		"baton.leads.1.3a7.*":             LeadsOf(key),
		"baton.leads.b.>":                 LeadsOfShard("b"),
		"baton.handoffs.h-1":              Handoffs("h-1"),
		"baton.handoffs._":                Handoffs(""),
		"baton.rejected.b.17":             Rejected("b", "17"),
		"_router":                         OwnSource("router"),
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if EngagementStream("g") != "" || EngagementStream("A") != "" || EngagementStream("") != "" {
		t.Error("there is a stream for a shard that is none")
	}
	for i, s := range Shards {
		if ShardNumber(s) != i {
			t.Errorf("the number of shard %s is %d", s, ShardNumber(s))
		}
		if back, ok := ShardOfStream(EngagementStream(s)); !ok || back != s {
			t.Errorf("the shard of %s is %q", EngagementStream(s), back)
		}
	}
	if _, ok := ShardOfStream("LEADS"); ok {
		t.Error("LEADS is the stream of a shard")
	}
}

func TestStreamOf(t *testing.T) {
	for subject, want := range map[string]string{
		ForEvent("web", key):    "ENGAGEMENT_1",
		Leads(key, "f"):         "LEADS",
		Handoffs(""):            "HANDOFFS",
		Rejected("1", "7"):      "REJECTED",
		Intake("web"):           "INTAKE",
		"baton.engagement.web":  "",
		"orders.new":            "",
		"baton.engagement.*.1.": "",
	} {
		if got, ok := StreamOf(subject); got != want || ok != (want != "") {
			t.Errorf("%s is in %q, want %q", subject, got, want)
		}
	}
}

func TestParseEngagement(t *testing.T) {
	for _, source := range []string{"web", "a", "-", "0", strings.Repeat("x", 32), "_router", "_shard-f", "_operator"} {
		s := ForEvent(source, key)
		e, ok := ParseEngagement(s)
		if !ok || e != (Engagement{Source: source, Shard: "1", Bucket: "3a7"}) || e.String() != s || !e.Holds(key) {
			t.Errorf("%s is %+v, %v", s, e, ok)
		}
		if own := source[0] == '_'; e.Own() != own || own && e.Producer() != source[1:] || !own && e.Producer() != "" {
			t.Errorf("%s is own: %v, of %q", s, e.Own(), e.Producer())
		}
	}
	for _, s := range []string{
		"", "baton.engagement.", "baton.engagement.web", "baton.engagement.web.1", "baton.engagement..1.3a7", "baton.engagement.web.1.3a",
		"baton.engagement.web.1.3A7", "baton.engagement.web.g.3a7", "baton.engagement.web.1.3a7.x", "baton.engagement.we_b.1.3a7",
		"baton.engagement.Web.1.3a7", "baton.engagement.*.1.3a7", "baton.engagement.a.b.1.3a7", "baton.engagement._.1.3a7",
		"baton.engagement." + strings.Repeat("x", 33) + ".1.3a7", "baton.engagements.web.1.3a7",
	} {
		if e, ok := ParseEngagement(s); ok {
			t.Errorf("%q is %+v", s, e)
		}
	}
	other, _ := ParseEngagement("baton.engagement.web.1.3a8")
	if other.Holds(key) || other.Holds("") {
		t.Error("a subject holds a lead of another bucket")
	}
}

func TestParseLeads(t *testing.T) {
	if shard, bucket, place, ok := ParseLeads(Leads(key, "1-7-0")); !ok || shard != "1" || bucket != "3a7" || place != "1-7-0" {
		t.Errorf("got %s, %s, %s, %v", shard, bucket, place, ok)
	}
	for _, s := range []string{"", Leads(key, ""), Leads(key, "a.b"), Leads(key, "*"), "baton.leads.g.3a7.x", "baton.leads.1.3A7.x", "baton.leads.1.3a7", "baton.leads.1.3a.xx", LeadsOf(key), LeadsOfShard("b")} {
		if shard, bucket, place, ok := ParseLeads(s); ok {
			t.Errorf("%q is %s, %s, %s", s, shard, bucket, place)
		}
	}
}

func TestParseIntake(t *testing.T) {
	if s, ok := ParseIntake(Intake("web")); !ok || s != "web" {
		t.Errorf("got %q, %v", s, ok)
	}
	for _, s := range []string{"", "baton.intake.", "baton.intake._router", "baton.intake.a.b", "baton.intakes.a"} {
		if got, ok := ParseIntake(s); ok {
			t.Errorf("%q is of %q", s, got)
		}
	}
}

func TestValidSource(t *testing.T) {
	for source, want := range map[string]string{
		"web": "", "marketo-eu-2": "", strings.Repeat("x", 32): "",
		"": "source is empty", "_router": "Baton's own", "Web": "a-z", "a.b": "a-z", "a b": "a-z", strings.Repeat("x", 33): "1 to 32",
	} {
		err := ValidSource(source)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", source, err, want)
		}
	}
}

func TestAllocations(t *testing.T) {
	s := ForEvent("web", key)
	var b [64]byte
	if n := testing.AllocsPerRun(100, func() {
		if e, ok := ParseEngagement(s); !ok || !e.Holds(key) {
			t.Error("the subject is not the lead's")
		}
		_ = AppendEvent(b[:0], "web", key)
		_, _ = StreamOf(s)
	}); n != 0 {
		t.Errorf("reading and building a subject allocates %v times", n)
	}
}

// form is what ParseEngagement takes, as a pattern.
var form = regexp.MustCompile(`^baton\.engagement\.(_?[a-z0-9-]{1,32})\.([0-9a-f])\.([0-9a-f]{3})$`)

// FuzzParseEngagement compares with a regular expression: go test ./subject -fuzz FuzzParseEngagement
func FuzzParseEngagement(f *testing.F) {
	f.Add("baton.engagement.web.1.3a7")
	f.Add("baton.engagement._shard-3.f.000")
	f.Add("baton.engagement.a.b.1.3a7")
	f.Add("baton.engagement.web.1.3a7\n")
	f.Fuzz(func(t *testing.T, s string) {
		e, ok := ParseEngagement(s)
		m := form.FindStringSubmatch(s)
		if ok != (m != nil) || ok && fmt.Sprint(m[1:]) != fmt.Sprint([]string{e.Source, e.Shard, e.Bucket}) {
			t.Fatalf("%q is %+v, %v; the pattern says %v", s, e, ok, m)
		}
	})
}
