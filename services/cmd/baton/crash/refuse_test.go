package crash_test

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/leadbaton/baton/services/internal/servertest"
)

// TestRefusesToStart: what would lose scores, or cannot be reached, ends the start with exit code 1 and says what to do.
func TestRefusesToStart(t *testing.T) {
	ns, rs := servertest.NATS(t), servertest.Redis(t)
	evicting := servertest.Redis(t, "--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru")
	limited := servertest.NATS(t)
	servertest.LimitedStream(t, limited.URL(), "ENGAGEMENT_7", "baton.engagement.*.7.*")
	nobody := fmt.Sprintf("127.0.0.1:%d", servertest.FreePort(t))
	for _, c := range []struct {
		name string
		args []string
		says []string
	}{
		{"a Redis that evicts", []string{"scorer", "--nats", ns.URL(), "--redis", evicting.RedisURL()}, []string{"allkeys-lru", "maxmemory-policy noeviction"}},
		{"a stream with a limit", []string{"scorer", "--nats", limited.URL(), "--redis", rs.RedisURL()}, []string{"ENGAGEMENT_7", "max age", "nats stream edit"}},
		{"no NATS", []string{"scorer", "--nats", "nats://" + nobody, "--redis", rs.RedisURL()}, []string{"NATS", nobody, "--nats"}},
		{"no NATS for the router", []string{"router", "--nats", "nats://" + nobody, "--notifier", nobody}, []string{"NATS", nobody, "--nats"}},
		{"no Redis", []string{"scorer", "--nats", ns.URL(), "--redis", "redis://" + nobody}, []string{"edis", nobody, "--redis"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			args := append([]string{}, c.args...)
			args = append(args, "--grpc", fmt.Sprintf("127.0.0.1:%d", servertest.FreePort(t)))
			out, err := exec.CommandContext(ctx, binary, args...).CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 1 {
				t.Fatalf("ended with %v, want exit code 1:\n%s", err, out)
			}
			for _, want := range c.says {
				if !strings.Contains(string(out), want) {
					t.Errorf("it does not say %q:\n%s", want, out)
				}
			}
		})
	}
	t.Cleanup(func() { // nothing was written by those that refused
		c := redis.NewClient(&redis.Options{Addr: rs.Addr})
		defer func() { _ = c.Close() }()
		if n, err := c.DBSize(context.Background()).Result(); err == nil && n > 0 {
			t.Errorf("%d keys were written", n)
		}
	})
}
