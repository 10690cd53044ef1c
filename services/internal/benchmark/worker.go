package benchmark

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/v9"

	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/fold"
)

// Worker is one of the consumers that Baton is compared with, in a process of its own.
type Worker struct {
	Part   string // consume, write or textbook
	NATS   string
	Redis  string
	Events int // after how many events it ends
	Bytes  int // of write: how many bytes
}

// outcome is what a worker says when it has ended, as JSON on its standard output.
type outcome struct {
	Events  int     `json:"events"`
	Seconds float64 `json:"seconds"`
}

// Run does the worker's part and writes its outcome.
func (w Worker) Run(ctx context.Context, out io.Writer) error {
	var o outcome
	var err error
	switch w.Part {
	case "consume":
		o, err = w.consume(ctx)
	case "write":
		o, err = w.write(ctx)
	case "textbook":
		o, err = w.textbook(ctx)
	default:
		err = fmt.Errorf("there is no part %q", w.Part)
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(o)
}

// consume reads all shards by ordered push consumers and does nothing with the events: the most that any consumer can do.
// Each has a connection, since what the server lets them have on the way together is more than what it lets wait for one.
func (w Worker) consume(ctx context.Context) (outcome, error) {
	var n, bytes atomic.Int64
	done := make(chan struct{})
	start := time.Now()
	for _, id := range subject.Shards {
		nc, err := nats.Connect(w.NATS)
		if err != nil {
			return outcome{}, err
		}
		defer nc.Close()
		js, err := nc.JetStream(nats.MaxWait(patience))
		if err != nil {
			return outcome{}, err
		}
		_, err = js.Subscribe("", func(m *nats.Msg) {
			bytes.Add(int64(len(m.Data)))
			if n.Add(1) == int64(w.Events) {
				close(done)
			}
		}, nats.BindStream(subject.EngagementStream(id)), nats.OrderedConsumer(), nats.DeliverAll())
		if err != nil {
			return outcome{}, err
		}
	}
	select {
	case <-done:
	case <-ctx.Done():
		return outcome{}, ctx.Err()
	}
	return outcome{w.Events, time.Since(start).Seconds()}, nil
}

// writeFields is how many fields one HSET of the floor has.
const writeFields = 1000

// write takes the states that Baton left and writes them again and again by variadic HSET, until as many bytes are written
// as Baton's commits had.
func (w Worker) write(ctx context.Context) (outcome, error) {
	store, err := fold.OpenRedis(fold.RedisOptions{URL: w.Redis})
	if err != nil {
		return outcome{}, err
	}
	defer func() { _ = store.Close() }()
	opt, err := redis.ParseURL(w.Redis)
	if err != nil {
		return outcome{}, err
	}
	rdb := redis.NewClient(opt)
	defer func() { _ = rdb.Close() }()
	var shards [len(subject.Shards)][][]any // the arguments of each HSET
	for i, id := range subject.Shards {
		args, size := []any(nil), 0
		cut := func() {
			if len(args) > 0 {
				shards[i] = append(shards[i], args)
			}
			args = nil
		}
		err := store.Scan(ctx, id, fold.Held{}, func(name string, value []byte) bool {
			if args = append(args, name, value); len(args) == 2*writeFields {
				cut()
			}
			size += len(name) + len(value)
			return true
		})
		if err != nil {
			return outcome{}, err
		}
		cut()
		if size == 0 {
			return outcome{}, fmt.Errorf("shard %s holds no states to be written: run the part %q before", id, partScorer)
		}
	}
	if err := rdb.FlushAll(ctx).Err(); err != nil {
		return outcome{}, err
	}
	var all sync.WaitGroup
	errs := make(chan error, len(shards))
	start := time.Now()
	for i, commands := range shards {
		all.Go(func() {
			for left, n := w.Bytes/len(shards), 0; left > 0; n++ {
				args := commands[n%len(commands)]
				if err := rdb.HSet(ctx, "floor:"+strconv.Itoa(i), args...).Err(); err != nil {
					errs <- err
					return
				}
				for j := 0; j < len(args); j += 2 {
					left -= len(args[j].(string)) + len(args[j+1].([]byte))
				}
			}
		})
	}
	all.Wait()
	select {
	case err := <-errs:
		return outcome{}, err
	default:
	}
	return outcome{w.Events, time.Since(start).Seconds()}, nil
}
