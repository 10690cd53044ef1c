package agreement

import (
	"slices"
	"strings"
	"time"

	"github.com/leadbaton/baton/services/internal/document"
)

// DefaultDeliver is the window of an agreement that sets none.
const DefaultDeliver = time.Hour

var (
	clocks  = []string{string(ClockWall), string(ClockWorking)}
	periods = []string{"month", "quarter", "year"}
)

func (p *parser) sla(m *document.Map) {
	s := &p.a.SLA
	s.Clock = ClockWall
	if n := m.Get("clock"); n.Present() {
		s.Clock = Clock(n.Enum(clocks...))
	}
	sales := m.Map("sales")
	p.deliver = Term{Within: DefaultDeliver, From: "act", Clock: s.Clock}
	if n := sales.Get("deliver"); n.Present() {
		p.deliver = p.term(n, "act", time.Second, 30*day)
	}
	s.Deliver = p.deliver.Within
	s.Acknowledge = p.optionalTerm(sales.Get("acknowledge", document.NotInForce), nil, "delivered")
	s.FollowUp = p.optionalTerm(sales.Get("followUp", document.NotInForce), nil, "act")
	s.Feedback = p.optionalTerm(sales.Get("feedback", document.NotInForce), nil, "accepted")
	s.Outcome = p.optionalTerm(sales.Get("outcome", document.NotInForce), nil, "accepted")
	if n := sales.Get("coverage", document.NotInForce); n.Present() {
		c := n.Map()
		s.PerDay = c.Int("perDay", 1, 1_000_000, document.Required)
		c.Done()
	}
	sales.Done()
	p.marketing(m.Get("marketing", document.NotInForce))
	m.Done()
}

// term reads a time to do something in: a duration, or {within, from, clock}.
func (p *parser) term(n document.Node, from string, low, high time.Duration) Term {
	t := Term{From: from, Clock: p.a.SLA.Clock}
	if n.IsScalar() {
		t.Within = p.duration(n, low, high)
		return t
	}
	m := n.Map()
	t.Within = p.duration(m.Get("within", document.Required), low, high)
	if f := m.Get("from"); f.Present() {
		if from == "act" && strings.HasSuffix(n.Path(), ".deliver") {
			f.Enum("act") // the window is from the act: that is what it means
		} else {
			t.From = f.Enum("act", "delivered", "acknowledged", "accepted")
		}
	}
	if c := m.Get("clock"); c.Present() {
		t.Clock = Clock(c.Enum(clocks...))
	}
	m.Done()
	return t
}

// optionalTerm reads a term that need not be there. What it does not say it takes from general, if that is given.
func (p *parser) optionalTerm(n document.Node, general *Term, from string) *Term {
	if !n.Present() {
		return nil
	}
	if general != nil {
		from = general.From
	}
	t := p.term(n, from, time.Second, tenYears)
	return &t
}

func (p *parser) marketing(n document.Node) {
	if !n.Present() {
		return
	}
	m := n.Map()
	s := &MarketingSLA{}
	if v := m.Get("volume"); v.Present() {
		vm := v.Map()
		s.Qualified = vm.Int("qualified", 1, 1_000_000_000, document.Required)
		s.Per = vm.Enum("per", append([]string{"day", "week"}, periods...), document.Required)
		vm.Done()
	}
	s.Completeness = share(m.Get("completeness"))
	s.Wanted = p.attributes(m.List("wanted"))
	s.Acceptance = share(m.Get("acceptance"))
	m.Done()
	p.a.SLA.Marketing = s
}

// share reads a number from 0 to 1 and returns its digits.
func share(n document.Node) string {
	if !n.Present() {
		return ""
	}
	return document.FormatThousandths(n.Decimal(0, 1000))
}

func (p *parser) escalation(n document.Node) {
	for _, item := range n.List() {
		m := item.Map()
		e := Escalation{Of: "acknowledge"}
		if of := m.Get("of"); of.Present() {
			e.Of = of.Enum("deliver", "acknowledge", "followUp", "feedback", "outcome")
		}
		e.Percent = m.Get("at", document.Required).Percent()
		e.Do = m.Enum("do", []string{"remind", "reassign", "manager"}, document.Required)
		m.Done()
		p.a.Escalation = append(p.a.Escalation, e)
	}
}

