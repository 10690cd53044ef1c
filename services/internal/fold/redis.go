package fold

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Redis is a Store in Redis 7.0 or newer, Valkey 7.2 or newer, or a Cluster of either.
//
// Every shard has four keys with one hash tag: meta (token, commits, nonce, position, version), state, outbox, lease.
type Redis struct {
	rdb      redis.UniversalClient
	external bool
}

var _ Store = (*Redis)(nil)

// Close closes the connections.
func (s *Redis) Close() error { return s.rdb.Close() }

const membersKey = "baton:{members}"

func tag(shard string) string     { return "baton:{" + shard + "}:" }
func metaKey(shard string) string { return tag(shard) + "meta" }
func stateKey(shard string) string {
	return tag(shard) + "state"
}
func outboxKey(shard string) string { return tag(shard) + "outbox" }
func leaseKey(shard string) string  { return tag(shard) + "lease" }

// Check implements Store: Redis answers, is new enough, and never evicts.
func (s *Redis) Check(ctx context.Context) error {
	if !s.external {
		return s.rdb.Ping(ctx).Err()
	}
	one := func(ctx context.Context, c *redis.Client) error {
		info, err := c.Info(ctx, "server", "memory").Result()
		if err != nil {
			return err
		}
		if v := infoField(info, "redis_version"); !atLeast(v, 7, 0) && infoField(info, "valkey_version") == "" {
			return unfit("redis %s is too old: Baton needs Redis 7.0, Valkey 7.2 or newer", v)
		}
		if p := infoField(info, "maxmemory_policy"); p != "noeviction" {
			return unfit("redis may evict keys (maxmemory-policy is %q), which would lose scores: set `maxmemory-policy noeviction` and start again", p)
		}
		return nil
	}
	if c, ok := s.rdb.(*redis.ClusterClient); ok {
		return c.ForEachMaster(ctx, one)
	}
	return one(ctx, s.rdb.(*redis.Client))
}

func infoField(info, name string) string {
	for line := range strings.Lines(info) {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func atLeast(version string, major, minor int) bool {
	a, rest, _ := strings.Cut(version, ".")
	b, _, _ := strings.Cut(rest, ".")
	x, err1 := strconv.Atoi(a)
	y, err2 := strconv.Atoi(b)
	return err1 == nil && err2 == nil && (x > major || x == major && y >= minor)
}

var beatScript = redis.NewScript(`
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
return redis.call('ZRANGE', KEYS[1], 0, -1)`)

// Beat implements Leases.
func (s *Redis) Beat(ctx context.Context, member string, ttl time.Duration) ([]string, error) {
	out, err := beatScript.Run(ctx, s.rdb, []string{membersKey}, member, ttl.Milliseconds()).StringSlice()
	if err != nil {
		return nil, err
	}
	slices.Sort(out)
	return out, nil
}

// Leave implements Leases.
func (s *Redis) Leave(ctx context.Context, member string) error {
	return s.rdb.ZRem(ctx, membersKey, member).Err()
}

var acquireScript = redis.NewScript(`
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
redis.call('HSET', KEYS[2], 'token', ARGV[2])
return 1`)

// Acquire implements Leases.
func (s *Redis) Acquire(ctx context.Context, shard, member string, ttl time.Duration) (Lease, bool, error) {
	l := Lease{Shard: shard, Owner: member, Token: rand.Text()}
	n, err := acquireScript.Run(ctx, s.rdb, []string{leaseKey(shard), metaKey(shard)}, member, l.Token, ttl.Milliseconds()).Int()
	return l, err == nil && n == 1, err
}

var renewScript = redis.NewScript(`
local m = redis.call('HMGET', KEYS[2], 'token', 'commits')
if m[1] ~= ARGV[2] then return 'fenced' end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
return m[2] or '0'`)

// Renew implements Leases.
func (s *Redis) Renew(ctx context.Context, l Lease, ttl time.Duration) (uint64, error) {
	n, err := renewScript.Run(ctx, s.rdb, []string{leaseKey(l.Shard), metaKey(l.Shard)}, l.Owner, l.Token, ttl.Milliseconds()).Text()
	if err != nil {
		return 0, err
	}
	if n == "fenced" {
		return 0, ErrFenced
	}
	return strconv.ParseUint(n, 10, 64)
}

var releaseScript = redis.NewScript(`
if redis.call('HGET', KEYS[2], 'token') ~= ARGV[1] then return 0 end
redis.call('HDEL', KEYS[2], 'token')
redis.call('DEL', KEYS[1])
return 1`)

// Release implements Leases.
func (s *Redis) Release(ctx context.Context, l Lease) error {
	return releaseScript.Run(ctx, s.rdb, []string{leaseKey(l.Shard), metaKey(l.Shard)}, l.Token).Err()
}

// Owners implements Leases.
func (s *Redis) Owners(ctx context.Context, shards []string) (map[string]string, error) {
	out := map[string]string{}
	cmds, err := s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, id := range shards {
			p.Get(ctx, leaseKey(id))
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, err
	}
	for i, c := range cmds {
		if v, err := c.(*redis.StringCmd).Result(); err == nil {
			out[shards[i]] = v
		} else if !errors.Is(err, redis.Nil) {
			return nil, err
		}
	}
	return out, nil
}

// Head implements Store.
func (s *Redis) Head(ctx context.Context, shard string) (Head, error) {
	var meta *redis.SliceCmd
	var outbox *redis.IntCmd
	_, err := s.rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
		meta, outbox = p.HMGet(ctx, metaKey(shard), headFields...), p.HLen(ctx, outboxKey(shard))
		return nil
	})
	if err != nil {
		return Head{}, err
	}
	head, err := headOf(meta.Val())
	head.Outbox = int(outbox.Val())
	return head, err
}

