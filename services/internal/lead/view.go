package lead

import (
	"math"
	"strconv"
	"strings"
	"time"

	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	shardv1 "github.com/leadbaton/baton/api/gen/baton/shard/v1"
	"github.com/leadbaton/baton/services/internal/agreement"
	"github.com/leadbaton/baton/services/internal/event"
)

// VersionsInForce returns the versions of agreements in force in this shard, by name.
func (g *Log) VersionsInForce() []*shardv1.VersionInForce {
	out := make([]*shardv1.VersionInForce, len(g.agreements))
	for i, f := range g.agreements {
		out[i] = &shardv1.VersionInForce{Name: f.Name, Version: f.version}
	}
	return out
}

func versionText(version uint32) string { return "v" + strconv.FormatUint(uint64(version), 10) }

// reading is a lead's standing under one agreement as it is shown: bound, fitted and evaluated at an instant.
type reading struct {
	s     *standing
	f     *inForce
	score score
}

// readings returns the lead's standings under the agreements in force, by name. It changes nothing that is stored.
func (l *Lead) readings(g *Log, at int64) []reading {
	l.refresh(g)
	var list []reading
	for _, f := range g.agreements {
		if s := l.standing(f.Name); s != nil {
			// What is shown is fitted on a copy: states change by folding only.
			shown := *s
			shown.sums = append([]ruleSums(nil), s.sums...)
			shown.fit = append([]bool(nil), s.fit...)
			shown.bind(f, g.epoch)
			shown.refit(l, f, g.epoch)
			list = append(list, reading{&shown, f, shown.evaluate(f, at, true)})
		}
	}
	return list
}

// instant returns what a lead's scores can be shown at: not before the latest of its events.
func (l *Lead) instant(at time.Time) int64 {
	t := at.UnixNano()
	if l.events > 0 {
		t = max(t, l.clock)
	}
	return t
}

// View returns what is known of a lead, its scores faded to an instant, under the agreements in force in its shard. The
// state must not be folded meanwhile. An instant before the lead's latest event stands for that event's time.
func View(l *Lead, g *Log, at time.Time) *leadv1.Lead {
	t := l.instant(at)
	v := &leadv1.Lead{
		Key: l.key, At: stamp(t), Events: l.events, TooOldToTell: l.tooOld, Unreadable: l.unreadable,
	}
	if l.events > 0 {
		v.Clock = stamp(l.clock)
	}
	for _, r := range l.readings(g, t) {
		v.Standings = append(v.Standings, r.standing(l, t))
	}
	v.Profile = l.profile(math.MaxInt)
	for _, c := range l.claims {
		if !c.open {
			v.Aliases = append(v.Aliases, c.alias)
		}
	}
	return v
}

func (r *reading) standing(l *Lead, t int64) *leadv1.Standing {
	held, by := r.held(l)
	s := &leadv1.Standing{
		Agreement: r.f.Name, AgreementVersion: r.f.version, Score: r.score.proto(r.f), Stage: r.s.stage,
		Held: held, HeldBy: by, Path: r.s.path, Episodes: r.s.episode, Open: r.s.open, Outcome: r.s.outcome,
		NoConsent: r.s.consent,
	}
	if r.s.outcome != "" && !r.s.open && !r.s.never && r.s.again > t {
		s.AgainAt = stamp(r.s.again)
	}
	return s
}

// held says why the lead is not passed to sales now, and the id of what holds it.
func (r *reading) held(l *Lead) (leadv1.Held, string) {
	if r.s.open {
		return leadv1.Held_HELD_OPEN, ""
	}
	v := r.s.weigh(l, r.f, &r.score, nil)
	if l.awaits() && v.path >= 0 {
		return leadv1.Held_HELD_CLAIM, ""
	}
	if v.held == leadv1.Held_HELD_UNSPECIFIED {
		// It qualifies with its next event: time alone never passes a lead on.
		return leadv1.Held_HELD_NO_PATH, ""
	}
	return v.held, v.by
}

// Explain returns where a lead's scores come from and what each path still wants, under each agreement in force that it
// stands under. The instant is as for View.
func Explain(l *Lead, g *Log, at time.Time) []*leadv1.Explanation {
	var list []*leadv1.Explanation
	for _, r := range l.readings(g, l.instant(at)) {
		e := &leadv1.Explanation{
			Agreement: r.f.Name, Score: r.score.proto(r.f), Contributions: r.score.contributions(),
		}
		for i := range r.f.Paths {
			e.Paths = append(e.Paths, r.progress(l, i))
		}
		list = append(list, e)
	}
	return list
}

