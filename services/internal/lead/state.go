package lead

import (
	"cmp"
	"slices"

	"github.com/leadbaton/baton/services/internal/attribute"
)

// The name spaces of attributes.
const (
	ofLead = iota
	ofAccount
	ofIDs // ids by system
	spaces
)

var spacePrefix = [spaces]string{"lead.", "account.", "lead.ids."}

const (
	// maxAttributes is how many attributes are kept in each name space; more are not taken, and are counted as unreadable.
	maxAttributes = 256
	// maxValue is the greatest length of a value in bytes; a longer one cannot be read.
	maxValue = 4096
	// maxName is the greatest length of an attribute's name in bytes; what has a longer one cannot be read.
	maxName = 256
)

// Lead is the state of one lead key.
//
// Its main record holds all but the claims (part "claims"), and the ids of events when they are many (parts "ids-00" to
// "ids-31").
type Lead struct {
	key        string
	attributes [spaces][]attr // by name
	clock      int64          // greatest time of its events; of no meaning while events is 0
	events     uint64
	tooOld     uint64
	unreadable uint64
	ids        idSet
	claims     []claim // by alias
	// claimant is the lead that this one is part of; "" if it is a lead of its own.
	claimant  string
	standings []*standing // by agreement

	changed       bool
	claimsChanged bool
	// hadClaims says that the part "claims" was written once.
	hadClaims bool

	// What is derived, not stored. epoch is that of the fields which the attributes were read by.
	epoch    uint64
	domain   string
	freeMail bool
}

// attr is one attribute: the value that won, as it was published.
type attr struct {
	name   string
	source string
	time   int64
	raw    attribute.Value // Null if it was cleared
	// read is raw as the agreements in force declare it; nil if that is the same. Not stored.
	read *attribute.Value
	// foreign says that it is the address of another lead that was merged into this one.
	foreign bool
}

// claim is an identity that this lead says is its own.
type claim struct {
	alias string
	// open says that the identity's history is on its way.
	open bool
}

// standing is where a lead stands under one agreement.
type standing struct {
	agreement string

	stage   string
	episode uint32 // newest, from 1; 0 = none yet
	open    bool
	path    string
	outcome string // how the newest closed episode ended
	closed  int64  // when; of no meaning while outcome is ""
	again   int64  // from when it may qualify again; of no meaning while outcome is ""
	never   bool   // it never may
	// reset is the instant before which engagement counts no more; of no meaning unless resets.
	reset  int64
	resets bool

	consent []string // scopes withdrawn, sorted
	sums    []ruleSums
	spends  []spend // by rule
	fit     []bool  // by index of the agreement's fit rules, as of fitEpoch
	// fitEpoch is that of the agreements and fields which fit was found under; 0 = never.
	fitEpoch uint64

	// told is what holds the lead as its facts said last: a Held and the id of what holds it.
	told   uint8
	toldBy string

	// act is the newest event with points, not history, dated from `again` on.
	act *act
	// loaded says that history gave points after act: a path by score waits for a new act.
	loaded bool
	// byRule are the newest acts that matched rules which paths rest on, by rule.
	byRule []ruleAct
	// tail is what was counted since the newest episode or a claim opened, newest last, for an agreement that resets: when
	// the episode closes, or an alias's did, what is dated after the closing is counted again.
	tail []credit

	// epoch is that of the agreement which sums were bound to. Not stored.
	epoch uint64
}

// maxTail bounds the tail. Only what is dated after the closing and arrives before word of it is needed.
const maxTail = 64

type ruleAct struct {
	rule string
	act  *act
}

// credit is what one rule gave for one event.
type credit struct {
	rule     string
	halfLife int64
	points   int64
	time     int64
}

// act is a customer's event that a qualification may rest on.
type act struct {
	source, id, kind     string
	time, arrived        int64
	properties, campaign string // JSON objects
}

// maxActObject is the greatest length of an act's properties and of its campaign; longer ones are not kept.
const maxActObject = 4096

// few is up to how many things are looked for one by one.
const few = 16

func newLead(key string) *Lead { return &Lead{key: key} }

// Key returns the lead's key.
func (l *Lead) Key() string { return l.key }

// Claimant returns the key of the lead that this one is part of; "" if it is a lead of its own.
func (l *Lead) Claimant() string { return l.claimant }

// Known says whether anything is known of the lead.
func (l *Lead) Known() bool {
	return l.events > 0 || l.tooOld > 0 || l.claimant != "" || len(l.claims) > 0 || len(l.standings) > 0
}

func (l *Lead) find(space int, name string) *attr {
	list := l.attributes[space]
	if len(list) <= few {
		for i := range list {
			if list[i].name == name {
				return &list[i]
			}
		}
		return nil
	}
	at, ok := slices.BinarySearchFunc(list, name, func(a attr, n string) int { return cmp.Compare(a.name, n) })
	if !ok {
		return nil
	}
	return &list[at]
}

// standing returns the lead's standing under an agreement; nil if it has none.
func (l *Lead) standing(name string) *standing {
	for _, s := range l.standings {
		if s.agreement == name {
			return s
		}
	}
	return nil
}

// stand returns the lead's standing under an agreement, a new one if it has none.
func (l *Lead) stand(name string) *standing {
	if s := l.standing(name); s != nil {
		return s
	}
	s := &standing{agreement: name}
	at, _ := slices.BinarySearchFunc(l.standings, name, func(s *standing, n string) int { return cmp.Compare(s.agreement, n) })
	l.standings = slices.Insert(l.standings, at, s)
	return s
}

