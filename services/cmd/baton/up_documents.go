package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	agreementv1 "github.com/leadbaton/baton/api/gen/baton/agreement/v1"
	rosterv1 "github.com/leadbaton/baton/api/gen/baton/roster/v1"
	"github.com/leadbaton/baton/services/cmd/baton/example"
)

// documents are what up puts in force: those that were given, and the examples where none is in force yet.
type documents struct {
	given struct{ agreement, roster []byte }
}

func (c *upCommand) documents(s *system) (documents, error) {
	var d documents
	if c.Agreement != "" {
		a, err := s.parseAgreement(c.Agreement)
		if err != nil {
			return d, err
		}
		if _, failed := runTests(s, a); failed > 0 {
			return d, untested(c.Agreement, failed)
		}
		d.given.agreement = a.Document
	}
	if c.Roster != "" {
		r, err := s.parseRoster(c.Roster)
		if err != nil {
			return d, err
		}
		d.given.roster = r.Document
	}
	return d, nil
}

// inForce is what both teams work by.
type inForce struct {
	agreements []*agreementv1.Agreement
	roster     *rosterv1.GetResponse
}

// enforce puts the documents in force, and returns what is.
func (d documents) enforce(ctx context.Context, conn *grpc.ClientConn) (*inForce, error) {
	agreements, rosters := agreementv1.NewAgreementServiceClient(conn), rosterv1.NewRosterServiceClient(conn)
	list, err := agreements.List(ctx, &agreementv1.ListRequest{})
	if err != nil {
		return nil, refused("the agreements in force cannot be read", err)
	}
	doc := d.given.agreement
	if doc == nil && len(list.GetAgreements()) == 0 {
		doc = example.Agreement
	}
	if doc != nil {
		// The router has done it already with one that was given; here it is known that it did.
		if _, err := agreements.Activate(ctx, &agreementv1.ActivateRequest{RequestId: requestFlag{}.id(), Document: doc}); err != nil {
			return nil, refused("the agreement is not put in force", err)
		}
	}
	state := &inForce{}
	// Where no roster is in force, some answer with none and some with an error: both mean the example.
	state.roster, err = rosters.Get(ctx, &rosterv1.GetRequest{})
	doc = d.given.roster
	if doc == nil && (err != nil || len(state.roster.GetRoster().GetDocument()) == 0) {
		doc = example.Roster
	}
	if doc != nil {
		if _, err := rosters.Apply(ctx, &rosterv1.ApplyRequest{RequestId: requestFlag{}.id(), Document: doc}); err != nil {
			return nil, refused("the roster is not put in force", err)
		}
	}
	if list, err = agreements.List(ctx, &agreementv1.ListRequest{}); err != nil {
		return nil, refused("the agreements in force cannot be read", err)
	}
	if state.roster, err = rosters.Get(ctx, &rosterv1.GetRequest{}); err != nil {
		return nil, refused("the roster in force cannot be read", err)
	}
	state.agreements = list.GetAgreements()
	return state, nil
}

func refused(what string, err error) error {
	return fmt.Errorf("%s: %s", what, status.Convert(err).Message())
}

const (
	// beginEvery is how often the services are asked whether they work.
	beginEvery = 20 * time.Millisecond
	// beginSlow is when it is said what is being waited for.
	beginSlow = 10 * time.Second
)

// awaitReady waits until every service works.
func (u *running) awaitReady(ctx context.Context) error {
	tick := time.NewTicker(beginEvery)
	defer tick.Stop()
	slow := time.NewTimer(beginSlow)
	defer slow.Stop()
	for {
		err := u.host.ready()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-slow.C:
			u.s.errorPage().Warn("still starting: %v", err)
		case <-tick.C:
		}
	}
}

// sourceOfExample is where the example's events are in a checkout.
const sourceOfExample = "services/cmd/baton/example/events.jsonl"

// exampleEvents returns the path of the example's events; without a checkout they are written into the data folder.
func (u *running) exampleEvents() (string, error) {
	if _, err := os.Stat(sourceOfExample); err == nil {
		return sourceOfExample, nil
	}
	name := filepath.Join(u.c.Data, "example-events.jsonl")
	if _, err := os.Stat(name); !errors.Is(err, os.ErrNotExist) {
		return name, err
	}
	return name, os.WriteFile(name, example.Events, 0o644)
}
