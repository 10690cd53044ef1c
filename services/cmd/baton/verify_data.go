package main

import (
	"fmt"
	"os"
	"path/filepath"

	shardv1 "github.com/leadbaton/baton/api/gen/baton/shard/v1"
	"github.com/leadbaton/baton/services/internal/embedded"
	"github.com/leadbaton/baton/services/internal/stream"
	"github.com/leadbaton/baton/services/scorer"
)

// verifyOffline verifies the data of a `baton up` that is not running. Its states were in memory; what is left to compare
// is the log with the ledger.
func verifyOffline(s *system, dir string, fromSnapshot bool) (*shardv1.VerifyResponse, error) {
	if info, err := os.Stat(filepath.Join(dir, "nats")); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("--data %s: there is no data of a baton up here", dir)
	}
	unlock, err := lockData(dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	server, err := embedded.StartNATS(embedded.NATSOptions{Dir: dir})
	if err != nil {
		return nil, err
	}
	defer server.Stop()
	conn, err := stream.Connect(s.ctx, stream.Options{InProcess: server, Name: "baton verify", Logger: s.logger("error")})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return scorer.Verify(s.ctx, conn, nil, fromSnapshot)
}
