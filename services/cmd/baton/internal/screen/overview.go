package screen

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	shardv1 "github.com/leadbaton/baton/api/gen/baton/shard/v1"
)

// Overview is the whole system at a glance.
type Overview struct {
	Shards *shardv1.ListResponse        // nil = not known
	Router *handoffv1.SummarizeResponse // nil = not known
	// Missing says why a part is not known, one sentence each.
	Missing []string
}

// lateAfter is how long a message may wait before somebody should look: seconds of waiting are usual after a take-over.
const lateAfter = 10 * time.Second

// Problems are what is wrong, one sentence each, the worst first.
func (o *Overview) Problems(now time.Time) []string {
	var stopped, ownerless, late, different []string
	versions := map[string]string{} // of the agreements in force -> the first shard with them
	for _, s := range o.Shards.GetShards() {
		switch waits := waited(s.GetOldestWaitingAt(), now); {
		case s.GetStopped() != "":
			stopped = append(stopped, fmt.Sprintf("shard %s stands still: %s", s.GetId(), s.GetStopped()))
		case s.GetOwner() == "":
			ownerless = append(ownerless, s.GetId())
		case waits >= lateAfter:
			late = append(late, fmt.Sprintf("shard %s is behind: %s, the oldest for %s", s.GetId(), waiting(s.GetLag()), Span(waits)))
		}
		if in := inForce(s); versions[in] == "" {
			versions[in] = s.GetId()
			different = append(different, fmt.Sprintf("%s in shard %s", cmp.Or(in, "none"), s.GetId()))
		}
	}
	out := stopped
	if len(ownerless) > 0 {
		out = append(out, fmt.Sprintf("nobody owns %s %s: is a scorer running, and does it reach Redis?", plural(len(ownerless), "shard", "shards"), strings.Join(ownerless, ", ")))
	}
	if r := o.Router; r != nil {
		for _, p := range r.GetProblems() {
			out = append(out, "router: "+p)
		}
		if n := r.GetOverdue(); n > 0 {
			out = append(out, fmt.Sprintf("%s past the deadline and no rep has been told: baton handoff list --overdue", Count(n, "handoff is", "handoffs are")))
		}
		if waits := waited(r.GetLeads().GetOldestWaitingAt(), now); waits >= lateAfter {
			out = append(out, fmt.Sprintf("the router is behind: %s in LEADS, the oldest for %s", waiting(r.GetLeads().GetWaiting()), Span(waits)))
		}
	}
	out = append(out, late...)
	if len(different) > 1 {
		out = append(out, "the agreements in force are not the same everywhere: "+strings.Join(different, ", "))
	}
	return out
}

// Overview writes the whole system at a glance: first whether all is well, then what is wrong, then how everything stands.
func (p *Page) Overview(o *Overview) {
	problems := o.Problems(p.Now)
	switch {
	case len(problems) > 0:
		p.line("%s", p.dress(bad, Count(uint64(len(problems)), "problem", "problems")))
	case len(o.Missing) > 0:
		p.line("%s", p.dress(note, "not all is known"))
	default:
		p.line("%s", p.dress(good, "all well"))
	}
	for _, s := range problems {
		p.line("  %s", Clean(s))
	}
	for _, s := range o.Missing {
		p.line("  %s", p.dress(note, Clean(s)))
	}
	p.gap()
	if o.Router != nil {
		p.router(o.Router)
	}
	if o.Shards != nil {
		p.shards(o.Shards)
	}
}

