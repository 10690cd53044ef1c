package fold

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// VersionError says that a shard is folded as a version that this program does not know: only a newer program may go on.
// Nothing was changed, and nothing was committed past the message that put the version in force.
type VersionError struct {
	// Version is the one in force, or to come into force.
	Version string
	// Newest is this program's own.
	Newest string
	// After is the last message before the one that puts it in force. The engine sets it.
	After uint64
}

// Error implements error.
func (e *VersionError) Error() string {
	return fmt.Sprintf("fold version %s is newer than this program's %s: update this scorer", e.Version, e.Newest)
}

// checkVersion returns an error unless a machine folds as a version; "" = nothing was folded yet.
func checkVersion(m Machine, version string) *VersionError {
	if all := m.Versions(); version != "" && !slices.Contains(all, version) {
		return &VersionError{Version: version, Newest: all[len(all)-1]}
	}
	return nil
}

// limited marks the name of a member that has met a version which it does not fold.
const limited = "~"

// sharing returns those of the members who share the shards. One that has met a newer version has no share while there are
// others: it would only keep shards from them. Without others, such members go on with the shards that they still fold.
func sharing(members []string) []string {
	able := slices.DeleteFunc(slices.Clone(members), func(m string) bool { return strings.HasPrefix(m, limited) })
	if len(able) == 0 {
		return members
	}
	return able
}

// rename tells the group whether this member folds whatever is in force.
func (g *Group) rename(ctx context.Context) {
	g.mu.Lock()
	for id, h := range g.held {
		if e := g.newer[id]; e != nil && h.owner.position.Load() > e.After {
			delete(g.newer, id) // the shard was adopted since
		}
	}
	name := g.Member
	if len(g.newer) > 0 {
		name = limited + name
	}
	g.mu.Unlock()
	if name == g.name {
		return
	}
	if err := g.Store.Leave(ctx, g.name); err != nil && ctx.Err() == nil {
		g.Logger.Warn("the group cannot be reached", "error", err)
		return
	}
	g.name = name
}
