package main

import (
	"container/heap"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"switchhook.dev/switchhook/internal/lease"
)

// leasesCmd simulates the lease protocol, in virtual time: many nodes, one
// database, and everything that goes wrong with either. The nodes' side is package
// lease itself; the database's is a table of rows. Nothing is measured: what is
// printed follows from the terms and the failures alone.
type leasesCmd struct {
	Nodes  int           `default:"100" help:"Nodes."`
	Hours  float64       `default:"6" help:"Virtual hours."`
	Lease  time.Duration `default:"10s" help:"Length of a lease."`
	Rate   float64       `default:"200" help:"Deliveries a second and node."`
	Answer time.Duration `default:"80ms" help:"How long a delivery is in flight, and its result on its way to the database."`
	Owned  int           `default:"3000" help:"Pending deliveries that a node owns."`
	Seed   uint64        `default:"1" help:"Seed of everything random: the same seed prints the same."`
}

// What goes wrong, as mean times between two of a kind. They are chosen to be far
// worse than life: a fleet of 100 loses a node every 36 s.
const (
	crashEvery     = time.Hour     // a node; it is started again 5 to 30 s later
	pauseEvery     = 2 * time.Hour // a node; it sleeps for up to 40 s
	partitionEvery = 3 * time.Hour // a node; it cannot reach the database for up to 60 s
	restartEvery   = 2 * time.Hour // the database; it is away for 2 to 20 s
	failoverEvery  = 3 * time.Hour // the database; it is away for 5 to 30 s, and its clock differs by up to 500 ms then
	clockRate      = 500e-6        // by which a node's clock is fast or slow, at most
	rollEvery      = 2 * time.Hour // all nodes are restarted, one after the other
	sliceTime      = 8 * time.Millisecond
	roundTrip      = 2 * time.Millisecond
	simSlice       = 500 // deliveries that one transaction adopts, as in internal/nodes
)

type simNode struct {
	state lease.State
	clock lease.Clock
	rate  float64 // of its clock
	up    bool
	awake time.Duration // until when it sleeps
	reach time.Duration // until when it cannot reach the database
	row   *simRow
}

// simRow is a run in the database.
type simRow struct {
	until, died     time.Duration
	dead, left      bool
	crashed         bool
	owned, inFlight int // inFlight are those that may have been sent and are not on record
	node            *simNode
}

type simulation struct {
	leasesCmd
	terms lease.Terms
	rng   *rand.Rand
	now   time.Duration
	queue simQueue
	nodes []*simNode
	rows  []*simRow // that are not adopted from yet

	steady bool // the database is never away

	down  time.Duration // until when the database is away
	skew  time.Duration // of its clock
	dbFor time.Duration // how long it was away in all

	crashes, pauses, partitions, restarts, failovers, rolls int
	adopted, duplicates, late, senders, lost                int
	renewals, looks, slices                                 int
	handedOver                                              []float64
	adoptions                                               []float64 // seconds from death to the last slice
}

type simEvent struct {
	at time.Duration
	n  int
	do func()
}

type simQueue []simEvent

func (q simQueue) Len() int { return len(q) }
func (q simQueue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].n < q[j].n
}
func (q simQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *simQueue) Push(e any)   { *q = append(*q, e.(simEvent)) }
func (q *simQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	*q = old[:len(old)-1]
	return e
}

// Run simulates, and prints.
func (c *leasesCmd) Run() error {
	s := newSimulation(*c)
	start := time.Now()
	s.run()
	fmt.Print(s.report())
	fmt.Printf("(%s of virtual time in %.1f s)\n", s.end(), time.Since(start).Seconds())
	return nil
}

func newSimulation(c leasesCmd) *simulation {
	s := &simulation{leasesCmd: c, terms: lease.TermsFor(c.Lease), rng: rand.New(rand.NewPCG(c.Seed, 0))}
	for range c.Nodes {
		n := &simNode{rate: 1 + clockRate*(2*s.rng.Float64()-1)}
		s.nodes = append(s.nodes, n)
		s.boot(n)
		s.every(crashEvery, func() { s.crash(n) })
		s.every(pauseEvery, func() { s.pause(n) })
		s.every(partitionEvery, func() { s.partition(n) })
	}
	s.every(restartEvery, func() { s.restarts++; s.away(2, 20) })
	s.every(failoverEvery, func() { s.failovers++; s.away(5, 30); s.skew = s.between(-0.5, 0.5) })
	s.every(rollEvery, s.roll)
	return s
}

func (s *simulation) end() time.Duration { return time.Duration(s.Hours * float64(time.Hour)) }

func (s *simulation) run() {
	heap.Init(&s.queue)
	for len(s.queue) > 0 && s.queue[0].at < s.end() {
		e := heap.Pop(&s.queue).(simEvent)
		s.now = e.at
		e.do()
	}
}

func (s *simulation) after(d time.Duration, do func()) {
	heap.Push(&s.queue, simEvent{s.now + d, s.rng.Int(), do})
}

// every does something again and again, a mean time apart.
func (s *simulation) every(mean time.Duration, do func()) {
	s.after(time.Duration(s.rng.ExpFloat64()*float64(mean)), func() { do(); s.every(mean, do) })
}

