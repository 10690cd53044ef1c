package main

import (
	"fmt"
	"os"

	"github.com/leadbaton/baton/services/internal/roster"
)

// summary says where everything is, what is in force, and what to type next.
func (u *running) summary(state *inForce) error {
	p := u.s.page()
	p.Title("Baton is running. Ctrl-C stops it.")
	rows := [][2]string{{"gRPC", u.grpc}, {"HTTP", webText(u.web)}, {"NATS", u.nats + whose(u.c.NATS == "")}, {"states", states(u.c.Redis)}, {"data", u.c.Data}}
	unsigned := false
	for _, a := range state.agreements {
		text := fmt.Sprintf("%s v%d", a.GetName(), a.GetVersion())
		if a.GetUnsigned() {
			text += ", unsigned"
			unsigned = true
		}
		rows = append(rows, [2]string{"agreement", text})
	}
	rows = append(rows, [2]string{"roster", rosterText(state)})
	for _, r := range rows {
		p.Say("  %-10s %s", r[0], r[1])
	}
	if unsigned {
		p.Warn("The agreement is unsigned: nobody of marketing or sales has signed these bytes.")
	}
	events, err := u.exampleEvents()
	if err != nil {
		return err
	}
	baton := os.Args[0]
	grpc, nats := "", ""
	if u.grpc != defaultGRPC {
		grpc = " --grpc " + u.grpc
	}
	if u.nats != defaultNATS {
		nats = " --nats " + u.nats
	}
	p.Say("")
	p.Say("Wait for leads as a sales tool does, in a second terminal:")
	p.Say("  %s watch --confirm%s", baton, grpc)
	p.Say("Publish what some people did, and see why one of them was passed to sales, in a third:")
	p.Say("  %s publish%s %s", baton, nats, events)
	p.Say("  %s lead explain%s d@acme.example", baton, grpc)
	return p.Err()
}

func webText(address string) string {
	if address == "" {
		return "none (--http)"
	}
	return "http://" + address + "/readyz"
}

func whose(ours bool) string {
	if ours {
		return " (embedded)"
	}
	return ""
}

func states(redis string) string {
	if redis == "" {
		return "in memory, restored from snapshots and the log at each start"
	}
	return "in Redis"
}

func rosterText(state *inForce) string {
	text := fmt.Sprintf("v%d", state.roster.GetRoster().GetVersion())
	if r, _ := roster.Parse(state.roster.GetRoster().GetDocument()); r != nil {
		text += fmt.Sprintf(", %d reps in %d teams", len(r.Reps), len(r.Teams))
	}
	return text
}
