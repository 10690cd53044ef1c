package main

// mutation takes something away from Baton.
type mutation struct {
	name  string
	edits []edit
}

// edit replaces a text that a file of services has exactly once.
type edit struct{ file, old, new string }

const (
	inMemory = "internal/fold/memory.go"
	inRedis  = "internal/fold/redis.go"
	outlet   = "internal/stream/outlet.go"
)

var mutations = []mutation{
	{"the fence's token", []edit{
		{inMemory, `case s.token == "" || s.token != c.Lease.Token:`, `case false:`},
		{inRedis, `if m[2] ~= ARGV[1] then return 'token' end`, ``},
	}},
	{"the fence's number of commits", []edit{
		{inMemory, `case s.head.Commits+1 != c.Number:`, `case false:`},
		{inRedis, `if tonumber(m[3] or 0) + 1 ~= tonumber(ARGV[2]) then return 'went back' end`, ``},
	}},
	{"the nonce", []edit{
		{inMemory, `case s.nonce == c.Nonce:`, `case false:`},
		{inRedis, `if m[1] == ARGV[3] then return 'repeated' end`, ``},
	}},
	{"the outbox in the commit", []edit{
		{inMemory, "\tfor i := range c.Records {", "\tfor i := range c.Records[:0] {"},
		{inRedis, `each(tonumber(ARGV[8]), 'HSET', KEYS[3])`, `i = i + tonumber(ARGV[8])`},
	}},
	{"the expected sequence of a fact", []edit{
		{outlet, `m.Header.Set(nats.ExpectedLastSubjSeqHdr, "0")`, `_ = m`},
	}},
	{"the expected sequence of a message into a shard", []edit{
		{outlet, `m.Header.Set(nats.ExpectedLastSubjSeqHdr, strconv.FormatUint(t.sequence, 10))`, ``},
		{outlet, `m.Header.Set("Nats-Expected-Last-Subject-Sequence-Subject", prefix)`, ``},
	}},
	{"the origin check", []edit{
		{"internal/lead/log.go", "\tdefault:\n\t\treturn false\n", "\tdefault:\n"},
	}},
	{"the claim's wait", []edit{
		{"internal/lead/judge.go", `if s.open || l.awaits() || o.history {`, `if s.open || o.history {`},
	}},
	{"the expected sequence of a decision", []edit{
		{outlet, `m.Header.Set(nats.ExpectedLastSeqHdr, strconv.FormatUint(expected, 10))`, ``},
	}},
}
