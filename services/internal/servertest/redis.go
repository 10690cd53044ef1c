package servertest

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const redisHint = "install redis-server 7.0 or newer (Debian: apt-get install redis-server; `make test` does it)"

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
		bin:  find(t, "BATON_TEST_REDIS_SERVER", redisHint, "redis-server", "valkey-server"),
		args: append(args, extra...), Addr: "127.0.0.1:" + strconv.Itoa(port), Port: port, Dir: dir,
	}
}

// RedisCluster starts a Cluster of three masters and returns its URL for Baton.
func RedisCluster(t testing.TB) (url string, masters []*Process) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var addrs []string
	var clients []*redis.Client
	for i := range 3 {
		// The bus port is given, since the default (port + 10,000) may be none.
		p := newRedis(t, "--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(FreePort(t)), "--cluster-node-timeout", "2000")
		p.start(t)
		c := redis.NewClient(&redis.Options{Addr: p.Addr})
		t.Cleanup(func() { _ = c.Close() })
		if err := c.ClusterAddSlotsRange(ctx, i*16384/3, (i+1)*16384/3-1).Err(); err != nil {
			t.Fatal(err)
		}
		addrs, clients, masters = append(addrs, p.Addr), append(clients, c), append(masters, p)
	}
	for i := range 3 {
		bus := busPort(masters[i])
		for j, c := range clients {
			if i != j {
				if err := c.Do(ctx, "CLUSTER", "MEET", "127.0.0.1", masters[i].Port, bus).Err(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for _, c := range clients {
		for {
			info, err := c.ClusterInfo(ctx).Result()
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:3") {
				break
			}
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
				t.Fatalf("the Cluster does not form:\n%s", info)
			}
		}
	}
	return "redis://" + strings.Join(addrs, ",") + "?cluster=true", masters
}

func busPort(p *Process) string {
	for i, a := range p.args {
		if a == "--cluster-port" {
			return p.args[i+1]
		}
	}
	return ""
}
