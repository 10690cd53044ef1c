// Package agreement reads the document that both teams sign: strictly, every error at once, with line and column,
// and compiles it for the fold. It is pure.
package agreement

import (
	"time"

	"github.com/leadbaton/baton/services/internal/attribute"
	"github.com/leadbaton/baton/services/internal/condition"
)

// Points are thousandths of a point.
type Points int64

// Point is one point.
const Point Points = 1000

// Agreement is one document, compiled. It does not change after Parse.
type Agreement struct {
	Name     string
	Owner    string
	Review   time.Duration
	Market   string
	Language map[string]string
	Applies  *condition.Program // nil = true

	Stages []Stage
	Fields map[string]Field // by "lead.title", "account.employees"

	HalfLife time.Duration
	Groups   []Group
	Rules    []Rule    // engagement, in document order
	Fit      []FitRule // in document order
	Grades   Grades

	Require    []string // "lead.email"
	Paths      []Path
	Divert     []Divert
	Disqualify []Disqualifier
	Again      map[string]Again // by outcome: rejected, disqualified, lost, nurture, recalled, won; none is missing
	Reset      bool             // again.reset

	Consent map[string][]string // event type -> scopes withdrawn ("email", "all")

	SLA        SLA
	Escalation []Escalation
	Reasons    Reasons
	Account    *AccountRule // not yet in force
	Targets    *Targets     // not yet in force
	Signers    Signers      // not yet in force
	Tests      []Test

	Document []byte // as parsed

	byType  typeIndex
	written map[string]string // durations as the document writes them, by their path, for Show
}

// RulesFor returns the indexes into Rules of the rules whose `on` matches an event type, in document order.
// The result is shared: do not change it.
func (a *Agreement) RulesFor(eventType string) []int { return a.byType.lookup(a.Rules, eventType) }

// Stage is one stage of the funnel.
type Stage struct {
	ID, Name, Enters, Owner string
	Expect                  time.Duration
}

// Field declares an attribute.
type Field struct {
	Type   FieldType
	Range  string   // low, high; int only
	Prefer []string // sources, best first
}

// Normalise reads a published value as the field's type. ok is false if it cannot be read so. The zero Field is that of
// an undeclared attribute: text.
func (f Field) Normalise(v attribute.Value) (value attribute.Value, ok bool) {
	return attribute.Normalise(attribute.Declaration{Type: f.Type, Range: f.Range}, v)
}

// FieldType is the closed set of declared types.
type FieldType = attribute.Type

// The types.
const (
	TypeText    = attribute.TypeText
	TypeInt     = attribute.TypeInt
	TypeBool    = attribute.TypeBool
	TypeCountry = attribute.TypeCountry
)

// Group limits the positive points of its rules.
type Group struct {
	ID    string
	Limit Points
}

// Rule gives points for an event.
type Rule struct {
	ID       string
	On       []string
	When     *condition.Program // nil = true
	Points   Points
	Group    int           // index into Groups; -1 = none
	HalfLife time.Duration // resolved: the rule's own, else the global one; 0 = never fades
	Cap      *Cap
}

// Cap bounds the unfaded points of a rule in each fixed stretch of event time.
type Cap struct {
	Points Points
	Per    time.Duration
}

// FitRule gives points for what is known.
type FitRule struct {
	ID     string
	When   *condition.Program
	Points Points
}

// Grades are inclusive lower bounds.
type Grades struct {
	A, B, C    Points    // fit; D below C
	Engagement [3]Points // 1, 2, 3; 4 below 3
	Set        bool      // false: the document has no grades
}

// Path is a way to qualify.
type Path struct {
	ID string
	// Rule is the index into Rules whose match qualifies; -1 = by score.
	Rule          int
	Threshold     *Points
	MinFit        *Points
	MinEngagement *Points
	Require       []string // resolved: its own, else the qualification's
	Urgent        bool
	Deliver       time.Duration // resolved: its own sla.deliver, else sla.sales.deliver
	Clock         Clock         // of Deliver
	Acknowledge   *Term         // its own, not yet in force
	FollowUp      *Term
}

// Divert keeps a lead from being passed, since somebody owns it.
type Divert struct {
	ID   string
	When *condition.Program
	To   string // attribute path, "account.owner"
}

// Disqualifier turns a lead away.
type Disqualifier struct {
	ID   string
	When *condition.Program
}

// Again says when a lead may qualify once more after an outcome.
type Again struct {
	Never bool
	After time.Duration
	To    string // "same-rep" or ""
}

// Clock is which time a term counts.
type Clock string

// The clocks.
const (
	ClockWall    Clock = "wall"
	ClockWorking Clock = "working"
)

// SLA is who owes what by when. Only Deliver is in force.
type SLA struct {
	Clock       Clock
	Deliver     time.Duration
	Acknowledge *Term
	FollowUp    *Term
	Feedback    *Term
	Outcome     *Term
	PerDay      int64
	Marketing   *MarketingSLA
}

// Term is a time to do something in.
type Term struct {
	Within time.Duration
	From   string
	Clock  Clock
}

// MarketingSLA is what marketing owes. Not yet in force.
type MarketingSLA struct {
	Qualified    int64
	Per          string
	Completeness string // decimal digits
	Wanted       []string
	Acceptance   string
}

// Escalation is one step when a term runs out. Not yet in force.
type Escalation struct {
	Of      string
	Percent int64
	Do      string
}

// Reasons are why sales says no, by id.
type Reasons struct {
	Reject     []Reason
	Disqualify []Reason
}

// Reason is one of them.
type Reason struct {
	ID, Then, Against string
	NoteRequired      bool
}

// AccountRule qualifies people of one company together. Not yet in force.
type AccountRule struct {
	Key       string
	Threshold Points
	MinLeads  int64
	Within    time.Duration
}

// Targets are what both teams are measured by. Not yet in force.
type Targets struct {
	Per             string
	FiscalYearStart int64
	Won             int64
	Revenue         string
	Expansion       string
	Currency        string
}

// Signers may sign. Not yet in force.
type Signers struct{ Marketing, Sales []string }

// Test is one of the document's own tests.
type Test struct {
	Name    string
	Line    int
	Lead    map[string]any // as in a CloudEvent's data.lead
	Account map[string]any
	Events  []TestEvent
	Want    TestWant
}

// TestEvent is one event of a test: Properties is every key but ago, type, times, source, campaign, lead and account.
type TestEvent struct {
	Ago        time.Duration
	Type       string
	Source     string
	Times      int
	Properties map[string]any
	Campaign   map[string]any
	Lead       map[string]any
	Account    map[string]any
}

// TestWant is what a test expects; nil means it does not say.
type TestWant struct {
	Qualified    *bool
	Path         *string
	Score        *int64 // rounded half up
	Engagement   *int64
	Fit          *int64
	Grade        *string
	Stage        *string
	Divert       *string
	Disqualified *string
}
