package roster

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/leadbaton/baton/services/internal/condition"
	"github.com/leadbaton/baton/services/internal/document"
)

// APIVersion and Kind begin every document.
const (
	APIVersion = "baton/v1"
	Kind       = "Roster"
)

// AnswerChannel is no channel of a roster: it is where a rep that answers before any receipt has shown to be told.
const AnswerChannel = "answer"

// Parse reads a document. Every finding is in the order of the document; the roster is nil if any of them is an Error.
// Time zones must be at hand: a program imports time/tzdata unless it relies on those of the machine.
func Parse(doc []byte) (*Roster, []document.Finding) {
	d := document.Parse(doc)
	p := parser{
		r: &Roster{
			Document: slices.Clone(doc),
			channels: map[string]*Channel{},
			teams:    map[string]*Team{},
			reps:     map[string]*Rep{},
		},
		env: conditions(),
	}
	root := d.Root().Map()
	root.Enum("apiVersion", []string{APIVersion}, document.Required)
	root.Enum("kind", []string{Kind}, document.Required)
	p.channels(root.Map("channels", document.Required))
	p.accounts(root.Get("accounts", document.NotInForce))
	teams := root.Get("teams", document.Required)
	reps := root.Get("reps", document.Required)
	root.Done()
	p.reps(reps)
	p.teams(teams)
	p.refer()
	fs := d.Findings()
	if document.Invalid(fs) {
		return nil, fs
	}
	return p.r, fs
}

// Lint returns a Warning for each file that the roster names and that exists does not find. Files may be elsewhere than
// where the document is checked, so their absence is no error.
func Lint(r *Roster, exists func(path string) bool) []document.Finding {
	var fs []document.Finding
	for _, c := range r.Channels {
		if c.File != "" && !exists(c.File) {
			fs = append(fs, document.Finding{
				Severity: document.Warning, Line: c.file.Line(), Column: c.file.Column(), Path: c.file.Path(),
				Message: "this file is not here; it must be there where the notifier runs",
			})
		}
	}
	return fs
}

// conditions is what every roster's conditions may speak of; it is costly to build.
var conditions = sync.OnceValue(func() *condition.Env { return condition.NewRosterEnv(nil) })

// parser holds what the second pass, over references, needs.
type parser struct {
	r   *Roster
	env *condition.Env
	// later are the checks of references, which need all that they may refer to.
	later []func()
}

func (p *parser) refer() {
	for _, check := range p.later {
		check()
	}
}

func (p *parser) channels(m *document.Map) {
	for _, e := range m.Entries() {
		name := e.KeyNode.ID()
		if name == AnswerChannel {
			e.KeyNode.Errorf("%q is taken: it stands for a rep who answers before any channel gave a receipt; choose another name", name)
		}
		c := &Channel{Name: name}
		kinds := e.Value.Map()
		for _, kind := range []string{KindGRPC, KindSlack, KindEmail, KindWebhook} {
			if !kinds.Has(kind) {
				continue
			}
			node := kinds.Get(kind)
			if c.Kind != "" {
				node.Errorf("a channel has one kind, and this one is %s already; give each its own name", c.Kind)
				continue
			}
			c.Kind = kind
			p.channel(c, node)
		}
		kinds.Done()
		if c.Kind == "" && e.Value.IsMap() {
			e.KeyNode.Errorf("the channel has no kind; write one of grpc: {}, slack: {tokenFile: ...}, email: {}, webhook: {url: ..., secretFile: ...}")
		}
		if name != "" {
			p.r.Channels = append(p.r.Channels, c)
			p.r.channels[name] = c
		}
	}
	if m.Node().Present() && len(p.r.Channels) == 0 {
		m.Node().Errorf("names no channel; without one no rep can be told. Write desk: {grpc: {}}")
	}
}

func (p *parser) channel(c *Channel, node document.Node) {
	m := node.Map()
	switch c.Kind {
	case KindSlack:
		c.file = m.Get("tokenFile", document.Required)
	case KindWebhook:
		at := m.Get("url", document.Required)
		c.URL = at.Text()
		if u, err := url.Parse(c.URL); c.URL != "" && (err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http") {
			at.Errorf("must be an address such as https://crm.example.com/hooks/baton")
		} else if c.URL != "" && u.User != nil {
			at.Errorf("must hold no user or password: no secret stands in this file")
		}
		c.file = m.Get("secretFile", document.Required)
	}
	c.File = c.file.Text()
	m.Done()
	if c.Kind != KindGRPC {
		node.Warnf("channels of kind %s are not available in this version; a rep with no other channel is not told", c.Kind)
	}
}

