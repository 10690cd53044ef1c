package servertest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const redisHint = "install redis-server 7.0 or newer (Debian: apt-get install redis-server; `make test` does it)"

// RedisProgram is the path of redis-server or valkey-server.
func RedisProgram(t testing.TB) string {
	t.Helper()
	return find(t, "BATON_TEST_REDIS_SERVER", redisHint, "redis-server", "valkey-server")
}

// Redis starts a redis-server that keeps its data over a Start after Kill (append-only file, synced every second).
func Redis(t testing.TB, extra ...string) *Process {
	t.Helper()
	p := newRedis(t, append([]string{"--appendonly", "yes", "--appendfsync", "everysec"}, extra...)...)
	p.start(t)
	return p
}

func newRedis(t testing.TB, extra ...string) *Process {
	t.Helper()
	port := FreePort(t)
	dir := t.TempDir()
	args := []string{"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--daemonize", "no"}
	return &Process{
		bin:  RedisProgram(t),
		args: append(args, extra...), Addr: "127.0.0.1:" + strconv.Itoa(port), Port: port, Dir: dir,
	}
}

// Snapshot makes a Redis write its data file, and returns a copy of it.
func (p *Process) Snapshot(t testing.TB) string {
	t.Helper()
	withRedis(t, p, func(ctx context.Context, c *redis.Client) error { return c.Save(ctx).Err() })
	to := filepath.Join(t.TempDir(), dataFile)
	copyFile(t, to, filepath.Join(p.Dir, dataFile))
	return to
}

// Restore kills a Redis without an append-only file (RedisWithoutLog), and starts it with the data of a Snapshot.
func (p *Process) Restore(t testing.TB, snapshot string) {
	t.Helper()
	p.Kill()
	copyFile(t, filepath.Join(p.Dir, dataFile), snapshot)
	p.Start(t)
}

const dataFile = "dump.rdb"

func copyFile(t testing.TB, to, from string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// RedisWithoutLog starts a redis-server that writes its data only when told to (Snapshot): killed, it has what it had then.
func RedisWithoutLog(t testing.TB) *Process {
	t.Helper()
	p := newRedis(t, "--appendonly", "no")
	p.start(t)
	return p
}

// FlushAll empties a Redis.
func (p *Process) FlushAll(t testing.TB) {
	t.Helper()
	withRedis(t, p, func(ctx context.Context, c *redis.Client) error { return c.FlushAll(ctx).Err() })
}

// Fields returns one field of each of the hashes; "" where there is none.
func (p *Process) Fields(t testing.TB, keys []string, field string) []string {
	t.Helper()
	out := make([]string, len(keys))
	withRedis(t, p, func(ctx context.Context, c *redis.Client) error {
		for i, key := range keys {
			v, err := c.HGet(ctx, key, field).Result()
			if err != nil && !errors.Is(err, redis.Nil) {
				return err
			}
			out[i] = v
		}
		return nil
	})
	return out
}

// IsMaster says whether a Redis answers and takes writes.
func (p *Process) IsMaster() bool {
	role := ""
	_ = askRedis(p, func(ctx context.Context, c *redis.Client) error {
		answer, err := c.Do(ctx, "ROLE").Slice()
		if err == nil && len(answer) > 0 {
			role, _ = answer[0].(string)
		}
		return err
	})
	return role == "master"
}

func withRedis(t testing.TB, p *Process, do func(context.Context, *redis.Client) error) {
	t.Helper()
	if err := askRedis(p, do); err != nil {
		t.Fatalf("redis at %s: %v", p.Addr, err)
	}
}

func askRedis(p *Process, do func(context.Context, *redis.Client) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c := redis.NewClient(&redis.Options{Addr: p.Addr, DisableIdentity: true})
	defer func() { _ = c.Close() }()
	return do(ctx, c)
}

// until waits until a condition of a group of servers holds.
func until(t testing.TB, what string, within time.Duration, holds func() bool) {
	t.Helper()
	timeout := time.After(within)
	for !holds() {
		select {
		case <-time.After(50 * time.Millisecond):
		case <-timeout:
			t.Fatalf("%s: not within %s", what, within)
		}
	}
}
