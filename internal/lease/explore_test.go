package lease

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// The exploration walks every state that a few nodes and deliveries can get into,
// in every order in which messages, clocks, crashes, pauses and stops can come,
// and checks the invariants in each. Time goes in ticks; what is counted is always
// how much is left, so that the states are finitely many without any horizon.
//
// The nodes' side runs the package's own Next, MaySend, MayAdopt and KeepsMemory.
// The database's side restates the statements of internal/store/postgres in a few
// lines each. A transaction is one step: that is what the row locks there are for.

// rules are the size of an exploration, and what is broken in it.
type rules struct {
	nodes, deliveries int
	length, margin    int8 // ticks
	drift             int8 // ticks by which a node's clock may fall behind in one lease
	jumps             int8 // how often the database's clock may go ahead by a tick: a replica was promoted
	crashes           int8
	pauses            int8 // a process that sleeps, with a request about to be sent or without
	stops             int8
	timely            bool // I3 is checked: who works looks around every tick
	deletion          bool // the webhook may be deleted, and events then go to the default
	broken            flaw
}

// flaw is one way to get the protocol wrong. The exploration must find each.
type flaw int

const (
	sound            flaw = iota
	noMargin              // the node believes in its lease as long as the database does
	countFromAnswer       // it counts from the answer to a renewal, not from before the question
	sendInDoubt           // it goes on starting requests when its lease is over
	recordUnasked         // a result is written without a look at the owner
	adoptTheLiving        // deliveries are adopted from whoever is not oneself
	acceptAnyway          // whoever accepts an event owns its delivery
	adoptSingly           // deliveries of one conversation are adopted one by one, by whomever
	leaveBusy             // a leaving node's conversations are adopted although a request is in flight
	forgetHanded          // taking a delivery into memory hides that an earlier run may have sent it
	settleForAll          // the node that deletes a webhook settles the others' deliveries too
	adoptOnlyOnce         // what a run declared dead writes later is looked for by nobody
	keepMemoryOnLoss      // a run that was declared dead goes on as the next one with what it held
)

// Where a delivery is in one node's memory.
const (
	nowhere   int8 = iota
	held           // waiting to be sent
	about          // past the last look at the clock, not yet sent: its process sleeps
	inFlight       // sent
	recording      // answered; the result is on its way to the database
)

// The database's row of a node's present run.
const (
	rowNone int8 = iota
	rowLive
	rowLeaving
	rowDead
)

// A renewal on its way.
const (
	askNothing int8 = iota
	askAsked
	askGranted
	askRefused
)

const (
	nobody     int8 = -1 // as an owner: a run that is dead and whose node is another by now
	neverSent  int8 = 0
	byDeadRun  int8 = 9 // as a mark: a run that is dead may have sent it
	maxOrphan  int8 = 20
	toWebhook  int8 = 1
	toDefault  int8 = 2
	maxNodes        = 2
	maxDeliver      = 2
)

type node struct {
	state  State
	down   bool
	paused bool
	left   int8 // of its lease, by its own count
	lagged int8 // ticks its clock fell behind in this lease
	row    int8
	until  int8 // how long its row still counts as alive, by the database's clock
	asking int8
	age    int8 // of the question, by its own count
	lag    int8 // ticks its clock fell behind since it asked
}

type delivery struct {
	accepted bool
	ended    bool
	owner    int8 // a node's present run, or nobody
	handed   int8 // neverSent, 1 + the node whose present run took it into memory, or byDeadRun
	held     bool // the owner has it in memory, as the database sees it
	bound    int8
	sentTo   int8 // endpoints that may have got it, by bits
	written  int8 // results
	stray    bool // a dead run's result is still on its way
	orphan   int8 // ticks without an owner that works, while another node does
	at       [maxNodes]int8
}

// world is one state of everything. All deliveries are of one conversation.
type world struct {
	nodes                          [maxNodes]node
	deliveries                     [maxDeliver]delivery
	deleted                        bool
	swept                          bool // for adoptOnlyOnce: the dead were looked for
	jumps, crashes, pauses, stops_ int8
}

// step is a successor, with what led there and which invariant that broke.
type step struct {
	world
	label  string
	args   [2]int8
	breaks string
}

