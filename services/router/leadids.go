package router

import (
	"strings"
	"time"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	"github.com/leadbaton/baton/api/leadkey"
	"github.com/leadbaton/baton/services/internal/handoff"
)

// leadIDs finds a lead's key by an id that a system gave it. A lead's own key is often that of its address, so the key
// of SYSTEM:ID leads nowhere.
type leadIDs struct {
	keys  map[leadID]string
	order []leadID // oldest first
}

type leadID struct{ system, id string }

func newLeadIDs() *leadIDs { return &leadIDs{keys: map[leadID]string{}} }

// keptLeadIDs is how many ids are remembered, the newest: as many as there are handoffs that are.
const keptLeadIDs = handoff.KeptClosed

// fold takes note of the ids that a qualification carries.
func (l *leadIDs) fold(f *handoffv1.Fact) {
	q := f.GetHandoffOpened().GetQualified()
	if q == nil {
		q = f.GetHandoffJoined().GetQualified()
	}
	for system, id := range q.GetLeadQualified().GetProfile().GetIds() {
		k := leadID{system, id}
		if _, ok := l.keys[k]; !ok {
			l.order = append(l.order, k)
		}
		l.keys[k] = q.GetLeadKey()
	}
	for len(l.order) > keptLeadIDs {
		delete(l.keys, l.order[0])
		l.order[0] = leadID{}
		l.order = l.order[1:]
	}
}

// find returns the key that handoffs of a lead are under: the resolved one, unless that has none and what the caller wrote
// is an id that a qualified lead carries.
func (l *leadIDs) find(s *handoff.State, key leadkey.Key, written string) string {
	if key == "" {
		return ""
	}
	if _, total := s.List(handoff.Filter{LeadKey: string(key), Limit: 1}, time.Time{}); total > 0 {
		return string(key)
	}
	system, id, _ := strings.Cut(leadkey.TrimSpace(written), ":")
	if k, ok := l.keys[leadID{system, id}]; ok {
		return k
	}
	return string(key)
}
