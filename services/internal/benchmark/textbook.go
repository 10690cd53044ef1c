package benchmark

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"github.com/leadbaton/baton/api/subject"
)

// textbookScript counts one event: not twice, its points by rule, and their sum. Arguments: rule, points, ...
var textbookScript = redis.NewScript(`
if not redis.call('SET', KEYS[1], '1', 'NX', 'EX', 86400) then return 0 end
local sum = 0
for i = 1, #ARGV, 2 do
  redis.call('HINCRBY', KEYS[2], ARGV[i], ARGV[i + 1])
  sum = sum + ARGV[i + 1]
end
return redis.call('HINCRBY', KEYS[2], 'score', sum)`)

const (
	textbookAhead = 1000 // messages that each stream's consumer may have in flight
	textbookBatch = 256  // messages whose scripts go to Redis in one pipeline
)

// textbook scores as the manuals of NATS and Redis show it: a durable consumer of each stream, one script and one
// acknowledgement for each message. It is kind to the manuals: what has gathered shares a pipeline, and nothing fades.
func (w Worker) textbook(ctx context.Context) (outcome, error) {
	nc, err := nats.Connect(w.NATS)
	if err != nil {
		return outcome{}, err
	}
	defer nc.Close()
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(patience))
	if err != nil {
		return outcome{}, err
	}
	opt, err := redis.ParseURL(w.Redis)
	if err != nil {
		return outcome{}, err
	}
	rdb := redis.NewClient(opt)
	defer func() { _ = rdb.Close() }()
	if err := textbookScript.Load(ctx, rdb).Err(); err != nil {
		return outcome{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		running sync.WaitGroup
		mu      sync.Mutex
		left    = w.Events
		failed  error
	)
	var consumers []jetstream.Consumer
	for _, id := range subject.Shards {
		name := subject.EngagementStream(id)
		c, err := js.CreateConsumer(ctx, name, jetstream.ConsumerConfig{
			Durable: "textbook", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: textbookAhead,
		})
		if err != nil {
			return outcome{}, err
		}
		defer func() { _ = js.DeleteConsumer(context.WithoutCancel(ctx), name, "textbook") }()
		consumers = append(consumers, c)
	}
	start := time.Now()
	for _, c := range consumers {
		messages := make(chan jetstream.Msg, textbookAhead)
		consuming, err := c.Consume(func(m jetstream.Msg) {
			select {
			case messages <- m:
			case <-ctx.Done():
			}
		}, jetstream.PullMaxMessages(textbookAhead))
		if err != nil {
			return outcome{}, err
		}
		defer consuming.Stop()
		running.Go(func() {
			err := score(ctx, rdb, messages, func(n int) {
				mu.Lock()
				defer mu.Unlock()
				if left -= n; left <= 0 {
					cancel()
				}
			})
			mu.Lock()
			defer mu.Unlock()
			if err != nil && left > 0 {
				failed = err
				cancel()
			}
		})
	}
	running.Wait()
	seconds := time.Since(start).Seconds()
	mu.Lock()
	defer mu.Unlock()
	if left > 0 {
		return outcome{}, fmt.Errorf("%d of %d events are left: %w", left, w.Events, failed)
	}
	return outcome{w.Events - left, seconds}, nil
}

// score takes messages until ctx ends, and tells of how many it has taken each time.
func score(ctx context.Context, rdb *redis.Client, messages <-chan jetstream.Msg, took func(int)) error {
	var batch []jetstream.Msg
	for {
		batch = batch[:0]
		select {
		case m := <-messages:
			batch = append(batch, m)
		case <-ctx.Done():
			return ctx.Err()
		}
		for more := true; more && len(batch) < textbookBatch; {
			select {
			case m := <-messages:
				batch = append(batch, m)
			default:
				more = false
			}
		}
		_, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, m := range batch {
				var e textbookEvent
				if json.Unmarshal(m.Data(), &e) != nil {
					continue // not one that marketing published
				}
				textbookScript.EvalSha(ctx, p, []string{"seen:" + e.Source + ":" + e.ID, "lead:" + e.Data.Lead.Email}, e.points()...)
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, m := range batch {
			if err := m.Ack(); err != nil {
				return err
			}
		}
		took(len(batch))
	}
}

// textbookEvent is what the rules ask of an event.
type textbookEvent struct {
	ID     string `json:"id"`
	Source string `json:"source"`
	Type   string `json:"type"`
	Data   struct {
		Lead struct {
			Email   string `json:"email"`
			Title   string `json:"title"`
			Country string `json:"country"`
			Phone   string `json:"phone"`
		} `json:"lead"`
		Account struct {
			Employees int    `json:"employees"`
			Industry  string `json:"industry"`
		} `json:"account"`
		Campaign struct {
			Name string `json:"name"`
		} `json:"campaign"`
		Properties struct {
			Path string `json:"path"`
			Form string `json:"form"`
		} `json:"properties"`
	} `json:"data"`
}

// points are the rules of Agreement, written by hand: rule, points, ...
func (e *textbookEvent) points() (args []any) {
	switch e.Type {
	case "page.viewed":
		for i, p := range pages {
			if strings.HasPrefix(e.Data.Properties.Path, p) {
				args = append(args, "page-"+p, i+1)
			}
		}
	case "form.submitted":
		for i, f := range forms {
			if e.Data.Properties.Form == f {
				args = append(args, "form-"+f, 2*i+1)
			}
		}
	case "email.opened", "email.clicked":
		for i := range mailRules {
			if e.Data.Campaign.Name == campaigns[i] {
				args = append(args, campaigns[i], 1)
			}
		}
	}
	return args
}
