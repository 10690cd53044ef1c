// Command baton is all of Baton: its services, all of them in one process for a start (`baton up`), and the tools of those
// who publish, sell, and agree on what a good lead is.
package main

import (
	"os"
	_ "time/tzdata" // rosters name time zones, and not every machine has them
)

func main() { os.Exit(run(os.Args[1:], thisProcess())) }