type explorer struct {
	rules
	out []step
}

func (x *explorer) emit(w world, breaks, label string, args ...int8) {
	s := step{world: w, label: label, breaks: breaks}
	copy(s.args[:], args)
	x.out = append(x.out, s)
}

// tell writes a step's label with its numbers.
func tell(label string, args [2]int8) string {
	for _, a := range args {
		label = strings.Replace(label, "%d", fmt.Sprint(a), 1)
	}
	return label
}

func (x *explorer) start() world {
	w := world{jumps: x.jumps, crashes: x.crashes, pauses: x.pauses, stops_: x.stops}
	for n := range x.nodes {
		w.nodes[n] = node{state: Holding, row: rowLive, left: x.length - x.margin, until: x.length}
	}
	for d := range w.deliveries {
		w.deliveries[d].owner = nobody
	}
	return w
}

// successors lists everything that can happen next.
func (x *explorer) successors(w world) []step {
	x.out = x.out[:0]
	if x.over(&w) {
		return nil
	}
	for n := range x.nodes {
		x.renewal(w, int8(n))
		x.fates(w, int8(n))
		x.adoption(w, int8(n))
		for d := range x.deliveries {
			x.path(w, int8(n), d)
		}
	}
	for d := range x.deliveries {
		x.strays(w, d)
	}
	x.webhook(w)
	x.time(w)
	return x.out
}

// over says whether nothing that matters can happen any more.
func (x *explorer) over(w *world) bool {
	for _, e := range w.deliveries[:x.deliveries] {
		if !e.ended || e.stray || e.at != [maxNodes]int8{} {
			return false
		}
	}
	return true
}

func (n node) awake() bool { return !n.down && !n.paused }

// works says whether a node does its part: it looks around and sends.
func (n node) works() bool { return n.awake() && n.state == Holding }

// dead says whether the owner of a delivery is a run that was declared dead.
func (w *world) dead(owner int8) bool { return owner == nobody || w.nodes[owner].row == rowDead }

// renewal: a question, its way to the database, and the answer's way back; any of
// it may take as long as it likes; when a lease is over anyway, the node gives up on it.
func (x *explorer) renewal(w world, n int8) {
	me := &w.nodes[n]
	switch {
	case me.asking == askNothing && me.awake() && (me.state == Joining || me.state.KeepsMemory()):
		me.asking, me.age, me.lag = askAsked, 0, 0
		x.emit(w, "", "node %d asks for its lease", n)
	case me.asking == askAsked:
		if me.row == rowDead {
			me.asking = askRefused
			x.emit(w, "", "the database refuses node %d", n)
		} else {
			me.asking, me.until = askGranted, x.length
			for d := range w.deliveries {
				if e := &w.deliveries[d]; e.owner == n {
					e.orphan = 0 // whoever renews is not dead
				}
			}
			if me.row == rowNone {
				me.row = rowLive
			}
			x.emit(w, "", "the database grants node %d its lease", n)
		}
	case me.asking == askGranted && me.awake():
		me.left = max(0, x.length-x.margin-me.age)
		if x.broken == noMargin {
			me.left = max(0, x.length-me.age)
		}
		if x.broken == countFromAnswer {
			me.left = x.length - x.margin
		}
		me.asking, me.age, me.lagged, me.lag = askNothing, 0, me.lag, 0
		if me.left > 0 {
			me.state = Next(me.state, Granted)
		} else if me.state == Joining {
			me.state = Doubtful
		}
		x.emit(w, "", "node %d learns that its lease is granted", n)
	case me.asking == askRefused && me.awake():
		me.asking, me.age = askNothing, 0
		me.state = Next(me.state, Refused)
		if me.state == Lost {
			w.rejoin(n, x.broken == keepMemoryOnLoss)
		}
		x.emit(w, "", "node %d learns that it was declared dead", n)
	}
}

