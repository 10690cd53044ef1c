package condition

import (
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
)

// Program is a compiled condition. It is safe for concurrent use. A nil Program is always true.
type Program struct {
	src        string
	test       test // nil if no part of the condition has a shape
	prog       cel.Program
	attributes []string
}

// Attributes are the attributes of lead and account that the condition names, sorted, such as "lead.title". Do not
// change them.
func (p *Program) Attributes() []string {
	if p == nil {
		return nil
	}
	return p.attributes
}

// String is the condition as written; "true" for a nil Program.
func (p *Program) String() string {
	if p == nil {
		return "true"
	}
	return p.src
}

// Match evaluates the condition. An error (a name that is not known, a wrong type, a loop that costs too much) is
// false and errored; errors that || and && absorb are none. The result depends on the condition and s alone.
// s and its objects must not change meanwhile; nothing of them is kept.
func (p *Program) Match(s *Scope) (match, errored bool) {
	if p == nil {
		return true, false
	}
	if p.test != nil {
		if t := p.test.eval(s); t != unsure {
			return t == yes, t == failed
		}
	}
	return p.ask(s)
}

// ask lets cel-go evaluate the condition.
func (p *Program) ask(s *Scope) (match, errored bool) {
	a := activations.Get().(*activation)
	a.scope = s
	a.event.values, a.lead.values, a.account.values, a.campaign.values = s.Event, s.Lead, s.Account, s.Campaign
	out, _, err := p.prog.Eval(a)
	a.scope = nil
	a.event.values, a.lead.values, a.account.values, a.campaign.values = nil, nil, nil, nil
	activations.Put(a)
	if err != nil {
		return false, true
	}
	b, ok := out.(types.Bool)
	return bool(b), !ok
}

// activation is a Scope as CEL sees it. It holds its objects, so that an evaluation makes none.
type activation struct {
	scope                          *Scope
	event, lead, account, campaign object
}

var activations = sync.Pool{New: func() any {
	return &activation{
		event:    object{typ: eventType},
		lead:     object{typ: leadType},
		account:  object{typ: accountType},
		campaign: object{typ: campaignType},
	}
}}

// ResolveName implements cel.Activation.
func (a *activation) ResolveName(name string) (any, bool) {
	switch name {
	case "event":
		return &a.event, true
	case "lead":
		return &a.lead, true
	case "account":
		return &a.account, true
	case "campaign":
		return &a.campaign, true
	case "source":
		return types.String(a.scope.Source), true
	case "score":
		return types.Double(a.scope.Score), true
	case "grade":
		return types.String(a.scope.Grade), true
	case "path":
		return types.String(a.scope.Path), true
	case "agreement":
		return types.String(a.scope.Agreement), true
	}
	return nil, false
}

// Parent implements cel.Activation.
func (a *activation) Parent() cel.Activation { return nil }
