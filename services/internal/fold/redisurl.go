package fold

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// RedisOptions say how to reach Redis.
type RedisOptions struct {
	// URL is one of, with rediss:// for TLS, and user and password where Redis asks for them:
	//
	//	redis://[user:password@]HOST:PORT[/DB]
	//	redis://[user:password@]SENTINEL:PORT,SENTINEL:PORT[/DB]?master=NAME[&sentinel_password=PASSWORD]
	//	redis://[user:password@]HOST:PORT,HOST:PORT?cluster=true
	//
	// The second asks Sentinels who the master is, now and after each fail-over; the third is a Cluster.
	URL string
	// Dial replaces the network, for tests.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// clientLog takes what the client library would write to the standard error output: every failure reaches a caller anyhow,
// who logs it with its shard.
type clientLog struct{}

// Printf implements the library's logger.
func (clientLog) Printf(ctx context.Context, format string, v ...any) {
	slog.DebugContext(ctx, fmt.Sprintf(format, v...), "library", "go-redis")
}

var quietClient = sync.OnceFunc(func() { redis.SetLogger(clientLog{}) })

// clusterLook is how often a Cluster is asked who its masters are: unless it is, the client stays with one that is dead, and
// nobody is left there to send it elsewhere.
const clusterLook = time.Second

// poolSize is enough for the 16 shards of one member and those who ask about leads.
const poolSize = 24

// OpenRedis returns a Store. It does not connect yet: Check does.
//
// The client's own retries are off, but for those that find a Cluster's or a Sentinel's present master, which repeat a
// commit with its nonce: what a repeated commit means is for the fence to say.
func OpenRedis(o RedisOptions) (*Redis, error) {
	quietClient()
	if o.Dial != nil {
		rdb := redis.NewClient(&redis.Options{
			Addr: "in-process", Dialer: o.Dial, MaxRetries: -1, PoolSize: poolSize,
			ContextTimeoutEnabled: true, DisableIdentity: true,
		})
		return &Redis{rdb: rdb}, nil
	}
	u, err := parseRedisURL(o.URL)
	if err != nil {
		return nil, badURL(o.URL, err)
	}
	opt := u.options
	s := &Redis{external: true}
	switch {
	case u.cluster:
		s.rdb = redis.NewClusterClient(&redis.ClusterOptions{
			Addrs: u.hosts, Username: opt.Username, Password: opt.Password, TLSConfig: opt.TLSConfig,
			ClusterStateReloadInterval: clusterLook,
			MaxRetries:                 -1, ContextTimeoutEnabled: true, DisableIdentity: true, PoolSize: poolSize,
		})
	case u.master != "":
		s.rdb = redis.NewFailoverClient(&redis.FailoverOptions{
			SentinelAddrs: u.hosts, MasterName: u.master, SentinelPassword: u.sentinelPassword,
			Username: opt.Username, Password: opt.Password, DB: opt.DB, TLSConfig: opt.TLSConfig,
			MaxRetries: -1, ContextTimeoutEnabled: true, DisableIdentity: true, PoolSize: poolSize,
		})
	default:
		opt.MaxRetries, opt.ContextTimeoutEnabled, opt.DisableIdentity, opt.PoolSize = -1, true, true, poolSize
		s.rdb = redis.NewClient(opt)
	}
	return s, nil
}

// redisURL is a URL of RedisOptions, read.
type redisURL struct {
	options *redis.Options // of the one server; of each, for several
	hosts   []string
	cluster bool
	master  string // as the Sentinels name it; "" = no Sentinels

	sentinelPassword string
}

func parseRedisURL(s string) (u redisURL, err error) {
	address, query, _ := strings.Cut(s, "?")
	scheme, rest, ok := strings.Cut(address, "://")
	if !ok {
		return u, errors.New("it has no scheme")
	}
	auth, hosts, has := cutLast(rest, "@")
	if !has {
		auth, hosts = "", rest
	}
	hosts, db, _ := strings.Cut(hosts, "/")
	u.hosts = strings.Split(hosts, ",")
	q, err := url.ParseQuery(query)
	if err != nil {
		return u, errors.New("what follows the ? cannot be read")
	}
	u.cluster, u.master, u.sentinelPassword = q.Has("cluster"), q.Get("master"), q.Get("sentinel_password")
	switch {
	case !u.cluster && !q.Has("master"):
		switch {
		case len(u.hosts) > 1:
			return u, errors.New("it names several servers: end it with ?cluster=true for a Cluster, or with ?master=NAME if they are Sentinels")
		case q.Has("sentinel_password"):
			return u, errors.New("sentinel_password is for Sentinels: add master=NAME")
		}
		u.options, err = redis.ParseURL(s)
		return u, err
	case u.cluster && (q.Has("master") || q.Get("cluster") != "true"):
		return u, errors.New("want either cluster=true or master=NAME")
	case u.cluster && db != "":
		return u, errors.New("a Cluster has no databases: leave out what follows the last /")
	case !u.cluster && u.master == "":
		return u, errors.New("master= lacks the name by which the Sentinels know the master")
	}
	known := []string{"master", "sentinel_password"}
	if u.cluster {
		known = []string{"cluster"}
	}
	for name := range q {
		if !slices.Contains(known, name) {
			return u, fmt.Errorf("%q is unknown after the ?: want %s", name, strings.Join(known, " or "))
		}
	}
	for _, h := range u.hosts {
		if host, port, err := net.SplitHostPort(h); err != nil || host == "" || port == "" {
			return u, fmt.Errorf("%q is not HOST:PORT", h)
		}
	}
	one := scheme + "://"
	if has {
		one += auth + "@"
	}
	if u.options, err = redis.ParseURL(one + u.hosts[0] + "/" + db); err != nil {
		return u, err
	}
	if u.options.TLSConfig != nil {
		u.options.TLSConfig.ServerName = "" // each server proves its own name
	}
	return u, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// badURL says what is wrong with a URL, without its passwords.
func badURL(u string, err error) error {
	if e := (*url.Error)(nil); errors.As(err, &e) {
		err = e.Err
	}
	return fmt.Errorf("redis URL %q: %w; want redis://HOST:PORT, redis://SENTINEL:PORT,SENTINEL:PORT?master=NAME or redis://HOST:PORT,HOST:PORT?cluster=true",
		redactURL(u), err)
}

// redactURL leaves out what may be a password.
func redactURL(u string) string {
	scheme, rest, ok := strings.Cut(u, "://")
	if !ok {
		return u
	}
	if before, _, has := strings.Cut(rest, "sentinel_password="); has {
		rest = before + "sentinel_password=…"
	}
	if _, host, has := cutLast(rest, "@"); has {
		return scheme + "://…@" + host
	}
	return scheme + "://" + rest
}