// rejoin makes a lost node another run, which knows nothing.
func (w *world) rejoin(n int8, remember bool) {
	me := &w.nodes[n]
	*me = node{state: Next(me.state, Emptied)}
	for d := range w.deliveries {
		e := &w.deliveries[d]
		if e.owner == n {
			e.owner = nobody
		}
		if e.handed == n+1 {
			e.handed = byDeadRun
		}
		if e.at[n] == recording {
			e.stray = true
		}
		if !remember || e.at[n] != held {
			e.at[n] = nowhere
		}
	}
}

// fates: crashes, pauses, stops.
func (x *explorer) fates(w world, n int8) {
	me := w.nodes[n]
	if me.awake() && w.crashes > 0 && me.state != Gone {
		c := w
		c.crashes--
		c.nodes[n].down = true
		if me.asking != askAsked {
			c.nodes[n].asking = askNothing
		}
		for d := range c.deliveries {
			if c.deliveries[d].at[n] != recording {
				c.deliveries[d].at[n] = nowhere
			}
		}
		x.emit(c, "", "node %d dies", n)
	}
	if me.awake() && w.pauses > 0 {
		c := w
		c.pauses--
		c.nodes[n].paused = true
		x.emit(c, "", "node %d falls asleep", n)
		for d := range x.deliveries {
			if x.maySend(&w, n, d) {
				s := c
				s.deliveries[d].at[n] = about
				x.emit(s, "", "node %d falls asleep about to send delivery %d", n, int8(d))
			}
		}
	}
	if me.paused && !me.down {
		c := w
		c.nodes[n].paused = false
		breaks := ""
		for d := range c.deliveries {
			if c.deliveries[d].at[n] == about {
				// It does not look at the clock again. Where its lease is over, this
				// is what cannot be prevented, and only I5 holds.
				breaks = x.send(&c, n, d, me.left == 0)
			}
		}
		if me.left == 0 {
			c.nodes[n].state = Next(me.state, Expired)
		}
		x.emit(c, breaks, "node %d wakes up", n)
	}
	if me.awake() && w.stops_ > 0 && (me.state == Holding || me.state == Doubtful) {
		c := w
		c.stops_--
		c.nodes[n].state = Next(me.state, Stopped)
		if me.row == rowLive {
			c.nodes[n].row = rowLeaving
		}
		for d := range c.deliveries {
			e := &c.deliveries[d]
			if e.at[n] == held {
				e.at[n] = nowhere
				if e.owner == n {
					x.handBack(e, n)
				}
			}
		}
		x.emit(c, "", "node %d is asked to stop", n)
	}
	if me.awake() && me.state == Leaving {
		for d := range w.deliveries {
			if w.deliveries[d].at[n] != nowhere {
				return
			}
		}
		c := w
		c.nodes[n].state = Next(me.state, Drained)
		c.nodes[n].row, c.nodes[n].until, c.nodes[n].down, c.nodes[n].asking = rowDead, 0, true, askNothing
		x.emit(c, "", "node %d is gone", n)
	}
}

// handBack is the store's HandBack: what this run took and did not send was not
// sent; what an earlier one took keeps its mark.
func (x *explorer) handBack(e *delivery, n int8) {
	e.held = false
	if e.handed == n+1 {
		e.handed = neverSent
	}
}