func (l *Lead) findClaim(alias string) *claim {
	at, ok := l.claimAt(alias)
	if !ok {
		return nil
	}
	return &l.claims[at]
}

func (l *Lead) claimAt(alias string) (int, bool) {
	return slices.BinarySearchFunc(l.claims, alias, func(c claim, a string) int { return cmp.Compare(c.alias, a) })
}

func (l *Lead) setClaim(alias string, open bool) {
	at, ok := l.claimAt(alias)
	if !ok {
		l.claims = slices.Insert(l.claims, at, claim{alias: alias})
	}
	l.claims[at].open = open
	l.claimsChanged = true
}

func (l *Lead) dropClaim(alias string) {
	if at, ok := l.claimAt(alias); ok {
		l.claims = slices.Delete(l.claims, at, at+1)
		l.claimsChanged = true
	}
}

// awaits says whether the history of any of its identities is on its way.
func (l *Lead) awaits() bool {
	for i := range l.claims {
		if l.claims[i].open {
			return true
		}
	}
	return false
}

// sumsOf returns the sums of a rule under a half-life.
func (s *standing) sumsOf(rule string, halfLife int64, index int) *sums {
	if len(s.sums) <= few {
		for i := range s.sums {
			if x := &s.sums[i]; x.halfLife == halfLife && x.rule == rule {
				return &x.sums
			}
		}
	}
	at, ok := slices.BinarySearchFunc(s.sums, rule, func(x ruleSums, r string) int {
		if c := cmp.Compare(x.rule, r); c != 0 {
			return c
		}
		return cmp.Compare(x.halfLife, halfLife)
	})
	if !ok {
		s.sums = slices.Insert(s.sums, at, ruleSums{rule: rule, halfLife: halfLife, at: index})
	}
	return &s.sums[at].sums
}

// spendOf returns what a rule's cap has granted. A cap over another time begins anew.
func (s *standing) spendOf(rule string, per int64) *spend {
	at, ok := slices.BinarySearchFunc(s.spends, rule, func(x spend, r string) int { return cmp.Compare(x.rule, r) })
	if !ok {
		s.spends = slices.Insert(s.spends, at, spend{rule: rule, per: per})
	}
	if x := &s.spends[at]; x.per != per {
		x.per, x.granted = per, nil
	}
	return &s.spends[at]
}

func (s *standing) actOf(rule string) *act {
	for i := range s.byRule {
		if s.byRule[i].rule == rule {
			return s.byRule[i].act
		}
	}
	return nil
}

// setActOf keeps the newer of two acts; of two of the same time the later in the stream.
func (s *standing) setActOf(rule string, a *act) {
	at, ok := slices.BinarySearchFunc(s.byRule, rule, func(x ruleAct, r string) int { return cmp.Compare(x.rule, r) })
	switch {
	case !ok:
		s.byRule = slices.Insert(s.byRule, at, ruleAct{rule, a})
	case a.time >= s.byRule[at].act.time:
		s.byRule[at].act = a
	}
}

func (s *standing) withdrew(scope string) bool {
	_, ok := slices.BinarySearch(s.consent, scope)
	return ok
}

func (s *standing) withdraw(scope string) {
	if at, ok := slices.BinarySearch(s.consent, scope); !ok {
		s.consent = slices.Insert(s.consent, at, keep(scope))
	}
}

// bind finds the rules of the agreement in force.
func (s *standing) bind(f *inForce, epoch uint64) {
	if s.epoch == epoch {
		return
	}
	for i := range s.sums {
		at, ok := f.rule[s.sums[i].rule]
		if !ok {
			at = -1
		} else {
			s.sums[i].rule = f.Rules[at].ID // one text for all leads
		}
		s.sums[i].at = at
	}
	s.epoch = epoch
}

// object shows the attributes of one name space to conditions.
type leadObject Lead

// Lookup implements attribute.Object.
func (o *leadObject) Lookup(name string) attribute.Value {
	l := (*Lead)(o)
	switch name {
	case "freeMail":
		if l.domain == "" {
			return attribute.Value{}
		}
		return attribute.BoolOf(l.freeMail)
	case "emailDomain":
		if l.domain == "" {
			return attribute.Value{}
		}
		return attribute.TextOf(l.domain)
	}
	return l.lookup(ofLead, name)
}

type accountObject Lead

// Lookup implements attribute.Object.
func (o *accountObject) Lookup(name string) attribute.Value {
	return (*Lead)(o).lookup(ofAccount, name)
}

// lookup returns None for what was cleared: a condition over it is false.
func (l *Lead) lookup(space int, name string) attribute.Value {
	a := l.find(space, name)
	if a == nil || a.raw.Kind == attribute.Null {
		return attribute.Value{}
	}
	return a.value()
}

// read returns the value of an attribute by its full name: "lead.title".
func (l *Lead) read(name string) attribute.Value {
	if n, ok := cutPrefix(name, "lead."); ok {
		return (*leadObject)(l).Lookup(n)
	}
	if n, ok := cutPrefix(name, "account."); ok {
		return (*accountObject)(l).Lookup(n)
	}
	return attribute.Value{}
}

func cutPrefix(s, prefix string) (string, bool) {
	if len(s) > len(prefix) && s[:len(prefix)] == prefix {
		return s[len(prefix):], true
	}
	return "", false
}
