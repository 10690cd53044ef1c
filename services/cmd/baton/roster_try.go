package main

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	agreementv1 "github.com/leadbaton/baton/api/gen/baton/agreement/v1"
	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	"github.com/leadbaton/baton/services/internal/agreement"
	"github.com/leadbaton/baton/services/internal/attribute"
	"github.com/leadbaton/baton/services/internal/condition"
	"github.com/leadbaton/baton/services/internal/roster"
)

type rosterTryCommand struct {
	File    string            `arg:"" optional:"" help:"Ask this file instead of the roster in force."`
	Lead    leadName          `placeholder:"LEAD" help:"Ask for this lead: an e-mail address, SYSTEM:ID, anon:ID, or a lead key."`
	Country string            `placeholder:"COUNTRY" help:"The same as --attr lead.country=COUNTRY."`
	Attr    map[string]string `placeholder:"NAME=VALUE" mapsep:"none" help:"What the teams' conditions see, such as lead.country=DE, account.employees=500, event.form=demo, score=90, grade=A1, path=hand-raise; may be given more than once."`
	At      instant           `placeholder:"TIME" help:"At this instant (RFC 3339) instead of now."`
	outputFlag
	clientFlags
}

// Run shows who would take a lead, and why not the others. With a file and no lead nothing is asked of Baton: nobody
// carries anything then.
func (c *rosterTryCommand) Run(s *system) error {
	q := roster.Request{Now: c.At.Time}
	if q.Now.IsZero() {
		q.Now = s.now()
	}
	known := &facts{}
	var r *roster.Roster
	var version uint32
	var err error
	if c.File != "" {
		if r, err = s.parseRoster(c.File); err != nil {
			return err
		}
	}
	if r == nil || c.Lead != "" {
		err = c.call(s, func(ctx context.Context, conn *grpc.ClientConn) error {
			response, inForce, err := rosterInForce(ctx, s, conn)
			if err != nil {
				return err
			}
			if q.Loads = loads(response); r == nil {
				r, version = inForce, response.GetRoster().GetVersion()
			}
			return known.ask(ctx, conn, string(c.Lead))
		})
		if err != nil {
			return err
		}
	}
	if c.Country != "" {
		known.put(&known.lead, "lead.", "country", c.Country)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Attr)) {
		if err := known.set(name, c.Attr[name]); err != nil {
			return err
		}
	}
	q.Scope = known.scope()
	if c.Output != "json" {
		_, err := roster.Try(s.out, r, q)
		return err
	}
	return writeJSON(s.out, decided(r.Choose(q), q, version))
}

// decided is a decision as the fact that the router would record.
func decided(d roster.Decision, q roster.Request, version uint32) *handoffv1.Fact {
	f := &handoffv1.Fact{DecidedAt: timestamppb.New(q.Now)}
	if d.Rep == nil {
		held := &handoffv1.HandoffHeld{Reason: d.Held, PassedOver: d.PassedOver}
		if !d.Until.IsZero() {
			held.Until = timestamppb.New(d.Until)
		}
		f.Fact = &handoffv1.Fact_HandoffHeld{HandoffHeld: held}
		return f
	}
	a := &handoffv1.HandoffAssigned{
		Assignment: 1, Team: d.Team.ID, Rep: d.Rep.ID, Reason: d.Reason, PassedOver: d.PassedOver, RosterVersion: version, Seed: q.Seed,
	}
	if d.Covers != nil {
		a.Covers = d.Covers.ID
	}
	f.Fact = &handoffv1.Fact_HandoffAssigned{HandoffAssigned: a}
	return f
}

// facts are what the teams' conditions see.
type facts struct {
	agreement                      *agreement.Agreement // nil = none at hand
	lead, account, event, campaign attribute.Map
	s                              condition.Scope
}

// ask gets what is known of a lead, and the agreement that says how to read it.
func (f *facts) ask(ctx context.Context, conn *grpc.ClientConn, name string) error {
	list, err := agreementv1.NewAgreementServiceClient(conn).List(ctx, &agreementv1.ListRequest{})
	if err != nil {
		return err
	}
	var standing *leadv1.Standing
	var profile *leadv1.Profile
	if name != "" {
		r, err := leadv1.NewLeadServiceClient(conn).Get(ctx, &leadv1.GetRequest{Lead: name})
		if err != nil {
			return err
		}
		profile = r.GetLead().GetProfile()
		if all := r.GetLead().GetStandings(); len(all) > 0 {
			standing = all[0]
		}
	}
	for _, a := range list.GetAgreements() {
		if standing == nil || a.GetName() == standing.GetAgreement() {
			f.agreement, _ = agreement.Parse(a.GetDocument())
			break
		}
	}
	for k, v := range profile.GetLead() {
		f.put(&f.lead, "lead.", k, v)
	}
	for k, v := range profile.GetAccount() {
		f.put(&f.account, "account.", k, v)
	}
	if standing != nil {
		f.s.Score, f.s.Grade, f.s.Path = standing.GetScore().GetTotal(), standing.GetScore().GetGrade(), standing.GetPath()
		f.s.Agreement = standing.GetAgreement()
	}
	return nil
}

// set takes one NAME=VALUE of the command line.
func (f *facts) set(name, value string) (err error) {
	space, rest, dotted := strings.Cut(name, ".")
	switch {
	case dotted && space == "lead" && rest != "":
		f.put(&f.lead, "lead.", rest, value)
	case dotted && space == "account" && rest != "":
		f.put(&f.account, "account.", rest, value)
	case dotted && space == "event" && rest != "":
		f.put(&f.event, "", rest, value)
	case dotted && space == "campaign" && rest != "":
		f.put(&f.campaign, "", rest, value)
	case name == "source":
		f.s.Source = value
	case name == "grade":
		f.s.Grade = value
	case name == "path":
		f.s.Path = value
	case name == "agreement":
		f.s.Agreement = value
	case name == "score":
		if f.s.Score, err = strconv.ParseFloat(value, 64); err != nil {
			return usagef("--attr score=%s: want a number", value)
		}
	default:
		return usagef("--attr %s: want lead.NAME, account.NAME, event.NAME, campaign.NAME, source, score, grade, path or agreement", name)
	}
	return nil
}

// put reads a value as the agreement declares it. Without an agreement at hand, countries are countries and numbers are
// numbers, as most agreements declare them.
func (f *facts) put(m *attribute.Map, prefix, name, value string) {
	if *m == nil {
		*m = attribute.Map{}
	}
	v := attribute.TextOf(value)
	var field agreement.Field
	switch {
	case prefix == "":
	case f.agreement != nil:
		field = f.agreement.Fields[prefix+name]
	case prefix+name == "lead.country":
		field.Type = agreement.TypeCountry
	default:
		if n, err := strconv.ParseInt(value, 10, 64); err == nil {
			v = attribute.IntOf(n)
		} else if value == "true" || value == "false" {
			v = attribute.BoolOf(value == "true")
		}
		(*m)[name] = v
		return
	}
	if read, ok := field.Normalise(v); ok {
		(*m)[name] = read
	}
}

func (f *facts) scope() condition.Scope {
	s := f.s
	s.Lead, s.Account, s.Event, s.Campaign = f.lead, f.account, f.event, f.campaign
	return s
}