// adoption: a working node declares dead whose row has run out, and takes over
// whole conversations of the dead. Those of a leaving run it takes where nothing
// is in that run's memory any more.
func (x *explorer) adoption(w world, n int8) {
	if !w.nodes[n].works() || !w.nodes[n].state.MayAdopt() || w.nodes[n].row != rowLive && w.nodes[n].row != rowLeaving {
		return
	}
	for m := range x.nodes {
		if r := w.nodes[m]; int8(m) != n && (r.row == rowLive || r.row == rowLeaving) && r.until == 0 {
			c := w
			c.nodes[m].row = rowDead
			c.swept = false
			x.emit(c, "", "node %d declares node %d dead", n, int8(m))
		}
	}
	if x.broken == adoptOnlyOnce && w.swept {
		return
	}
	if x.broken == adoptSingly {
		for d := range x.deliveries {
			c := w
			if e := &c.deliveries[d]; e.accepted && !e.ended && c.dead(e.owner) {
				x.adopt(e, n)
				x.emit(c, "", "node %d adopts delivery %d", n, int8(d))
			}
		}
		return
	}
	// The conversation's row is locked: nobody accepts into it meanwhile.
	heir, busy := n, false
	for d := range x.deliveries {
		e := &w.deliveries[d]
		if !e.accepted || e.ended || w.dead(e.owner) {
			continue
		}
		if x.broken == adoptTheLiving {
			continue
		}
		if w.nodes[e.owner].row == rowLeaving {
			busy = busy || e.held
		} else {
			heir = e.owner
		}
	}
	c, any := w, false
	for d := range x.deliveries {
		e := &c.deliveries[d]
		if !e.accepted || e.ended || e.owner == heir {
			continue
		}
		takes := w.dead(e.owner) || w.nodes[e.owner].row == rowLeaving && (!busy || x.broken == leaveBusy) || x.broken == adoptTheLiving
		if w.dead(e.owner) && busy && x.broken != leaveBusy {
			takes = false // its conversation is the leaving run's still
		}
		if takes {
			any = true
			x.adopt(e, heir)
		}
	}
	if any {
		c.swept = true
		x.emit(c, "", "node %d adopts the conversation for node %d", n, heir)
	}
}

func (x *explorer) adopt(e *delivery, heir int8) {
	e.owner, e.held, e.orphan = heir, false, 0
	if e.handed != neverSent {
		e.handed = byDeadRun
	}
}

// path: a delivery's way through a node.
func (x *explorer) path(w world, n int8, d int) {
	me, e := w.nodes[n], w.deliveries[d]
	if me.awake() && !e.accepted && (me.state == Holding || me.state == Doubtful) {
		x.accept(w, n, d)
	}
	if me.awake() && e.accepted && !e.ended && e.owner == n && !e.held && me.state == Holding && e.at[n] == nowhere &&
		!(w.deleted && e.bound == toWebhook) && !x.earlierWaits(&w, n, d) {
		c := w
		f := &c.deliveries[d]
		f.held, f.at[n] = true, held
		if f.handed == neverSent || x.broken == forgetHanded {
			f.handed = n + 1
		}
		x.emit(c, "", "node %d takes delivery %d into memory", n, int8(d))
	}
	if x.maySend(&w, n, d) {
		c := w
		breaks := x.send(&c, n, d, false)
		x.emit(c, breaks, "node %d sends delivery %d", n, int8(d))
	}
	if e.at[n] == inFlight && me.awake() && me.state.KeepsMemory() {
		c := w
		c.deliveries[d].at[n] = recording
		x.emit(c, "", "node %d gets the answer to delivery %d", n, int8(d))
	}
	if e.at[n] == recording {
		c := w
		f := &c.deliveries[d]
		f.at[n] = nowhere
		breaks := x.write(&c, f, e.owner == n)
		x.emit(c, breaks, "node %d's result of delivery %d gets to the database", n, int8(d))
	}
}

// earlierWaits says whether an earlier delivery of the conversation is in the
// store, waiting to be taken by the same node.
func (x *explorer) earlierWaits(w *world, n int8, d int) bool {
	for i := range d {
		if e := w.deliveries[i]; e.accepted && !e.ended && e.owner == n && !e.held {
			return true
		}
	}
	return false
}

// accept: a delivery goes to whoever owns what is pending of its conversation,
// dead or alive; where nothing is, to whoever accepts it.
func (x *explorer) accept(w world, n int8, d int) {
	for i := range d {
		if !w.deliveries[i].accepted {
			return // events come in order
		}
	}
	e := &w.deliveries[d]
	e.accepted, e.owner, e.bound = true, n, toWebhook
	if w.deleted {
		e.bound = toDefault
	}
	inStore := false
	for i := range d {
		if f := w.deliveries[i]; !f.ended {
			if x.broken != acceptAnyway {
				e.owner = f.owner
			}
			inStore = inStore || !f.held
		}
	}
	if e.owner == n && !inStore && w.nodes[n].state == Holding {
		e.held, e.handed, e.at[n] = true, n+1, held
	}
	x.emit(w, "", "node %d accepts delivery %d", n, int8(d))
}

