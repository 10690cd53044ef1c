package fold_test

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/leadbaton/baton/services/internal/fold"
	"github.com/leadbaton/baton/services/internal/fold/foldtest"
	"github.com/leadbaton/baton/services/internal/servertest"
)

func TestStoreInMemory(t *testing.T) {
	foldtest.Store(t, func(*testing.T) fold.Store { return fold.NewMemory() })
}

func TestStoreRedis(t *testing.T) {
	p := servertest.Redis(t)
	foldtest.Store(t, func(t *testing.T) fold.Store { return openEmpty(t, p.RedisURL()) })
}

func TestStoreRedisCluster(t *testing.T) {
	url, _ := servertest.RedisCluster(t)
	foldtest.Store(t, func(t *testing.T) fold.Store { return openEmpty(t, url) })
}

// openEmpty opens a real store and forgets what earlier tests left in it.
func openEmpty(t *testing.T, url string) *fold.Redis {
	t.Helper()
	s, err := fold.OpenRedis(fold.RedisOptions{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if err := s.Check(context.Background()); err != nil {
		t.Fatal(err)
	}
	list, _, _ := strings.Cut(strings.TrimPrefix(url, "redis://"), "?")
	for addr := range strings.SplitSeq(list, ",") {
		c := redis.NewClient(&redis.Options{Addr: addr})
		if err := c.FlushAll(context.Background()).Err(); err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
	}
	return s
}

func TestCheckRefusesARedisThatEvicts(t *testing.T) {
	p := servertest.Redis(t, "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
	s, err := fold.OpenRedis(fold.RedisOptions{URL: p.RedisURL()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	err = s.Check(context.Background())
	if err == nil || !strings.Contains(err.Error(), "noeviction") || !strings.Contains(err.Error(), "allkeys-lru") {
		t.Fatalf("Check = %v; want an error that names the policy and says what to set", err)
	}
}

func TestMain(m *testing.M) { os.Exit(m.Run()) }
