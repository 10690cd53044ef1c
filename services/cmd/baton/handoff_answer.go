package main

import (
	"context"

	"google.golang.org/grpc"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	"github.com/leadbaton/baton/services/cmd/baton/internal/screen"
)

type handoffAnswerCommand struct {
	Words     []string `arg:"" name:"[id] verb" help:"The handoff's id (or --lead), and what became of it: ${verbs}."`
	Lead      leadName `placeholder:"LEAD" help:"The lead whose open handoff is meant, instead of an id: SYSTEM:ID, an e-mail address, or a lead key."`
	Rep       string   `placeholder:"REP" help:"Who says so."`
	To        string   `placeholder:"REP" help:"With hand-over: who takes over."`
	Until     instant  `placeholder:"TIME" help:"With snooze: not before this time."`
	Reason    string   `placeholder:"REASON" help:"Why, by id of the agreement's reasons; any text with snooze and lost."`
	Note      string   `placeholder:"TEXT" help:"A note."`
	Amount    *float64 `placeholder:"N" help:"With won: how much, in units of --currency."`
	Currency  string   `placeholder:"CODE" help:"The amount's currency, such as EUR."`
	Objection string   `placeholder:"TEXT" help:"What the customer asked."`
	Need      string   `placeholder:"TEXT" help:"What sales wants from marketing."`
	requestFlag
	outputFlag
	clientFlags
}

// Run says what became of a handoff.
func (c *handoffAnswerCommand) Run(s *system) error {
	q, err := c.request()
	if err != nil {
		return err
	}
	return c.call(s, func(ctx context.Context, conn *grpc.ClientConn) error {
		r, err := handoffv1.NewHandoffServiceClient(conn).Answer(ctx, q)
		if err != nil {
			return err
		}
		return c.write(s, r, func(p *screen.Page) { p.Handoff(r.GetHandoff()) })
	})
}

func (c *handoffAnswerCommand) request() (*handoffv1.AnswerRequest, error) {
	q := &handoffv1.AnswerRequest{RequestId: c.id(), Lead: string(c.Lead)}
	switch {
	case c.Lead == "" && len(c.Words) == 2:
		q.HandoffId = c.Words[0]
	case c.Lead == "" || len(c.Words) != 1:
		return nil, usagef("name the handoff once, and one answer: baton handoff answer ID VERB, or baton handoff answer --lead LEAD VERB")
	}
	var v verb
	if err := v.UnmarshalText([]byte(c.Words[len(c.Words)-1])); err != nil {
		return nil, usagef("%w", err)
	}
	if (c.Amount != nil) != (c.Currency != "") {
		return nil, usagef("--amount and --currency go together")
	}
	a := &handoffv1.HandoffAnswered{
		Verb: v.Verb, Rep: c.Rep, Reason: c.Reason, Note: c.Note, To: c.To, Until: c.Until.proto(), Objection: c.Objection, Need: c.Need,
	}
	if c.Amount != nil {
		a.Amount = &handoffv1.Money{Amount: *c.Amount, Currency: c.Currency}
	}
	switch {
	case v.Verb == handoffv1.Verb_VERB_HAND_OVER && c.To == "":
		return nil, usagef("hand-over wants --to REP")
	case v.Verb == handoffv1.Verb_VERB_SNOOZE && c.Until.IsZero():
		return nil, usagef("snooze wants --until TIME")
	}
	q.Answer = a
	return q, nil
}