// progress says whether a path holds, and what it still wants.
func (r *reading) progress(l *Lead, path int) *leadv1.PathProgress {
	p := &r.f.Paths[path]
	g := &leadv1.PathProgress{Path: p.ID, Holds: r.s.holds(r.f, path, &r.score)}
	want := func(parts ...string) { g.Wants = append(g.Wants, strings.Join(parts, "")) }
	if p.Rule >= 0 && r.s.actOf(r.f.Rules[p.Rule].ID) == nil {
		want("an act that the rule ", r.f.Rules[p.Rule].ID, " matches")
	}
	short := func(bound *agreement.Points, has int64, of string) {
		if bound != nil && has < int64(*bound) {
			want(decimal(int64(*bound)-has), " more points", of)
		}
	}
	short(p.Threshold, r.score.total(), "")
	short(p.MinFit, r.score.fit, " of fit")
	short(p.MinEngagement, r.score.engagement, " of engagement")
	for _, name := range p.Require {
		if l.lacks([]string{name}) != "" {
			want(name)
		}
	}
	if held, by := r.against(l); held != "" {
		want(held, by)
	}
	switch _, why := r.s.restsOn(r.f, path, nil); {
	case r.s.open, why == 0:
	case r.s.never:
		want("nothing: after ", r.s.outcome, " it never qualifies again")
	case why == leadv1.Held_HELD_AGAIN:
		want("a new act that gives points, dated at or after ", time.Unix(0, r.s.again).UTC().Format(time.RFC3339))
	default:
		want("a new act that gives points")
	}
	if l.awaits() {
		want("the history of another of its identities, which is on its way")
	}
	if r.s.open {
		want("the end of its open episode")
	}
	return g
}

// against says what speaks against passing the lead on, whatever the path.
func (r *reading) against(l *Lead) (what, by string) {
	v := r.s.objection(l, r.f)
	switch v.held {
	case leadv1.Held_HELD_DIVERTED:
		if v.to != "" {
			return "not to belong to " + v.to + " already: ", v.by
		}
		return "not to belong to somebody already: ", v.by
	case leadv1.Held_HELD_TURNED_AWAY:
		return "not to be turned away: ", v.by
	case leadv1.Held_HELD_CONSENT:
		return "its consent, which was withdrawn for ", v.by
	default:
		return "", ""
	}
}

// decimal writes thousandths as points, without trailing zeros.
func decimal(thousandths int64) string {
	return strconv.FormatFloat(points(thousandths), 'f', -1, 64)
}

// Bounds of the profile in a fact, in bytes. A fact that is greater than what NATS takes (1 MiB) would never leave.
const (
	maxProfile = 512 << 10 // has room for every short value
	maxShort   = 256       // of a value that is told before the longer ones
)

// profile returns what is known of the lead and its account, as texts: the short values, then the others while there is room.
func (l *Lead) profile(room int) *leadv1.Profile {
	var maps [spaces]map[string]string
	for _, short := range [...]bool{true, false} {
		for space := range l.attributes {
			for i := range l.attributes[space] {
				a := &l.attributes[space][i]
				v := a.value().String()
				if v == "" || short != (len(v) <= maxShort) || room < len(a.name)+len(v) {
					continue
				}
				room -= len(a.name) + len(v)
				if maps[space] == nil {
					maps[space] = map[string]string{}
				}
				maps[space][a.name] = v
			}
		}
	}
	return &leadv1.Profile{Lead: maps[ofLead], Account: maps[ofAccount], Ids: maps[ofIDs]}
}

func (a *act) proto() *leadv1.Act {
	return &leadv1.Act{
		Source: a.source, Id: a.id, Type: a.kind, Time: stamp(a.time), ArrivedAt: stamp(a.arrived),
		Properties: texts(a.properties), Campaign: texts(a.campaign),
	}
}

// texts returns the values of a JSON object as texts. Of a name given twice the last counts.
func texts(object string) map[string]string {
	o := event.ObjectOf(object)
	var m map[string]string
	for _, f := range o.Fields() {
		if v := f.Value.String(); v != "" {
			if m == nil {
				m = map[string]string{}
			}
			m[f.Name] = v
		}
	}
	return m
}
