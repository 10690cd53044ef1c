package fold_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/leadbaton/baton/services/internal/fold"
	"github.com/leadbaton/baton/services/internal/servertest"
)

// TestSentinelFailOver: a commit that meets a dying master ends with a known outcome at the promoted one, and what the
// promoted one lacks shows in how many it has had.
func TestSentinelFailOver(t *testing.T) {
	s := servertest.RedisSentinel(t)
	m := s.Master()
	failOver(t, s.URL, func() { s.Lag(t, 1-m) }, func() { s.Redis[m].Kill() })
}

// TestClusterFailOver: the same in a Cluster.
func TestClusterFailOver(t *testing.T) {
	url, nodes := servertest.RedisClusterReplicated(t)
	killed := 0
	master := func(do func(*servertest.Process, *redis.Client)) {
		for _, n := range nodes {
			c := redis.NewClient(&redis.Options{Addr: n.Addr, ReadTimeout: time.Minute})
			if has, err := c.Exists(t.Context(), "baton:{a}:meta").Result(); err == nil && has == 1 { // all others say MOVED
				do(n, c)
			}
			_ = c.Close()
		}
	}
	failOver(t, url, func() {
		// A busy machine may not have let the replica run at all yet.
		master(func(_ *servertest.Process, c *redis.Client) {
			if n, err := c.Wait(t.Context(), 1, 30*time.Second).Result(); err != nil || n < 1 {
				t.Errorf("%d replicas have what was committed: %v", n, err)
			}
		})
	}, func() {
		master(func(n *servertest.Process, _ *redis.Client) {
			n.Kill()
			killed++
		})
	})
	if killed != 1 {
		t.Errorf("%d servers were masters of the shard", killed)
	}
}

func failOver(t *testing.T, url string, before, kill func()) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	st, err := fold.OpenRedis(fold.RedisOptions{URL: url})
	must(t, err)
	defer func() { _ = st.Close() }()
	must(t, st.Check(ctx))
	lease, ok, err := st.Acquire(ctx, "a", "me", time.Minute)
	if err != nil || !ok {
		t.Fatalf("Acquire = %v, %v", ok, err)
	}
	at := fold.Position{Created: 1}
	commit := func() (fold.Position, error) { // each advances the position by one
		c := &fold.Commit{Lease: lease, Version: "v", Number: at.Sequence + 1, Nonce: fmt.Sprint("n", at.Sequence+1)}
		c.To = fold.Position{Created: 1, Sequence: c.Number, Time: 1}
		c.Fields = []fold.FieldValue{{Name: "count", Value: fmt.Append(nil, c.To.Sequence)}}
		for {
			err := st.Commit(ctx, c)
			switch {
			case err == nil:
				return c.To, nil
			case errors.Is(err, fold.ErrFenced), errors.Is(err, fold.ErrWentBack), ctx.Err() != nil:
				return at, err
			}
		}
	}
	for range 50 {
		at, err = commit()
		must(t, err)
	}
	before()
	for range 50 {
		at, err = commit()
		must(t, err)
	}
	kill()
	begun := time.Now()
	for err == nil && at.Sequence < 200 {
		at, err = commit()
	}
	took := time.Since(begun)
	t.Logf("%s after the fault: at %d, %v", took.Round(time.Millisecond), at.Sequence, err)
	if ctx.Err() != nil || took > 30*time.Second { // servers take 2 to 5 s to promote a replica; a client must not add a minute
		t.Fatalf("the commit's outcome took %s to become known", took)
	}
	// The lease of whoever goes on is the promoted master's; its position and its states are of one instant.
	lease, ok, err = st.Acquire(ctx, "a", "me", time.Minute)
	if err != nil || !ok {
		t.Fatalf("Acquire = %v, %v", ok, err)
	}
	head, err := st.Head(ctx, "a")
	must(t, err)
	v, err := st.Load(ctx, "a", fold.Held{}, []string{"count"})
	must(t, err)
	if string(v[0]) != fmt.Sprint(head.Position.Sequence) || head.Commits != head.Position.Sequence {
		t.Errorf("the position is %d after %d commits, and the state is of %s", head.Position.Sequence, head.Commits, v[0])
	}
	if at = head.Position; at.Sequence == 0 {
		t.Error("nothing is left")
	}
	_, err = commit()
	must(t, err)
	must(t, st.Check(ctx))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
