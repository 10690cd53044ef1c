package simulation_test

import (
	"context"
	"net"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/leadbaton/baton/services/internal/fold"
)

// keep is what the scorers keep their states in: a Redis in memory, or the store of `baton up`, whose hours cost less.
type keep interface {
	fold.Store
	// Save returns a function that takes the store back to what it holds now, lease tokens included. Nobody else touches it
	// during either.
	Save() (restore func())
	// Flush forgets everything.
	Flush()
	close()
}

type memory struct{ *fold.Memory }

func (memory) close() {}

// redisKeep is a Redis in memory.
type redisKeep struct {
	*fold.Redis
	m *miniredis.Miniredis
}

func openRedis() (*redisKeep, error) {
	m := miniredis.NewMiniRedis()
	m.ClockTTL(true)
	store, err := fold.OpenRedis(fold.RedisOptions{Dial: func(context.Context, string, string) (net.Conn, error) { return m.Dial() }})
	return &redisKeep{store, m}, err
}

// Save implements keep.
func (k *redisKeep) Save() func() {
	hashes, texts, ttls := map[string]map[string]string{}, map[string]string{}, map[string]time.Duration{}
	for _, key := range k.m.Keys() {
		switch k.m.Type(key) {
		case "hash":
			fields, _ := k.m.HKeys(key)
			hashes[key] = map[string]string{}
			for _, f := range fields {
				hashes[key][f] = k.m.HGet(key, f)
			}
		case "string":
			texts[key], _ = k.m.Get(key)
			ttls[key] = k.m.TTL(key)
		}
	}
	return func() {
		k.m.FlushDB()
		for key, fields := range hashes {
			for f, v := range fields {
				k.m.HSet(key, f, v)
			}
		}
		for key, v := range texts {
			_ = k.m.Set(key, v)
			k.m.SetTTL(key, ttls[key])
		}
	}
}

// Flush implements keep. Scripts stay, as they do in Redis.
func (k *redisKeep) Flush() { k.m.FlushDB() }

func (k *redisKeep) close() {
	_ = k.Close()
	k.m.Close()
}