func (p *Page) router(r *handoffv1.SummarizeResponse) {
	t := p.table("")
	leader := cmp.Or(r.GetLeader(), "nobody leads")
	if r.GetLeaderAddress() != "" {
		leader += " at " + r.GetLeaderAddress()
	}
	if r.GetStandby() != "" {
		leader += "; " + r.GetStandby() + " stands by"
	}
	t.row("router", leader)
	var states []string
	for _, c := range r.GetOpen() {
		states = append(states, fmt.Sprintf("%s %s", Grouped(c.GetHandoffs()), Word(c.GetState())))
	}
	open := Grouped(total(r)) + " open"
	if len(states) > 0 {
		open += ": " + strings.Join(states, ", ")
	}
	t.row("handoffs", join(open, none(r.GetHeld(), "held"), Grouped(r.GetOverdue())+" overdue"))
	undelivered := "none"
	if id := r.GetOldestUndelivered(); id != "" {
		undelivered = fmt.Sprintf("%s: %s opened %s, deadline %s", Grouped(r.GetUndelivered()), id, p.Ago(r.GetOldestUndeliveredOpenedAt()),
			p.Ago(r.GetOldestUndeliveredDeadline()))
		if r.GetUndelivered() > 1 {
			undelivered = strings.Replace(undelivered, ": ", ", the oldest ", 1)
		}
	}
	t.row("undelivered", undelivered)
	for _, l := range []struct {
		name string
		*handoffv1.LedgerPosition
	}{{"LEADS", r.GetLeads()}, {"HANDOFFS", r.GetHandoffs()}} {
		t.row(l.name, join(fmt.Sprintf("read up to %s of %s", Grouped(l.GetSequence()), Grouped(l.GetLast())), p.waits(l.GetWaiting(), l.GetOldestWaitingAt()),
			Bytes(l.GetBytes())))
	}
	t.flush()
	p.gap()
}

func total(r *handoffv1.SummarizeResponse) (n uint64) {
	for _, c := range r.GetOpen() {
		n += c.GetHandoffs()
	}
	return n
}

func (p *Page) shards(r *shardv1.ListResponse) {
	t := p.table("", 2, 3, 4, 6, 8)
	t.head("SHARD", "OWNER", "FOLDED", "OF", "WAITING", "FOR", "OUTBOX", "IN FORCE", "SIZE")
	var owners []string
	var waits uint64
	for _, s := range r.GetShards() {
		lag := cell{Grouped(s.GetLag()), plain}
		span := ""
		if s.GetLag() > 0 {
			lag.style = note
			if s.GetOldestWaitingAt() != nil {
				span = Span(waited(s.GetOldestWaitingAt(), p.Now))
			}
		}
		owner := cell{s.GetOwner(), plain}
		switch {
		case s.GetStopped() != "":
			owner = cell{join(s.GetOwner(), "stands still"), bad}
		case s.GetOwner() == "":
			owner = cell{"nobody", bad}
		}
		if o := s.GetOwner(); o != "" && !slices.Contains(owners, o) {
			owners = append(owners, o)
		}
		waits += s.GetLag()
		t.row(s.GetId(), owner, Grouped(s.GetSequence()), Grouped(s.GetLast()), lag, span, Grouped(s.GetOutbox()), inForce(s), Bytes(s.GetBytes()))
	}
	t.flush()
	p.line("%s by %s, %s", Count(uint64(len(r.GetShards())), "shard", "shards"), Count(uint64(len(owners)), "scorer", "scorers"), waiting(waits))
}

// waits says how many messages wait, and since when.
func (p *Page) waits(n uint64, oldest *timestamppb.Timestamp) string {
	if n == 0 {
		return ""
	}
	s := waiting(n)
	if oldest != nil {
		s += " for " + Span(waited(oldest, p.Now))
	}
	return s
}

func waiting(n uint64) string {
	if n == 0 {
		return "no message waits"
	}
	return Count(n, "message waits", "messages wait")
}

func waited(oldest *timestamppb.Timestamp, now time.Time) time.Duration {
	if oldest == nil {
		return 0
	}
	return max(0, now.Sub(oldest.AsTime()))
}

// inForce are the agreements in force in a shard: "b2b v2".
func inForce(s *shardv1.Shard) string {
	var all []string
	for _, a := range s.GetAgreements() {
		all = append(all, a.GetName()+" v"+version(a.GetVersion()))
	}
	return strings.Join(all, ", ")
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

func none(n uint64, what string) string {
	if n == 0 {
		return ""
	}
	return Grouped(n) + " " + what
}

// Bytes writes a size: "812 B", "1.2 MB".
func Bytes(n uint64) string {
	if n < 1000 {
		return Grouped(n) + " B"
	}
	v, unit := float64(n), ""
	for _, unit = range []string{"kB", "MB", "GB", "TB"} {
		if v /= 1000; v < 999.95 {
			break
		}
	}
	return fmt.Sprintf("%.1f %s", v, unit)
}