func (s *simulation) between(from, to float64) time.Duration {
	return time.Duration((from + (to-from)*s.rng.Float64()) * float64(time.Second))
}

// local is the time by a node's own clock.
func (s *simulation) local(n *simNode) time.Time {
	return time.Unix(0, 0).Add(time.Duration(float64(s.now) * n.rate))
}

// db is the time by the database's clock.
func (s *simulation) db() time.Duration { return s.now + s.skew }

func (s *simulation) works(n *simNode) bool { return n.up && s.now >= n.awake }

func (s *simulation) reaches(n *simNode) bool {
	return s.works(n) && s.now >= n.reach && s.now >= s.down
}

func (s *simulation) maySend(n *simNode) bool {
	return s.works(n) && n.state.MaySend() && n.clock.Left(s.local(n)) > 0
}

// boot starts a node.
func (s *simulation) boot(n *simNode) {
	n.up, n.state, n.row = true, lease.Joining, nil
	s.join(n)
}

func (s *simulation) join(n *simNode) {
	if !n.up || n.state != lease.Joining {
		return
	}
	if !s.reaches(n) {
		s.after(time.Second, func() { s.join(n) })
		return
	}
	s.renewals++
	n.row = &simRow{until: s.db() + s.terms.Length, owned: s.Owned, node: n}
	n.clock, n.state = s.terms.Start(s.local(n)), lease.Next(n.state, lease.Granted)
	row := n.row
	s.after(s.terms.Renew, func() { s.renew(n, row) })
	s.after(time.Duration(s.rng.Float64()*float64(s.terms.Look)), func() { s.look(n, row) })
}

// renew is one round of keep in internal/nodes.
func (s *simulation) renew(n *simNode, row *simRow) {
	if !n.up || n.row != row {
		return
	}
	if !s.works(n) {
		s.after(n.awake-s.now, func() { s.renew(n, row) })
		return
	}
	asked := s.local(n)
	if !s.reaches(n) {
		if n.clock.Left(asked) <= 0 {
			n.state = lease.Next(n.state, lease.Expired)
		}
		s.after(time.Second, func() { s.renew(n, row) })
		return
	}
	s.renewals++
	if row.dead {
		n.state = lease.Next(n.state, lease.Refused)
		s.lost++
		n.state, n.row = lease.Next(n.state, lease.Emptied), nil
		s.join(n)
		return
	}
	row.until = s.db() + s.terms.Length
	n.clock, n.state = s.terms.Start(asked), lease.Next(n.state, lease.Granted)
	row.inFlight = 0 // answers came, and are written
	s.after(s.terms.Renew+roundTrip, func() { s.renew(n, row) })
}

// look is one look around, as in internal/nodes.
func (s *simulation) look(n *simNode, row *simRow) {
	if !n.up || n.row != row {
		return
	}
	s.after(s.terms.Look, func() { s.look(n, row) })
	if !s.maySend(n) || !s.reaches(n) {
		return
	}
	s.looks++
	for _, m := range s.nodes {
		if r := m.row; r != nil && !r.dead && r != row && s.db() >= r.until {
			s.declare(r)
		}
	}
	s.adopt(n, row)
}

// declare ends a run, and checks that it has stopped by itself (I1).
func (s *simulation) declare(r *simRow) {
	r.dead = true
	if r.died == 0 {
		r.died = s.now
	}
	n := r.node
	if n.up && n.row == r && s.maySend(n) {
		s.senders++
	}
	if n.up && n.row == r && !s.works(n) && s.rng.Float64() < 1e-3 {
		// It sleeps. Between the look at the clock and the system call are
		// microseconds; that it fell asleep just there is rare.
		s.late++
	}
	s.rows = append(s.rows, r)
}

// adopt takes slices, one after the other, until nothing is left.
func (s *simulation) adopt(n *simNode, row *simRow) {
	if n.row != row || !s.maySend(n) || !s.reaches(n) || len(s.rows) == 0 {
		return
	}
	r := s.rows[0]
	take := min(simSlice, r.owned)
	s.slices++
	s.adopted += take
	if r.owned -= take; r.owned == 0 {
		s.rows = s.rows[1:]
		s.duplicates += r.inFlight
		took := (s.now + sliceTime - r.died).Seconds()
		if r.left {
			s.handedOver = append(s.handedOver, took)
		} else if r.crashed {
			s.adoptions = append(s.adoptions, took)
		}
	}
	s.after(sliceTime, func() { s.adopt(n, row) })
}

// flying is how many deliveries are in flight, or their results on their way.
func (s *simulation) flying() int {
	mean := s.Rate * s.Answer.Seconds()
	k, p := 0, math.Exp(-mean)
	for u := s.rng.Float64(); u > p && k < 1000; k++ {
		u *= s.rng.Float64()
	}
	return k
}

func (s *simulation) crash(n *simNode) {
	if !n.up {
		return
	}
	s.crashes++
	s.kill(n)
	s.after(s.between(5, 30), func() { s.boot(n) })
}