func (p *parser) reasons(m *document.Map) {
	p.a.Reasons.Reject = p.reasonList(m.List("reject"))
	p.a.Reasons.Disqualify = p.reasonList(m.List("disqualify"))
	m.Done()
}

func (p *parser) reasonList(items []document.Node) []Reason {
	var out []Reason
	ids := map[string]int{}
	for _, item := range items {
		m := item.Map()
		then := m.Get("then", document.Required)
		r := Reason{
			ID:      m.ID("id", document.Required),
			Then:    then.Enum("nurture", "reroute", "complete", "merge"),
			Against: m.Enum("against", []string{"marketing", "sales", "routing", "nobody"}, document.Required),
		}
		r.NoteRequired = m.Enum("note", []string{"required", "optional"}) == "required"
		m.Done()
		unique(ids, item, r.ID)
		if then.Present() && !p.closesSaid {
			p.closesSaid = true
			then.Warnf("every then closes the handoff in this version; reroute, complete and merge are not yet in force")
		}
		out = append(out, r)
	}
	return out
}

func (p *parser) account(n document.Node) {
	if !n.Present() {
		return
	}
	m := n.Map()
	r := &AccountRule{
		Key:       p.attribute(m.Get("key", document.Required)),
		Threshold: p.positive(m.Get("threshold", document.Required)),
		MinLeads:  1,
		Within:    p.duration(m.Get("within", document.Required), time.Hour, tenYears),
	}
	if l := m.Get("minLeads"); l.Present() {
		r.MinLeads = l.Int(1, 1000)
	}
	m.Done()
	if r.Key != "" && !strings.HasPrefix(r.Key, "account.") {
		m.Node().Errorf("the key must be an attribute of the account, such as account.domain")
	}
	p.a.Account = r
}

func (p *parser) targets(n document.Node) {
	if !n.Present() {
		return
	}
	m := n.Map()
	t := &Targets{Per: m.Enum("per", periods, document.Required), FiscalYearStart: 1}
	if f := m.Get("fiscalYearStart"); f.Present() {
		t.FiscalYearStart = f.Int(1, 12)
	}
	t.Won = m.Int("won", 0, 1_000_000_000)
	t.Revenue = p.amount(t, m.Get("revenue"))
	t.Expansion = p.amount(t, m.Get("expansion"))
	m.Done()
	p.a.Targets = t
}

// amount reads money. All of the targets' money is of one currency, so that it can be added up.
func (p *parser) amount(t *Targets, n document.Node) string {
	if !n.Present() {
		return ""
	}
	m := n.Map()
	digits := document.FormatThousandths(m.Get("amount", document.Required).Decimal(0, 1_000_000_000_000_000))
	c := m.Get("currency", document.Required)
	currency := c.Text()
	switch {
	case currency == "":
	case len(currency) != 3 || strings.Trim(currency, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "":
		c.Errorf("%q is not the code of a currency, such as EUR", clip(currency))
	case t.Currency != "" && t.Currency != currency:
		c.Errorf("must be %s as above: targets are in one currency", t.Currency)
	default:
		t.Currency = currency
	}
	m.Done()
	return digits
}

func (p *parser) signers(n document.Node) {
	if !n.Present() {
		return
	}
	m := n.Map()
	var all []string
	side := func(key string) []string {
		list := m.Get(key, document.Required)
		var out []string
		for _, item := range list.List() {
			address := item.Text()
			switch folded := strings.ToLower(address); {
			case address == "":
			case strings.Count(address, "@") != 1 || strings.ContainsAny(address, " \t\n"):
				item.Errorf("must be the e-mail address of one person")
			case slices.Contains(all, folded):
				item.Errorf("this person is already a signer; signers are distinct people")
			default:
				all = append(all, folded)
				out = append(out, address)
			}
		}
		if list.IsList() && len(list.List()) == 0 {
			list.Errorf("names nobody, so nobody could sign for %s", key)
		}
		return out
	}
	p.a.Signers = Signers{Marketing: side("marketing"), Sales: side("sales")}
	m.Done()
}