func (p *parser) accounts(node document.Node) {
	if !node.Present() {
		return
	}
	m := node.Map()
	a := &Accounts{OwnerAway: "cover"}
	owner := m.Get("owner")
	if a.Owner = owner.Text(); a.Owner != "" && !strings.HasPrefix(a.Owner, "account.") {
		owner.Errorf("must name an attribute of the account, such as account.owner")
	}
	a.File = m.Text("file")
	if away := m.Get("ownerAway"); away.Present() {
		a.OwnerAway = away.Enum("cover", "team", "hold")
	}
	m.Done()
	if !m.Has("owner") && !m.Has("file") {
		node.Errorf("needs owner or file, else no account has an owner")
	}
	p.r.Accounts = a
}

func (p *parser) teams(list document.Node) {
	items := list.List()
	if list.IsList() && len(items) == 0 {
		list.Errorf("needs at least one team")
	}
	overflow := map[*Team]document.Node{}
	for i, item := range items {
		m := item.Map()
		t := &Team{Pick: PickFair, Overflow: OverflowHold}
		id := m.Get("id", document.Required)
		t.ID = id.ID()
		p.when(t, m, i == len(items)-1)
		if pick := m.Get("pick"); pick.Present() {
			t.Pick = Pick(pick.Enum(string(PickFair), string(PickRotate), string(PickLeastBusy)))
		}
		p.members(t, m.Get("reps", document.Required))
		p.manager(t, m.Get("manager", document.NotInForce))
		t.Hours = p.hours(m.Get("hours"))
		if n := m.Get("overflow"); n.Present() {
			t.Overflow = n.ID()
			overflow[t] = n
		}
		m.Done()
		switch {
		case t.ID == "":
			continue
		case t.ID == OverflowHold || t.ID == OverflowAnyone:
			id.Errorf("%q is taken: as an overflow it is no team; choose another id", t.ID)
		case p.r.teams[t.ID] != nil:
			id.Errorf("another team has the id %q already", t.ID)
			continue
		}
		p.r.Teams = append(p.r.Teams, t)
		p.r.teams[t.ID] = t
	}
	p.overflows(overflow)
	for _, t := range p.r.Teams {
		for _, rep := range t.Reps {
			rep.Teams = append(rep.Teams, t)
		}
	}
}

func (p *parser) when(t *Team, m *document.Map, last bool) {
	n := m.Get("when")
	switch {
	case !n.Present() && !last && m.Node().IsMap():
		m.Node().Errorf("the key \"when\" is missing; only the last team, which takes all that is left, goes without")
	case n.Present() && last:
		n.Warnf("this is the last team: a lead for which no team's when is true is held, for no team takes it")
	}
	if t.WhenText = n.Text(); t.WhenText == "" {
		return
	}
	var err error
	if t.When, err = p.env.Compile(t.WhenText); err != nil {
		if all := (condition.Errors)(nil); errors.As(err, &all) {
			for _, e := range all {
				n.ErrorWithin(e.Line, e.Column, "%s", e.Message)
			}
			return
		}
		n.Errorf("%v", err)
	}
}

// members reads a team's reps. The reps have been read before.
func (p *parser) members(t *Team, list document.Node) {
	items := list.List()
	if list.IsList() && len(items) == 0 {
		list.Errorf("a team needs at least one rep")
	}
	for _, item := range items {
		id := item.ID()
		rep := p.r.reps[id]
		switch {
		case id == "":
		case rep == nil:
			item.Errorf("no rep has the id %q", id)
		case slices.Contains(t.Reps, rep):
			item.Errorf("%q is in this team already", id)
		default:
			t.Reps = append(t.Reps, rep)
		}
	}
}

func (p *parser) manager(t *Team, node document.Node) {
	if !node.Present() {
		return
	}
	m := node.Map()
	t.Manager = &Manager{Email: m.Text("email", document.Required), Channels: p.uses(m.Get("channels", document.Required))}
	m.Done()
}

// overflows checks that every overflow exists and that none comes back to where it began.
func (p *parser) overflows(nodes map[*Team]document.Node) {
	for _, t := range p.r.Teams {
		n := nodes[t]
		if !n.Present() || t.Overflow == "" || t.Overflow == OverflowHold || t.Overflow == OverflowAnyone {
			continue
		}
		if p.r.teams[t.Overflow] == nil {
			n.Errorf("no team has the id %q; write another team's id, hold or anyone", t.Overflow)
			continue
		}
		way := []string{t.ID}
		for next := p.r.teams[t.Overflow]; next != nil; next = p.r.teams[next.Overflow] {
			if slices.Contains(way, next.ID) {
				if next == t {
					n.Errorf("the overflow goes in a circle: %s", strings.Join(append(way, t.ID), " -> "))
				}
				break
			}
			way = append(way, next.ID)
		}
	}
}
