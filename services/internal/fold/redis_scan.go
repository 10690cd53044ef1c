package fold

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"
)

// Scan implements Store. A scan that goes on at another server misses records, since each has an order of its own: so it is
// bound to one server, and to one life of it.
func (s *Redis) Scan(ctx context.Context, shard string, h Held, fn func(string, []byte) bool) error {
	key := stateKey(shard)
	node, ok := s.rdb.(*redis.Client)
	if c, cluster := s.rdb.(*redis.ClusterClient); cluster {
		var err error
		if node, err = c.MasterForKey(ctx, key); err != nil {
			return err
		}
	} else if !ok {
		return errors.New("fold: a store of an unknown kind")
	}
	before, err := s.life(ctx, node)
	if err != nil {
		return err
	}
	for cursor := uint64(0); ; {
		var page *redis.ScanCmd
		err := read(ctx, node, shard, h, func(p redis.Pipeliner) { page = p.HScan(ctx, key, cursor, "", 1000) })
		if err != nil {
			return err
		}
		kv, next := page.Val()
		for i := 0; i+1 < len(kv); i += 2 {
			if !fn(kv[i], []byte(kv[i+1])) {
				return nil
			}
		}
		if cursor = next; cursor == 0 {
			break
		}
	}
	after, err := s.life(ctx, node)
	if err == nil && after != before {
		err = errors.New("another Redis server took over during a scan")
	}
	return err
}

// life names one server in one role from its start on. One that is dialled in this process has only one.
func (s *Redis) life(ctx context.Context, node *redis.Client) (string, error) {
	if !s.external {
		return "", nil
	}
	info, err := node.Info(ctx, "server", "replication").Result()
	return infoField(info, "run_id") + " " + infoField(info, "master_replid"), err
}
