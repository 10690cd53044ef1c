// Package roster reads the document of teams, reps, hours and channels: strictly, every error at once, with line and
// column. It answers who is on duty when, and chooses the rep for a lead, with the reason for it and the reasons against
// all others. It is pure: no clock, no I/O; the same request gives the same decision.
package roster

import (
	"time"

	"github.com/leadbaton/baton/services/internal/condition"
	"github.com/leadbaton/baton/services/internal/document"
)

// Roster is one document, compiled. It does not change after Parse and is safe for concurrent use.
type Roster struct {
	Channels []*Channel // in document order, as all lists here
	Accounts *Accounts  // not yet in force
	Teams    []*Team
	Reps     []*Rep
	Document []byte // as parsed

	channels map[string]*Channel
	teams    map[string]*Team
	reps     map[string]*Rep
}

// Channel returns the channel of a name; nil if there is none.
func (r *Roster) Channel(name string) *Channel { return r.channels[name] }

// Team returns the team of an id; nil if there is none.
func (r *Roster) Team(id string) *Team { return r.teams[id] }

// Rep returns the rep of an id; nil if there is none.
func (r *Roster) Rep(id string) *Rep { return r.reps[id] }

// Channel is a way to tell a rep.
type Channel struct {
	Name string
	Kind string // grpc, slack, email, webhook
	// URL is where a webhook posts to.
	URL string
	// File is the path of the secret: a Slack token, a webhook's signing secret. The document itself holds none.
	File string

	file document.Node
}

// Kinds of channels.
const (
	KindGRPC    = "grpc"
	KindSlack   = "slack"
	KindEmail   = "email"
	KindWebhook = "webhook"
)

// Accounts says that leads of named accounts go to the account's owner first. Not yet in force.
type Accounts struct {
	Owner     string // attribute path: account.owner
	File      string
	OwnerAway string // cover, team, hold
}

// Pick is how a team chooses among its reps.
type Pick string

// The ways to pick.
const (
	PickFair      Pick = "fair"       // the rep furthest below its share by weight
	PickRotate    Pick = "rotate"     // in turn
	PickLeastBusy Pick = "least-busy" // fewest open handoffs for its size
)

// What happens when nobody of a team is on duty with free capacity, besides another team's id.
const (
	OverflowHold   = "hold"   // wait until somebody is
	OverflowAnyone = "anyone" // somebody of this team takes it all the same
)

// Team is a pool of reps.
type Team struct {
	ID       string
	When     *condition.Program // nil = every lead
	WhenText string             // as the document has it
	Pick     Pick
	Reps     []*Rep
	Manager  *Manager // not yet in force
	Hours    *Hours   // nil = always
	Overflow string   // a team's id, OverflowHold or OverflowAnyone
}

// Manager is told when a term runs out. Not yet in force.
type Manager struct {
	Email    string
	Channels []Use
}

// Rep is one sales person.
type Rep struct {
	ID, Name, Email string
	// Weight is the share of the team's value, in thousandths; 1000 unless the document says otherwise.
	Weight   int64
	Capacity Capacity
	Skills   []string // not yet in force
	Hours    *Hours   // nil = those of its team
	Away     []Absence
	Channels []Use         // in the order in which they are tried
	Left     document.Date // not yet in force
	// Successor takes over what is open when the rep has left. Not yet in force.
	Successor string
	// Teams that it belongs to.
	Teams []*Team
}

// Capacity bounds what a rep is given; 0 = no bound.
type Capacity struct {
	Open   int64 // handoffs that are not closed
	PerDay int64 // handoffs assigned on one day, in the rep's Zone
}

// Absence is whole days, both included.
type Absence struct {
	From, To document.Date
	Cover    string // the rep that takes what this one would be given; "" = nobody
}

// Use is a channel of a rep, with the rep's address there.
type Use struct {
	Channel *Channel
	To      string
}

// Zone is where the rep's days begin and end: the zone of its hours, else of its team's, else UTC.
func (p *Rep) Zone() *time.Location {
	if h := p.hours(); h != nil {
		return h.Zone
	}
	return time.UTC
}

// hours are the rep's own, else those of its team; nil = always.
func (p *Rep) hours() *Hours {
	if p.Hours != nil {
		return p.Hours
	}
	if len(p.Teams) == 1 {
		return p.Teams[0].Hours
	}
	return nil
}

// Load is what a rep carries now.
type Load struct {
	Open  int64 // handoffs that are not closed
	Today int64 // handoffs assigned today, in the rep's Zone
}
