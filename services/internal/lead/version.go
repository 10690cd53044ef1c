package lead

import (
	"strconv"

	"github.com/leadbaton/baton/services/internal/fold"
)

// Newest is the newest version of the fold that this program knows: its code, its constants and its encoding. Whatever
// changes a byte of a state or of a fact needs another version, which takes force in each shard by a marker in its order
// (baton.shard.v1.FoldVersionInForce); until then the shard is folded as before. testdata/corpus fails on any change that
// has none.
const Newest = 1

// Version is the name of the newest version.
var Version = versionName(Newest)

func versionName(n uint32) string { return "lead-" + strconv.FormatUint(uint64(n), 10) }

var versionNames = func() (names []string) {
	for n := range uint32(Newest) {
		names = append(names, versionName(n+1))
	}
	return names
}()

// Versions implements fold.Machine.
func (m *Machine) Versions() []string { return versionNames }

// InForce implements fold.Machine.
func (m *Machine) InForce(log fold.State) string {
	g, ok := log.(*Log)
	if !ok || g.version == 0 || g.version > Newest {
		return "" // there is no such state: loading and folding refuse it
	}
	return versionNames[g.version-1]
}

// foldAs puts a version of the fold in force.
func (g *Log) foldAs(version uint32) {
	if version > g.version {
		g.version, g.changed = version, true
	}
}
