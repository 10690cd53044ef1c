// Package simulation_test runs all of Baton in one bubble of simulated time, lets everything go wrong, and holds what comes
// out against an independent model.
package simulation_test

import (
	"net"
	"os"
	"runtime/debug"
	"testing"

	"github.com/nats-io/nats-server/v2/server/ats"
)

func TestMain(m *testing.M) {
	// Both start goroutines that live as long as the process: they must not be born inside a bubble.
	ats.Register()
	_, _ = net.LookupHost("localhost")
	// A world is small and lives for some seconds: collecting its garbage often takes more time than its memory is worth.
	debug.SetGCPercent(400)
	os.Exit(m.Run())
}