var headFields = []string{"position", "version", "commits"}

// headOf decodes the headFields of a shard; any may be missing.
func headOf(fields []any) (h Head, err error) {
	position, _ := fields[0].(string)
	if h.Position, err = ParsePosition(position); err != nil {
		return Head{}, err
	}
	h.Version, _ = fields[1].(string)
	h.Commits, err = commitsOf(fields[2])
	return h, err
}

func commitsOf(field any) (uint64, error) {
	n, ok := field.(string)
	if !ok {
		return 0, nil
	}
	return strconv.ParseUint(n, 10, 64)
}

// Load implements Store.
func (s *Redis) Load(ctx context.Context, shard string, h Held, fields []string) ([][]byte, error) {
	if len(fields) == 0 {
		return nil, nil
	}
	var vs *redis.SliceCmd
	err := read(ctx, s.rdb, shard, h, func(p redis.Pipeliner) { vs = p.HMGet(ctx, stateKey(shard), fields...) })
	if err != nil {
		return nil, err
	}
	out := make([][]byte, len(fields))
	for i, v := range vs.Val() {
		if t, ok := v.(string); ok {
			out[i] = []byte(t)
		}
	}
	return out, nil
}

// read asks for a part of a shard, and in the same instant whose it is and how many commits it has had. A connection to a
// server that was the master until a moment ago may still answer, with what it had then; and a shard that another owner has
// taken is ahead. States folded from there would be committed to a store that is, or once again is, as the owner left it.
func read(ctx context.Context, rdb redis.Cmdable, shard string, h Held, ask func(redis.Pipeliner)) error {
	var meta *redis.SliceCmd
	_, err := rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
		meta = p.HMGet(ctx, metaKey(shard), "token", "commits")
		ask(p)
		return nil
	})
	if err != nil {
		return err
	}
	token, _ := meta.Val()[0].(string)
	commits, err := commitsOf(meta.Val()[1])
	if err != nil {
		return err
	}
	return h.check(token, commits)
}

// Outbox implements Store.
func (s *Redis) Outbox(ctx context.Context, shard string, h Held) ([]Record, error) {
	var m *redis.MapStringStringCmd
	err := read(ctx, s.rdb, shard, h, func(p redis.Pipeliner) { m = p.HGetAll(ctx, outboxKey(shard)) })
	if err != nil {
		return nil, err
	}
	return sortedRecords(bytesOf(m.Val()))
}

func bytesOf(m map[string]string) map[string][]byte {
	out := make(map[string][]byte, len(m))
	for k, v := range m {
		out[k] = []byte(v)
	}
	return out
}

