package servertest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Sentinel is a Redis with one replica, guarded by three Sentinels that make the replica the master when the master is
// down for a second.
type Sentinel struct {
	// URL is for Baton.
	URL string
	// Redis are the two servers. Which one is the master changes with every fail-over (Master).
	Redis [2]*Process
	// Guards are the Sentinels.
	Guards [3]*Process
}

const sentinelMaster = "baton"

// RedisSentinel starts a Sentinel.
func RedisSentinel(t testing.TB) *Sentinel {
	t.Helper()
	s := &Sentinel{}
	keep := []string{"--appendonly", "yes", "--appendfsync", "everysec", "--repl-diskless-sync-delay", "0"}
	s.Redis[0] = newRedis(t, keep...)
	s.Redis[0].start(t)
	s.Redis[1] = newRedis(t, append(keep, "--replicaof", "127.0.0.1 "+strconv.Itoa(s.Redis[0].Port))...)
	s.Redis[1].start(t)
	var addrs []string
	for i := range s.Guards {
		port, dir := FreePort(t), t.TempDir()
		conf := filepath.Join(dir, "sentinel.conf") // a Sentinel writes to it
		text := fmt.Sprintf("port %d\nbind 127.0.0.1\ndir %s\nsentinel monitor %s 127.0.0.1 %d 2\n"+
			"sentinel down-after-milliseconds %s 1000\nsentinel failover-timeout %s 5000\n",
			port, dir, sentinelMaster, s.Redis[0].Port, sentinelMaster, sentinelMaster)
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		p := &Process{
			bin:  RedisProgram(t),
			args: []string{conf, "--sentinel"}, Addr: "127.0.0.1:" + strconv.Itoa(port), Port: port, Dir: dir,
		}
		p.start(t)
		s.Guards[i], addrs = p, append(addrs, p.Addr)
	}
	s.URL = "redis://" + strings.Join(addrs, ",") + "?master=" + sentinelMaster
	s.Settled(t)
	return s
}

// Settled waits until all Sentinels know each other and the same master, and its replica is up to date.
func (s *Sentinel) Settled(t testing.TB) {
	t.Helper()
	until(t, "the Sentinels agree and the replica is up to date", 2*time.Minute, func() bool {
		m := s.Master()
		return m >= 0 && s.Redis[m].IsMaster() && s.linked(1-m)
	})
}

// Master returns which of the two servers is the master, as all Sentinels say; -1 if they do not agree.
func (s *Sentinel) Master() int {
	all := -1
	for i, g := range s.Guards {
		var of map[string]string
		err := askRedis(g, func(ctx context.Context, c *redis.Client) (err error) {
			cmd := redis.NewMapStringStringCmd(ctx, "SENTINEL", "MASTER", sentinelMaster)
			_ = c.Process(ctx, cmd)
			of, err = cmd.Result()
			return err
		})
		if err != nil || of["num-other-sentinels"] != "2" || of["num-slaves"] != "1" {
			return -1
		}
		m := -1
		for j, r := range s.Redis {
			if of["port"] == strconv.Itoa(r.Port) {
				m = j
			}
		}
		if m < 0 || i > 0 && m != all {
			return -1
		}
		all = m
	}
	return all
}

// linked says whether a server is a replica whose link to the master is up.
func (s *Sentinel) linked(i int) bool {
	up := false
	_ = askRedis(s.Redis[i], func(ctx context.Context, c *redis.Client) error {
		info, err := c.Info(ctx, "replication").Result()
		up = strings.Contains(info, "role:slave") && strings.Contains(info, "master_link_status:up")
		return err
	})
	return up
}

// Lag cuts the replica off from its master until Unlag: what the master acknowledges from now on, the replica does not have.
func (s *Sentinel) Lag(t testing.TB, replica int) {
	t.Helper()
	withRedis(t, s.Redis[replica], func(ctx context.Context, c *redis.Client) error {
		// It cannot log in to a master that knows no password.
		if err := c.ConfigSet(ctx, "masterauth", "none").Err(); err != nil {
			return err
		}
		return c.Do(ctx, "CLIENT", "KILL", "TYPE", "master").Err()
	})
}

// Unlag is the opposite of Lag.
func (s *Sentinel) Unlag(t testing.TB, replica int) {
	t.Helper()
	withRedis(t, s.Redis[replica], func(ctx context.Context, c *redis.Client) error {
		return c.ConfigSet(ctx, "masterauth", "").Err()
	})
}