func (x *explorer) maySend(w *world, n int8, d int) bool {
	me, e := w.nodes[n], &w.deliveries[d]
	if !me.awake() || e.at[n] != held {
		return false
	}
	if x.broken == sendInDoubt {
		if !me.state.KeepsMemory() {
			return false
		}
	} else if !me.state.MaySend() || me.left == 0 {
		return false
	}
	for i := range x.deliveries { // in its lane, a conversation has one in flight, in order
		at := w.deliveries[i].at[n]
		if i != d && (at == about || at == inFlight) || i < d && at == held {
			return false
		}
	}
	return true
}

// send sends, and checks I1, I4 and I5. late is a request that nobody could stop.
func (x *explorer) send(w *world, n int8, d int, late bool) (breaks string) {
	e := &w.deliveries[d]
	e.at[n] = inFlight
	e.sentTo |= e.bound
	if e.sentTo == toWebhook|toDefault {
		return "I5"
	}
	if late {
		return ""
	}
	if e.owner != n || w.dead(n) {
		return "I1"
	}
	for m := range x.nodes {
		if int8(m) == n || w.nodes[m].row == rowDead || w.nodes[m].row == rowNone || w.nodes[m].down {
			continue
		}
		for i := range x.deliveries {
			if w.deliveries[i].at[m] == inFlight {
				return "I4"
			}
		}
	}
	return ""
}

// write is the store's Record.
func (x *explorer) write(w *world, e *delivery, owner bool) (breaks string) {
	if e.ended || !owner && x.broken != recordUnasked {
		return ""
	}
	e.ended, e.held = true, false
	e.written++
	if !owner || e.written > 1 {
		return "I2"
	}
	return ""
}

// strays are results of runs that are dead: their connection may have been slow.
func (x *explorer) strays(w world, d int) {
	if e := &w.deliveries[d]; e.stray {
		e.stray = false
		breaks := x.write(&w, e, false)
		x.emit(w, breaks, "a dead run's result of delivery %d gets to the database", int8(d))
	}
}

// webhook: it is deleted, and each node settles what it owns of it.
func (x *explorer) webhook(w world) {
	if !x.deletion {
		return
	}
	if !w.deleted {
		c := w
		c.deleted = true
		x.emit(c, "", "the webhook is deleted")
		return
	}
	for n := range x.nodes {
		if !w.nodes[n].awake() || w.nodes[n].state != Holding && w.nodes[n].state != Leaving {
			continue
		}
		c, any, breaks := w, false, ""
		for d := range x.deliveries {
			e := &c.deliveries[d]
			if !e.accepted || e.ended || e.bound != toWebhook || e.owner != int8(n) && x.broken != settleForAll {
				continue
			}
			any = true
			if at := e.at[n]; at == about || at == inFlight || at == recording || e.handed == byDeadRun {
				e.ended, e.held = true, false // as failed, "webhook deleted"
				continue
			}
			if e.sentTo != 0 {
				breaks = "I5" // it was sent, and is bound to the default
			}
			for m := range x.nodes {
				if e.at[m] == about && m != n {
					breaks = "I5" // it will be
				}
			}
			e.bound, e.held, e.handed, e.at[n] = toDefault, false, neverSent, nowhere
		}
		if any {
			x.emit(c, breaks, "node %d settles the deleted webhook", int8(n))
		}
	}
}

