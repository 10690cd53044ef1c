package main

import (
	"context"
	"fmt"

	"google.golang.org/grpc"

	rosterv1 "github.com/leadbaton/baton/api/gen/baton/roster/v1"
	"github.com/leadbaton/baton/services/internal/roster"
)

type rosterShowCommand struct {
	File string `arg:"" optional:"" help:"Show this file instead of the roster in force."`
	outputFlag
	clientFlags
}

// Run shows a roster, and what each rep carries.
func (c *rosterShowCommand) Run(s *system) error {
	if c.File != "" {
		r, err := s.parseRoster(c.File)
		if err != nil {
			return err
		}
		if c.Output == "json" {
			return writeJSON(s.out, &rosterv1.GetResponse{Roster: &rosterv1.Roster{Document: r.Document}})
		}
		return roster.Show(s.out, r, s.now(), nil)
	}
	return c.call(s, func(ctx context.Context, conn *grpc.ClientConn) error {
		r, inForce, err := rosterInForce(ctx, s, conn)
		if err != nil {
			return err
		}
		if c.Output == "json" {
			return writeJSON(s.out, r)
		}
		p := s.page()
		p.Roster(r.GetRoster())
		if err := p.Err(); err != nil {
			return err
		}
		return roster.Show(s.out, inForce, s.now(), loads(r))
	})
}

// rosterInForce asks for the roster and reads its document.
func rosterInForce(ctx context.Context, s *system, conn *grpc.ClientConn) (*rosterv1.GetResponse, *roster.Roster, error) {
	r, err := rosterv1.NewRosterServiceClient(conn).Get(ctx, &rosterv1.GetRequest{})
	if err != nil {
		return nil, nil, err
	}
	inForce, findings := roster.Parse(r.GetRoster().GetDocument())
	if inForce == nil {
		s.errorPage().Findings("roster", findings)
		return nil, nil, fmt.Errorf("this baton cannot read the roster in force: it is of another version; update it")
	}
	return r, inForce, nil
}

func loads(r *rosterv1.GetResponse) map[string]roster.Load {
	m := make(map[string]roster.Load, len(r.GetReps()))
	for _, rep := range r.GetReps() {
		m[rep.GetRep()] = roster.Load{Open: int64(rep.GetOpen()), Today: int64(rep.GetToday())}
	}
	return m
}
