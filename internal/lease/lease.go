// Package lease is the protocol by which many nodes share one database without
// any of them being in charge: what a node is allowed to do, and until when. It
// is data and pure functions; internal/nodes runs it, and the exploration in
// explore_test.go walks every state it can get into.
//
// Each start of a node is a run, with a row in the database that says until when
// it counts as alive, by the database's clock. Every pending delivery is owned by
// one run. A run renews its row; one that does not is declared dead, and the others
// adopt what it owned. The invariants, by the names under which the exploration
// checks them:
//
//	I1  At most one run sends a delivery at a time: a run starts a request only
//	    while it owns the delivery and no other may adopt it.
//	I2  A result is written only by the owner, and once.
//	I3  Nothing stays pending without an owner that is alive for longer than a
//	    lease and two looks around (12 s with the defaults; 15 s are promised).
//	I4  Of one conversation at most one request is in flight, on whatever nodes.
//	I5  A delivery is sent to one webhook's endpoint and no other's: when a webhook
//	    is deleted, what may have been sent to it is bound to no other.
//	I6  A run that was declared dead does nothing more, ever: its node comes back
//	    as another run.
//
// What no protocol can prevent: a process that is stopped (SIGSTOP, a paused
// virtual machine) between its last look at the clock and the system call that
// sends, and goes on when its lease is long over, sends that one request. The
// receiver may see the same X-Webhook-ID twice then, as after a crash between
// sending and recording; the result of the late one is not written.
package lease

import "time"

// State is what a node is in the eyes of the others, as far as it can know.
//
//	                     Stopped                      Drained
//	   ┌─────────────────────────────────┬───▶ leaving ───────▶ gone
//	   │                                 │        │              ▲
//	joining ──Granted──▶ holding ────────┤        └───Refused────┘
//	   ▲                 │  ▲  │         │
//	   │          Expired│  │  └─Refused─┼─┐
//	   │                 ▼  │Granted     │ │
//	   │                doubtful ────────┘ │
//	   │                    │ Refused      │
//	   └──────Emptied────── lost ◀─────────┘
//
// joining: it has no run yet. holding: it sends. doubtful: its lease is over by
// its own count; it starts nothing, and goes on waiting for the answers to what
// it has sent, since the others may not have noticed yet: then a renewal makes it
// hold again, and nothing was lost. lost: it was declared dead; it drops what it
// has in memory, cuts off what is in flight, and joins anew. leaving: it starts
// nothing more and its work is the others' already, but for conversations of
// which it has a request in flight.
type State int

// The states of a node.
const (
	Joining State = iota
	Holding
	Doubtful
	Lost
	Leaving
	Gone
)

var stateNames = [...]string{"joining", "holding", "doubtful", "lost", "leaving", "gone"}

func (s State) String() string { return stateNames[s] }

// States lists all of them, in order.
func States() []State { return []State{Joining, Holding, Doubtful, Lost, Leaving, Gone} }

// MaySend says whether a new request may be started.
func (s State) MaySend() bool { return s == Holding }

// MayAdopt says whether it may take over what a dead run owned.
func (s State) MayAdopt() bool { return s == Holding }

// KeepsMemory says whether what is in memory, in flight and to be recorded still
// counts for something.
func (s State) KeepsMemory() bool { return s == Holding || s == Doubtful || s == Leaving }

// Event is something that happens to a node.
type Event int

// The events of a node.
const (
	// Granted: the database has written the run's row, for the first time or again.
	Granted Event = iota
	// Expired: the lease is over by the node's own count.
	Expired
	// Refused: the database says that the run was declared dead.
	Refused
	// Emptied: nothing of the lost run is in memory or in flight any more.
	Emptied
	// Stopped: the node was asked to stop.
	Stopped
	// Drained: nothing is in flight any more, and everything is written.
	Drained
)

var eventNames = [...]string{"granted", "expired", "refused", "emptied", "stopped", "drained"}

func (e Event) String() string { return eventNames[e] }

// Events lists all of them, in order.
func Events() []Event { return []Event{Granted, Expired, Refused, Emptied, Stopped, Drained} }

// transitions is the drawing above. What is not in it changes nothing.
var transitions = map[State]map[Event]State{
	Joining:  {Granted: Holding, Stopped: Gone},
	Holding:  {Expired: Doubtful, Refused: Lost, Stopped: Leaving},
	Doubtful: {Granted: Holding, Refused: Lost, Stopped: Leaving},
	Lost:     {Emptied: Joining, Stopped: Gone},
	Leaving:  {Refused: Gone, Drained: Gone},
}

// Next is the one transition function.
func Next(s State, e Event) State {
	if next, ok := transitions[s][e]; ok {
		return next
	}
	return s
}

// Bounds of a lease's length.
const (
	DefaultLength = 10 * time.Second
	MinLength     = 2 * time.Second
	MaxLength     = time.Minute
)

// Terms are the lengths of time that all nodes of a database agree on: those of
// the run that a row belongs to stand in it.
type Terms struct {
	// Length is how long after a renewal the row counts as alive, by the
	// database's clock.
	Length time.Duration
	// Renew is how often the row is renewed: four times before the node itself
	// stops, so that a slow or restarting database does not stop it.
	Renew time.Duration
	// Margin is how much earlier than the others the node counts its lease as over:
	// a fifth of it. It is what makes up for clocks that run at different rates,
	// for the clock of a replica that was promoted, and for the time between the
	// last look at the clock and the first byte on the wire.
	Margin time.Duration
	// Look is how often a node looks for runs that are dead, for work it was given,
	// and for webhooks that changed. Notifications only make it look earlier.
	Look time.Duration
}

// TermsFor returns the terms for leases of a length.
func TermsFor(length time.Duration) Terms {
	return Terms{Length: length, Renew: length / 5, Margin: length / 5, Look: min(time.Second, length/5)}
}

// AdoptedWithin bounds the time from the death of a node to the adoption of what
// it owned, while another one lives and the database answers: it may have renewed
// right before, the others look in turn, and one of them may be the next to die.
func (t Terms) AdoptedWithin() time.Duration { return t.Length + 2*t.Look }

// Clock is a node's own count of its lease: from before a renewal was sent, so
// that however long the answer takes the node never believes in more than the
// database has written. The zero value is over.
type Clock struct {
	asked time.Time
	terms Terms
}

// Start returns the clock of a lease that was asked for at a time and granted.
func (t Terms) Start(asked time.Time) Clock { return Clock{asked, t} }

// Left is how long requests may still be started; zero or less is over. Two
// clocks are asked, the monotonic one and that of the wall, and the one by which
// more time has passed counts: the monotonic clock stands still while a machine
// sleeps, and the wall clock may be set back.
func (c Clock) Left(now time.Time) time.Duration {
	if c.asked.IsZero() {
		return 0
	}
	passed := max(now.Sub(c.asked), now.Round(0).Sub(c.asked.Round(0)))
	return c.terms.Length - c.terms.Margin - passed
}