// commitScript is the fence. Arguments: token, the commit's number, nonce, position, version, number of field arguments, of
// deleted fields, of outbox arguments, of outbox ids that have left; then these. Lua's unpack takes some thousand values at a time.
var commitScript = redis.NewScript(`
local m = redis.call('HMGET', KEYS[1], 'nonce', 'token', 'commits')
if m[1] == ARGV[3] then return 'repeated' end
if m[2] ~= ARGV[1] then return 'token' end
if tonumber(m[3] or 0) + 1 ~= tonumber(ARGV[2]) then return 'went back' end
local i = 10
local function each(n, cmd, key)
  local stop = i + n
  while i < stop do
    local j = math.min(i + 4000, stop)
    redis.call(cmd, key, unpack(ARGV, i, j - 1))
    i = j
  end
end
each(tonumber(ARGV[6]), 'HSET', KEYS[2])
each(tonumber(ARGV[7]), 'HDEL', KEYS[2])
each(tonumber(ARGV[8]), 'HSET', KEYS[3])
each(tonumber(ARGV[9]), 'HDEL', KEYS[3])
redis.call('HSET', KEYS[1], 'commits', ARGV[2], 'nonce', ARGV[3], 'position', ARGV[4], 'version', ARGV[5])
return 'ok'`)

// Commit implements Store.
func (s *Redis) Commit(ctx context.Context, c *Commit) error {
	args := make([]any, 0, 9+2*len(c.Fields)+len(c.Deleted)+2*len(c.Records)+len(c.Left))
	args = append(args, c.Lease.Token, c.Number, c.Nonce, c.To.String(), c.Version,
		2*len(c.Fields), len(c.Deleted), 2*len(c.Records), len(c.Left))
	for i := range c.Fields {
		args = append(args, c.Fields[i].Name, c.Fields[i].Value)
	}
	for _, f := range c.Deleted {
		args = append(args, f)
	}
	for i := range c.Records {
		args = append(args, c.Records[i].ID(), AppendRecord(nil, &c.Records[i]))
	}
	for _, id := range c.Left {
		args = append(args, id)
	}
	shard := c.Lease.Shard
	res, err := commitScript.Run(ctx, s.rdb, []string{metaKey(shard), stateKey(shard), outboxKey(shard)}, args...).Text()
	if err != nil {
		return err
	}
	switch res {
	case "token":
		return ErrFenced
	case "went back":
		return ErrWentBack
	default:
		return nil
	}
}

// Dump implements Store.
func (s *Redis) Dump(ctx context.Context, shard string) (Dump, error) {
	var head *redis.SliceCmd
	var state, outbox *redis.MapStringStringCmd
	_, err := s.rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
		head = p.HMGet(ctx, metaKey(shard), headFields...)
		state = p.HGetAll(ctx, stateKey(shard))
		outbox = p.HGetAll(ctx, outboxKey(shard))
		return nil
	})
	if err != nil {
		return Dump{}, err
	}
	d := Dump{Fields: bytesOf(state.Val())}
	if d.Head, err = headOf(head.Val()); err != nil {
		return Dump{}, err
	}
	d.Outbox, err = sortedRecords(bytesOf(outbox.Val()))
	return d, err
}

var resetScript = redis.NewScript(`
redis.call('HDEL', KEYS[1], 'token', 'nonce')
redis.call('DEL', KEYS[4])
if ARGV[2] == '1' then
  redis.call('DEL', KEYS[2], KEYS[3])
  redis.call('HDEL', KEYS[1], 'version')
end
if ARGV[1] == '' then redis.call('HDEL', KEYS[1], 'position') else redis.call('HSET', KEYS[1], 'position', ARGV[1]) end
return 1`)

// Reset implements Store.
func (s *Redis) Reset(ctx context.Context, shard string, to Position, wipe bool) error {
	w := "0"
	if wipe {
		w = "1"
	}
	keys := []string{metaKey(shard), stateKey(shard), outboxKey(shard), leaseKey(shard)}
	return resetScript.Run(ctx, s.rdb, keys, to.String(), w).Err()
}