func (s *simulation) kill(n *simNode) {
	n.up = false
	if r := n.row; r != nil && !r.dead {
		r.died, r.crashed = s.now, true
		if s.maySendAt(n) {
			r.inFlight = s.flying()
		}
		// Its row runs out, and whoever looks first declares it dead: the node is
		// another run by then.
		s.expire(r)
	}
	n.row = nil
}

func (s *simulation) maySendAt(n *simNode) bool {
	return s.now >= n.awake && n.state.MaySend() && n.clock.Left(s.local(n)) > 0
}

// expire has somebody declare a run dead at their next look after it has run out.
func (s *simulation) expire(r *simRow) {
	if r.dead {
		return
	}
	wait := r.until - s.db()
	if wait <= 0 {
		for _, i := range s.rng.Perm(len(s.nodes)) {
			if n := s.nodes[i]; n.row != nil && n.row != r && s.maySend(n) && s.reaches(n) {
				s.declare(r)
				s.adopt(n, n.row)
				return
			}
		}
		wait = time.Second
	}
	// 100 nodes look at 100 moments of each second; the first of them finds it.
	s.after(wait+s.terms.Look/time.Duration(len(s.nodes)), func() { s.expire(r) })
}

func (s *simulation) pause(n *simNode) {
	if !s.works(n) {
		return
	}
	s.pauses++
	if n.row != nil && n.state == lease.Holding {
		n.row.inFlight = s.flying()
	}
	n.awake = s.now + s.between(0, 40)
}

func (s *simulation) partition(n *simNode) {
	if !n.up {
		return
	}
	s.partitions++
	n.reach = s.now + s.between(0, 60)
	if n.row != nil {
		// It sends until its lease is over, and cannot record any of it.
		n.row.inFlight = int(s.Rate * min(n.clock.Left(s.local(n)), n.reach-s.now).Seconds())
		n.row.inFlight = min(max(n.row.inFlight, 0), 1024)
	}
}

// away takes the database away for a while.
func (s *simulation) away(from, to float64) {
	d := s.between(from, to)
	if s.steady {
		d = 0
	}
	s.down = max(s.down, s.now+d)
	s.dbFor += d
}

// roll restarts all nodes, one after the other, each as SIGTERM does.
func (s *simulation) roll() {
	s.rolls++
	for i, n := range s.nodes {
		s.after(time.Duration(i)*3*time.Second, func() {
			if r := n.row; n.up && s.reaches(n) && r != nil && !r.dead {
				n.up, n.state, n.row = false, lease.Gone, nil
				r.dead, r.left, r.died = true, true, s.now
				s.rows = append(s.rows, r)
				for _, i := range s.rng.Perm(len(s.nodes)) { // a notification wakes the others
					if m := s.nodes[i]; m.row != nil && s.maySend(m) && s.reaches(m) {
						s.after(roundTrip, func() { s.adopt(m, m.row) })
						break
					}
				}
				s.after(2*time.Second, func() { s.boot(n) })
			}
		})
	}
}

func (s *simulation) report() string {
	var b strings.Builder
	line := func(what, format string, args ...any) {
		fmt.Fprintf(&b, "| %s | %s |\n", what, fmt.Sprintf(format, args...))
	}
	seconds := s.end().Seconds()
	fmt.Fprintf(&b, "| %d nodes, %s leases, %.0f h of virtual time, seed %d | |\n|---|---|\n", s.Nodes, s.Lease, s.Hours, s.Seed)
	line("died (kill -9)", "%d", s.crashes)
	line("slept, for up to 40 s", "%d", s.pauses)
	line("cut off from the database, for up to 60 s", "%d", s.partitions)
	line("database restarted, failed over", "%d, %d (away for %.0f s in all, its clock up to 0.5 s off)", s.restarts, s.failovers, s.dbFor.Seconds())
	line("rolling restarts of all nodes", "%d", s.rolls)
	line("declared dead while alive, and joined anew", "%d", s.lost)
	line("a run still sending when its deliveries were adopted (I1)", "%d", s.senders)
	line("deliveries adopted", "%d, in %d slices", s.adopted, s.slices)
	line("from death to the last of them adopted, outages included", "%s", quantiles(s.adoptions))
	line("from SIGTERM to the last of them adopted", "%s", quantiles(s.handedOver))
	line("sent twice: sent, but not on record when the run ended", "%d of %.0f", s.duplicates, s.Rate*float64(s.Nodes)*seconds)
	line("sent late by a sleeper, expected at most", "%d", s.late)
	line("queries a second: renewals, looks, slices", "%.1f, %.1f (%.1f statements), %.2f", float64(s.renewals)/seconds, float64(s.looks)/seconds, 3*float64(s.looks)/seconds, float64(s.slices)/seconds)
	return b.String()
}

func quantiles(v []float64) string {
	if len(v) == 0 {
		return "none"
	}
	slices.Sort(v)
	at := func(q float64) float64 { return v[min(len(v)-1, int(q*float64(len(v))))] }
	return fmt.Sprintf("p50 %.2f s, p99 %.2f s, longest %.2f s", at(0.5), at(0.99), v[len(v)-1])
}
