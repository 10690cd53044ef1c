package handoff

import (
	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
)

// VerbName is a verb as people and the command line write it ("hand-over"); "" if it is none.
func VerbName(v handoffv1.Verb) string { return verbNames[v] }

// ParseVerb is the verb of a name.
func ParseVerb(name string) (handoffv1.Verb, bool) {
	for v, n := range verbNames {
		if n == name {
			return v, true
		}
	}
	return 0, false
}

var verbNames = map[handoffv1.Verb]string{
	handoffv1.Verb_VERB_ACKNOWLEDGE: "acknowledge",
	handoffv1.Verb_VERB_ACCEPT:      "accept",
	handoffv1.Verb_VERB_REJECT:      "reject",
	handoffv1.Verb_VERB_ATTEMPTED:   "attempted",
	handoffv1.Verb_VERB_REACHED:     "reached",
	handoffv1.Verb_VERB_MEETING:     "meeting",
	handoffv1.Verb_VERB_OPPORTUNITY: "opportunity",
	handoffv1.Verb_VERB_NURTURE:     "nurture",
	handoffv1.Verb_VERB_DISQUALIFY:  "disqualify",
	handoffv1.Verb_VERB_HAND_OVER:   "hand-over",
	handoffv1.Verb_VERB_SNOOZE:      "snooze",
	handoffv1.Verb_VERB_WON:         "won",
	handoffv1.Verb_VERB_LOST:        "lost",
}

// OutcomeName is an outcome as the agreement names it ("rejected"); "" if it is none.
func OutcomeName(o handoffv1.Outcome) string {
	switch o {
	case handoffv1.Outcome_OUTCOME_REJECTED:
		return "rejected"
	case handoffv1.Outcome_OUTCOME_NURTURE:
		return "nurture"
	case handoffv1.Outcome_OUTCOME_DISQUALIFIED:
		return "disqualified"
	case handoffv1.Outcome_OUTCOME_WON:
		return "won"
	case handoffv1.Outcome_OUTCOME_LOST:
		return "lost"
	case handoffv1.Outcome_OUTCOME_RECALLED:
		return "recalled"
	case handoffv1.Outcome_OUTCOME_UNSPECIFIED:
	}
	return ""
}

// StateName is a state as people read it; "" if it is none.
func StateName(s handoffv1.State) string {
	switch s {
	case handoffv1.State_STATE_OFFERED:
		return "offered"
	case handoffv1.State_STATE_ACKNOWLEDGED:
		return "acknowledged"
	case handoffv1.State_STATE_ACCEPTED:
		return "accepted"
	case handoffv1.State_STATE_OPPORTUNITY:
		return "opportunity"
	case handoffv1.State_STATE_CLOSED:
		return "closed"
	case handoffv1.State_STATE_UNSPECIFIED:
	}
	return ""
}
