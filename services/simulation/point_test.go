package simulation_test

import (
	"math/rand/v2"
	"sync"
	"time"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
)

// point is a labelled place where something may go wrong, or a branch that must have been taken. Every one is counted, and a
// run of enough seeds in which one of them never happened fails: it would prove less than it says.
type point string

// Where the store is touched.
const (
	commitRefused point = "store: a commit failed before it was applied"
	commitLost    point = "store: a commit was applied and its answer lost"
	commitLate    point = "store: a commit was applied after it had been given up on"
	commitCrash   point = "scorer: crashed just before a commit"
	committed     point = "scorer: crashed just after a commit"
	loadFailed    point = "store: states could not be loaded"
	outboxFailed  point = "store: an outbox could not be read"
	leaseFailed   point = "store: a lease could not be acquired or renewed"
	storeStalled  point = "store: stalled"
	storeBack     point = "store: went back in time, lease tokens included"
	storeFlushed  point = "store: flushed"
)

// traffic is a kind of message on the connection of a process to NATS, and what happens to it there.
type traffic string

const (
	published traffic = "an event"
	outbox    traffic = "a scorer's fact"
	inbound   traffic = "a message into a shard"
	handoffs  traffic = "a router's decision"
	election  traffic = "an election's entry"
)

func (k traffic) lost() point { return point("nats: " + string(k) + " was cut off before it was sent") }
func (k traffic) torn() point { return point("nats: " + string(k) + " was cut off in the middle") }
func (k traffic) cut() point  { return point("nats: the connection was cut after " + string(k)) }
func (k traffic) ackLost() point {
	return point("nats: the acknowledgement of " + string(k) + " was lost")
}
func (k traffic) ackLate() point {
	return point("nats: the acknowledgement of " + string(k) + " came after its time-out")
}

// refused is the branch of an expected sequence that is not the stream's.
func (k traffic) refused() point {
	return point("nats: " + string(k) + " met another sequence than expected")
}

// What happens to whole processes and servers.
const (
	crashed       point = "process: crashed"
	stoppedWell   point = "process: stopped in order"
	paused        point = "process: paused past its lease, and resumed"
	outage        point = "all processes: down for hours"
	natsRestarted point = "nats: restarted"
	twoLead       point = "router: two believed that they led"
	echoed        point = "shard: a message of Baton's own was stored a second time"
	entryLost     point = "election: the leader's entry was lost"
)

// everyPoint is all that a run of enough seeds must have seen.
func everyPoint() []point {
	out := []point{
		commitRefused, commitLost, commitLate, commitCrash, committed, loadFailed, outboxFailed, leaseFailed, storeStalled, storeBack, storeFlushed,
		fenceApplied, fenceRepeated, fenceToken, fenceNumber,
		crashed, stoppedWell, paused, outage, natsRestarted, twoLead, entryLost, echoed,
		callLost, receiptLost, leaderCrashed, channelDown, channelRefused, channelHung, channelSlow, channelTooSlow, channelSilent, channelTold,
		offerIgnored, offerConfirmed, answerTaken, answerRefused, answerRepeated,
		mergeTaken, mergeAgain, mergeLate, mergeUnknown, mergeNeedless, mergeNobody, mergedLead, mergedShard, mergedOpen,
		toldTooOld, againTooOld, fadedNow, eventBusy,
		eventLate, eventFuture, eventTwice, eventAgain, eventPoison, eventHistory, eventContest, doorDuplicate,
		verifiedUnderway, explainedThen, qualifiedHand, qualifiedScore, qualifiedAgain, windowMissed,
		outbox.refused(), inbound.refused(), handoffs.refused(),
		deliveredOn("desk"), deliveredOn("mail"), heldBy(handoffv1.HandoffHeld_HELD_REASON_NOBODY_FREE),
	}
	for _, k := range []traffic{published, outbox, inbound, handoffs, election} {
		out = append(out, k.lost(), k.torn(), k.cut(), k.ackLost(), k.ackLate())
	}
	for _, r := range []handoffv1.AssignmentReason{
		handoffv1.AssignmentReason_ASSIGNMENT_REASON_ROTATION, handoffv1.AssignmentReason_ASSIGNMENT_REASON_FAIR_SHARE,
		handoffv1.AssignmentReason_ASSIGNMENT_REASON_LEAST_BUSY, handoffv1.AssignmentReason_ASSIGNMENT_REASON_OVERFLOW,
		handoffv1.AssignmentReason_ASSIGNMENT_REASON_ANYONE, handoffv1.AssignmentReason_ASSIGNMENT_REASON_COVER,
		handoffv1.AssignmentReason_ASSIGNMENT_REASON_HANDED_OVER,
	} {
		out = append(out, assignedBy(r))
	}
	return out
}

func assignedBy(r handoffv1.AssignmentReason) point { return point("router: assigned, " + r.String()) }

func heldBy(r handoffv1.HandoffHeld_HeldReason) point { return point("router: held, " + r.String()) }

func deliveredOn(channel string) point { return point("router: delivered, " + channel) }

// chance decides what goes wrong, from the seed. It is used by many goroutines, so that the same seed gives the same odds but
// not the same run.
type chance struct {
	mu       sync.Mutex
	rng      *rand.Rand
	on       bool
	odds     map[point]float64
	weather  map[point]float64
	happened map[point]int
}

func newChance(seed uint64) *chance {
	return &chance{rng: rand.New(rand.NewPCG(seed, 2)), odds: odds(), weather: map[point]float64{}, happened: map[point]int{}}
}

// odds are those of one occasion, where they are not one in a hundred.
func odds() map[point]float64 {
	o := map[point]float64{
		offerIgnored: 0.3, answerRepeated: 0.3, mergeAgain: 0.3,
		commitRefused: 0.02, commitLost: 0.04, commitLate: 0.02, commitCrash: 0.004, committed: 0.004, loadFailed: 0.02,
		outboxFailed: 0.02, leaseFailed: 0.005,
	}
	for p, odd := range channelOdds {
		o[p] = odd
	}
	for _, k := range []traffic{published, outbox, inbound, handoffs, election} {
		o[k.lost()], o[k.torn()], o[k.cut()], o[k.ackLost()], o[k.ackLate()] = 0.01, 0.005, 0.01, 0.015, 0.015
	}
	for _, p := range []point{election.lost(), election.torn(), election.cut()} {
		o[p] = 0.001
	}
	return o
}

// roll says whether a fault happens at a point now, and counts it. Each seed has its own weather: some faults come often in
// it, some never, so that rare combinations have their day.
func (c *chance) roll(p point) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.on {
		return false
	}
	w, ok := c.weather[p]
	if !ok {
		w = [...]float64{0, 1, 1, 3}[c.rng.IntN(4)]
		c.weather[p] = w
	}
	if c.rng.Float64() >= w*c.odds[p] {
		return false
	}
	c.happened[p]++
	return true
}

// note counts what happened.
func (c *chance) note(p point) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.happened[p]++
}

func (c *chance) set(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.on = on
}

func (c *chance) intN(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rng.IntN(n)
}

// between returns a duration of at least a and less than b.
func (c *chance) between(a, b time.Duration) time.Duration {
	return a + time.Duration(c.intN(int(b-a)))
}