// time passes by a tick, unless somebody who works has something to do at once.
// One node's clock at a time may fall behind, by drift in each lease.
func (x *explorer) time(w world) {
	if w.jumps > 0 {
		c := w
		c.jumps--
		for n := range c.nodes {
			c.nodes[n].until = max(0, c.nodes[n].until-1)
		}
		x.emit(c, "", "the database's clock goes ahead")
	}
	works := -1
	for n := range x.nodes {
		if w.nodes[n].works() && w.nodes[n].row == rowLive {
			works = n
		}
	}
	breaks := ""
	for d := range x.deliveries {
		e := &w.deliveries[d]
		if !x.timely || !e.accepted || e.ended || works < 0 || x.tended(&w, e) {
			e.orphan = 0
			continue
		}
		e.orphan = min(e.orphan+1, maxOrphan)
		if e.orphan > x.length+2 {
			breaks = "I3"
		}
	}
	if x.timely && works >= 0 && x.overdue(&w) && x.broken != adoptOnlyOnce {
		return // who works looks around every tick
	}
	for lag := range 1 << x.nodes {
		c, ok := w, true
		for n := range x.nodes {
			me := &c.nodes[n]
			me.until = max(0, me.until-1)
			if lag&(1<<n) != 0 {
				if ok = lag == 1<<n && me.lagged < x.drift && me.lag < x.drift && (me.left > 0 || me.asking != askNothing) && !me.down; !ok {
					break
				}
				me.lagged++
				if me.asking != askNothing {
					me.lag++
				}
				continue
			}
			me.left = max(0, me.left-1)
			if me.asking != askNothing {
				if me.age++; me.age >= x.length-x.margin {
					me.asking, me.age, me.lag = askNothing, 0, 0 // it gives up on the question
				}
			}
			if me.left == 0 && me.awake() && x.broken != sendInDoubt {
				me.state = Next(me.state, Expired)
			}
		}
		if ok {
			x.emit(c, breaks, "a tick")
		}
	}
}

// tended says whether a delivery's owner works, or is leaving with its
// conversation still in flight.
func (x *explorer) tended(w *world, e *delivery) bool {
	if e.owner == nobody || w.nodes[e.owner].row == rowDead {
		return false
	}
	o := w.nodes[e.owner]
	if o.works() {
		return true
	}
	if o.awake() && o.state == Leaving {
		for d := range x.deliveries {
			if f := w.deliveries[d]; f.owner == e.owner && f.held {
				return true
			}
		}
	}
	return false
}

// overdue says whether something could be adopted and has waited for a tick.
func (x *explorer) overdue(w *world) bool {
	for n := range x.nodes {
		if r := w.nodes[n]; (r.row == rowLive || r.row == rowLeaving) && r.until == 0 && !r.works() {
			for d := range x.deliveries {
				if e := w.deliveries[d]; e.owner == int8(n) && e.accepted && !e.ended && e.orphan > x.length {
					return true
				}
			}
		}
	}
	for d := range x.deliveries {
		e := w.deliveries[d]
		if !e.accepted || e.ended || e.orphan < 2 {
			continue
		}
		if w.dead(e.owner) || w.nodes[e.owner].row == rowLeaving && !x.tended(w, &e) {
			for i := range x.deliveries {
				f := w.deliveries[i]
				if f.accepted && !f.ended && !w.dead(f.owner) && w.nodes[f.owner].row == rowLeaving && f.held {
					return false // the conversation is a leaving run's still
				}
			}
			return true
		}
	}
	return false
}

// explore walks all states, breadth first, and returns how many there are and,
// where an invariant breaks, which and how one gets there.
// key is a world in few bytes, the same for two that differ only in which node is
// which.
type key [2*13 + maxDeliver*12 + 6]byte

func (x *explorer) key(w *world) key {
	k := x.keyInOrder(w, 0, 1)
	if other := x.keyInOrder(w, 1, 0); bytes.Compare(other[:], k[:]) < 0 {
		return other
	}
	return k
}

func (x *explorer) keyInOrder(w *world, order ...int) (k key) {
	b := k[:0]
	flag := func(v bool) byte {
		if v {
			return 1
		}
		return 0
	}
	place := [maxNodes]int8{}
	for i, n := range order {
		place[n] = int8(i)
		v := &w.nodes[n]
		b = append(b, byte(v.state), flag(v.down), flag(v.paused), byte(v.left), byte(v.lagged), byte(v.row), byte(v.until), byte(v.asking), byte(v.age), byte(v.lag))
	}
	for d := range w.deliveries {
		e := &w.deliveries[d]
		owner, handed := e.owner, e.handed
		if owner >= 0 {
			owner = place[owner]
		}
		if handed > 0 && handed != byDeadRun {
			handed = 1 + place[handed-1]
		}
		b = append(b, flag(e.accepted), flag(e.ended), byte(owner), byte(handed), flag(e.held), byte(e.bound), byte(e.sentTo), byte(e.written), flag(e.stray), byte(e.orphan))
		for _, n := range order {
			b = append(b, byte(e.at[n]))
		}
	}
	b = append(b, flag(w.deleted), flag(w.swept), byte(w.jumps), byte(w.crashes), byte(w.pauses), byte(w.stops_))
	if len(b) > len(k) {
		panic("the key is too short")
	}
	return k
}

