// Command watermill scores a stored backlog of Baton's engagement events as a Watermill application would, to be measured
// beside Baton: `make bench-watermill`.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wnats "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/nats"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/v9"
)

const (
	shards = 16
	// subscribers of each shard: Watermill's subscriber hands over the next message when the one before is acknowledged.
	subscribers = 8
)

// script counts one event: not twice, its points by rule, and their sum. Arguments: rule, points, ...
var script = redis.NewScript(`
if not redis.call('SET', KEYS[1], '1', 'NX', 'EX', 86400) then return 0 end
local sum = 0
for i = 1, #ARGV, 2 do
  redis.call('HINCRBY', KEYS[2], ARGV[i], ARGV[i + 1])
  sum = sum + ARGV[i + 1]
end
return redis.call('HINCRBY', KEYS[2], 'score', sum)`)

func main() {
	natsURL := flag.String("nats", "", "NATS server")
	redisURL := flag.String("redis", "", "Redis server")
	events := flag.Int64("events", 0, "after how many events to end")
	flag.Parse()
	if err := run(*natsURL, *redisURL, *events); err != nil {
		fmt.Fprintln(os.Stderr, "watermill:", err)
		os.Exit(1)
	}
}

func run(natsURL, redisURL string, events int64) error {
	if natsURL == "" || redisURL == "" || events < 1 {
		return errors.New("usage: watermill --nats URL --redis URL --events N; `baton bench --against` gives them")
	}
	opt, err := redis.ParseURL(redisURL)
	if err != nil {
		return err
	}
	opt.PoolSize = shards * subscribers
	rdb := redis.NewClient(opt)
	defer rdb.Close()

	// Unacknowledged messages of an earlier run are not this one's.
	durable := "watermill-" + watermill.NewShortUUID()
	subscriber, err := wnats.NewSubscriber(wnats.SubscriberConfig{
		URL: natsURL, SubscribersCount: subscribers, QueueGroupPrefix: durable, Unmarshaler: &wnats.NATSMarshaler{},
		JetStream: wnats.JetStreamConfig{
			DurableCalculator: func(string, string) string { return durable }, AckAsync: true,
			SubscribeOptions: []nats.SubOpt{nats.DeliverAll(), nats.AckExplicit(), nats.MaxAckPending(1000)},
		},
	}, watermill.NopLogger{})
	if err != nil {
		return err
	}
	router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
	if err != nil {
		return err
	}
	router.AddMiddleware(middleware.Recoverer)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var done atomic.Int64
	var start, end atomic.Int64
	for i := range shards {
		topic := fmt.Sprintf("baton.engagement.*.%x.*", i)
		router.AddConsumerHandler(topic, topic, subscriber, func(m *message.Message) error {
			start.CompareAndSwap(0, time.Now().UnixNano())
			if err := score(m.Context(), rdb, m.Payload); err != nil {
				return err
			}
			if done.Add(1) == events {
				end.Store(time.Now().UnixNano())
				cancel()
			}
			return nil
		})
	}
	// A small backlog may be done while the last handlers are still subscribing; what they then say is no failure.
	if err := router.Run(ctx); done.Load() < events {
		return fmt.Errorf("it ended after %d of %d events: %w", done.Load(), events, err)
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{"events": events, "seconds": float64(end.Load()-start.Load()) / 1e9})
}

// event is what the rules ask of an event.
type event struct {
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

func score(ctx context.Context, rdb *redis.Client, body []byte) error {
	var e event
	if json.Unmarshal(body, &e) != nil {
		return nil // not one that marketing published
	}
	return script.Run(ctx, rdb, []string{"seen:" + e.Source + ":" + e.ID, "lead:" + e.Data.Lead.Email}, e.points()...).Err()
}

var (
	pages = []string{"/pricing", "/product", "/docs", "/blog", "/careers", "/compare", "/customers", "/security", "/partners", "/legal"}
	forms = []string{"demo", "contact", "trial", "newsletter", "webinar", "download"}
)

// points are the rules of the benchmark's agreement, written by hand: rule, points, ...
func (e *event) points() (args []any) {
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
		if n, ok := strings.CutPrefix(e.Data.Campaign.Name, "campaign-"); ok && len(n) == 1 && n < "8" {
			args = append(args, e.Data.Campaign.Name, 1)
		}
	}
	return args
}
