package servertest

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// RedisCluster starts a Cluster of three masters and returns its URL for Baton.
func RedisCluster(t testing.TB) (url string, masters []*Process) {
	t.Helper()
	return redisCluster(t, 0)
}

// RedisClusterReplicated starts a Cluster of three masters, each with a replica that takes its place within seconds when it
// is down. Which of the six are masters changes with every fault (IsMaster).
func RedisClusterReplicated(t testing.TB) (url string, nodes []*Process) {
	t.Helper()
	return redisCluster(t, 3)
}

// redisCluster starts three masters and some replicas, of the first master, the second and so on.
func redisCluster(t testing.TB, replicas int) (url string, nodes []*Process) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	const masters = 3
	var addrs []string
	var clients []*redis.Client
	for i := range masters + replicas {
		// The bus port is given, since the default (port + 10,000) may be none.
		p := newRedis(t, "--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(FreePort(t)), "--cluster-node-timeout", "2000",
			"--cluster-replica-validity-factor", "0", "--appendonly", "yes", "--appendfsync", "everysec", "--repl-diskless-sync-delay", "0")
		p.start(t)
		c := redis.NewClient(&redis.Options{Addr: p.Addr})
		t.Cleanup(func() { _ = c.Close() })
		if i < masters {
			if err := c.ClusterAddSlotsRange(ctx, i*16384/masters, (i+1)*16384/masters-1).Err(); err != nil {
				t.Fatal(err)
			}
		}
		addrs, clients, nodes = append(addrs, p.Addr), append(clients, c), append(nodes, p)
	}
	for i := range nodes {
		bus := busPort(nodes[i])
		for j, c := range clients {
			if i != j {
				if err := c.Do(ctx, "CLUSTER", "MEET", "127.0.0.1", nodes[i].Port, bus).Err(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	known := "cluster_known_nodes:" + strconv.Itoa(len(nodes))
	for _, c := range clients {
		until(t, "forming the Cluster", time.Minute, func() bool {
			info, err := c.ClusterInfo(ctx).Result()
			return err == nil && strings.Contains(info, "cluster_state:ok") && strings.Contains(info, known)
		})
	}
	for i := range replicas {
		id, err := clients[i].Do(ctx, "CLUSTER", "MYID").Text()
		if err != nil {
			t.Fatal(err)
		}
		until(t, "making a replica", time.Minute, func() bool { return clients[masters+i].ClusterReplicate(ctx, id).Err() == nil })
		until(t, "bringing a replica up to date", time.Minute, func() bool {
			info, err := clients[masters+i].Info(ctx, "replication").Result()
			return err == nil && strings.Contains(info, "master_link_status:up")
		})
	}
	return "redis://" + strings.Join(addrs, ",") + "?cluster=true", nodes
}

// ClusterSettled waits until a RedisClusterReplicated has three masters again, each with a replica that is up to date.
func ClusterSettled(t testing.TB, nodes []*Process) {
	t.Helper()
	until(t, "the Cluster has three masters with a replica each", 2*time.Minute, func() bool {
		masters := map[string]int{}
		for _, n := range nodes {
			var cluster, replication string
			err := askRedis(n, func(ctx context.Context, c *redis.Client) (err error) {
				if cluster, err = c.ClusterInfo(ctx).Result(); err != nil {
					return err
				}
				replication, err = c.Info(ctx, "replication").Result()
				return err
			})
			switch {
			case err != nil, !strings.Contains(cluster, "cluster_state:ok"):
				return false
			case strings.Contains(replication, "role:master"):
				masters[strconv.Itoa(n.Port)] += 10
			case strings.Contains(replication, "master_link_status:up"):
				_, rest, _ := strings.Cut(replication, "master_port:")
				port, _, _ := strings.Cut(rest, "\r")
				masters[port]++
			}
		}
		if len(masters) != 3 {
			return false
		}
		for _, n := range masters {
			if n != 11 {
				return false
			}
		}
		return true
	})
}

func busPort(p *Process) string {
	for i, a := range p.args {
		if a == "--cluster-port" {
			return p.args[i+1]
		}
	}
	return ""
}