const mostStates = 500_000

func explore(r rules) (states int, breaks string, trace []string) {
	x := &explorer{rules: r}
	type origin struct {
		from  int
		label string
		args  [2]int8
	}
	first := x.start()
	seen := map[key]struct{}{x.key(&first): {}}
	queue, origins := []world{first}, []origin{{from: -1, label: "the beginning"}}
	for i := 0; i < len(queue); i++ {
		if len(queue) > mostStates {
			return len(queue), "the bound of states", nil
		}
		for _, s := range x.successors(queue[i]) {
			if s.breaks != "" {
				trace = append(trace, tell(s.label, s.args))
				for at := i; at >= 0; at = origins[at].from {
					trace = append(trace, tell(origins[at].label, origins[at].args))
				}
				slices.Reverse(trace)
				return len(queue), s.breaks, trace
			}
			k := x.key(&s.world)
			if _, known := seen[k]; !known {
				seen[k] = struct{}{}
				queue, origins = append(queue, s.world), append(origins, origin{i, s.label, s.args})
			}
		}
		queue[i] = world{}
	}
	return len(queue), "", nil
}

func TestExploration(t *testing.T) {
	t.Parallel()
	for name, r := range explorations {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			states, breaks, trace := explore(r)
			if breaks != "" {
				t.Fatalf("%s is broken:\n  %s", breaks, strings.Join(trace, "\n  "))
			}
			t.Logf("%d states, no invariant broken", states)
		})
	}
}

var explorations = map[string]rules{
	"a slow clock":       {nodes: 2, deliveries: 1, length: 3, margin: 1, drift: 1},
	"a promoted replica": {nodes: 2, deliveries: 1, length: 3, margin: 1, jumps: 1},
	"a crash":            {nodes: 2, deliveries: 1, length: 2, margin: 1, crashes: 1, pauses: 1, timely: true},
	"a conversation":     {nodes: 2, deliveries: 2, length: 2, margin: 1, crashes: 1},
	"a stop":             {nodes: 2, deliveries: 2, length: 2, margin: 1, stops: 1},
	"a deleted webhook":  {nodes: 2, deliveries: 1, length: 2, margin: 1, crashes: 1, pauses: 1, deletion: true},
}

// TestFlaws breaks the protocol in one way after another: the exploration must see
// each. A check that finds nothing wrong with a broken protocol checks nothing.
func TestFlaws(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		flaw  flaw
		in    string
		finds string
	}{
		"no margin":                           {noMargin, "a slow clock", "I1"},
		"no margin, promoted":                 {noMargin, "a promoted replica", "I1"},
		"counts from the answer":              {countFromAnswer, "a slow clock", "I1"},
		"sends in doubt":                      {sendInDoubt, "a crash", "I1"},
		"records without a look at the owner": {recordUnasked, "a crash", "I2"},
		"adopts from the living":              {adoptTheLiving, "a crash", "I1"},
		"accepts into another's conversation": {acceptAnyway, "a conversation", "I4"},
		"adopts singly":                       {adoptSingly, "a conversation", "I4"},
		"leaves busy conversations":           {leaveBusy, "a stop", "I4"},
		"forgets that it may have been sent":  {forgetHanded, "a deleted webhook", "I5"},
		"settles for all":                     {settleForAll, "a deleted webhook", "I5"},
		"looks for the dead's work only once": {adoptOnlyOnce, "a crash", "I3"},
		"remembers after a loss":              {keepMemoryOnLoss, "a crash", "I1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := explorations[c.in]
			r.broken = c.flaw
			states, breaks, trace := explore(r)
			if breaks != c.finds {
				t.Fatalf("%d states, and %q is broken instead of %s:\n  %s", states, breaks, c.finds, strings.Join(trace, "\n  "))
			}
			t.Logf("%s is broken after %d states, in %d steps", breaks, states, len(trace)-1)
		})
	}
}
