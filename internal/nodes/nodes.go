// Package nodes makes one server a node among many that share a database: it
// runs the protocol of package lease against the store, and tells the dispatcher
// and the switchboard what follows from it.
//
// Invariants: MaySend says yes only while no other node may have adopted what this
// run owns. A run that was declared dead is over: its memory is dropped before the
// node joins as another. What is learned from notifications is only that a look is
// worthwhile; every look reads the tables.
package nodes

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"switchhook.dev/switchhook/internal/lease"
	"switchhook.dev/switchhook/internal/store"
)

// Store is what a node needs of a store.
type Store interface {
	// Join makes a run of the node, with a lease, and is that run from then on.
	Join(ctx context.Context, name string, length time.Duration) (run int64, err error)
	// Renew renews the run's lease; alive is false where it was declared dead.
	Renew(ctx context.Context, run int64, length time.Duration) (alive bool, err error)
	// Leave lets others adopt what the run owns and has not in memory.
	Leave(ctx context.Context, run int64) error
	// End ends the run: the others need not wait for its lease to run out.
	End(ctx context.Context, run int64) error
	// Adopt declares dead whose lease has run out, and takes over up to limit
	// deliveries that the dead and the leaving own. found is called before it takes
	// any, where there are some.
	Adopt(ctx context.Context, limit int, found func()) (store.Adopted, error)
	// ChangedWebhooks returns what was made, changed or deleted of late, as
	// revisions by id.
	ChangedWebhooks(ctx context.Context, within time.Duration) (map[string]int64, error)
	// Given calls wake with the webhooks of which others gave this run deliveries,
	// before anything is accepted that could overtake them, and returns those of which
	// wake says false.
	Given(ctx context.Context, run int64, wake func(webhookID string) bool) ([]string, error)
	// Owned counts the pending deliveries of a run, up to a limit.
	Owned(ctx context.Context, run int64, limit int) (int, error)
	// InMemory lists the deliveries that a run has in its memory, as far as the store
	// knows; TakeUp makes those of them due that it has not, and answers their webhooks.
	InMemory(ctx context.Context, run int64) ([]string, error)
	TakeUp(ctx context.Context, run int64, ids []string) ([]string, error)
	// Listen calls heard for every notification that concerns the run, until ctx
	// ends or the connection fails.
	Listen(ctx context.Context, run int64, heard func()) error
}

// Dispatcher is what a node tells of its lease.
type Dispatcher interface {
	StartRun(ctx context.Context, run int64) error
	Begin(ctx context.Context, run int64) error
	Lose()
	Resume()
	Halt()
	HandOver(ctx context.Context) error
	Knows(webhookID string) (revision int64, ok bool)
	Wake(webhookID string)
	// Defer makes what is accepted go by the store, until it is called again.
	Defer(on bool)
	// Holding names the deliveries in memory.
	Holding() map[string]bool
}

// Board is what a node tells of what other nodes did.
type Board interface {
	// Obey makes this node treat a webhook as the store has it.
	Obey(ctx context.Context, webhookID string) error
	// StopSuperseded ends the turns of calls that were asked anew through another node.
	StopSuperseded(ctx context.Context) error
}

// Config is what a Node is made of. Store is required.
type Config struct {
	Store Store
	// Name is shown in the table of nodes and in the log.
	Name   string
	Terms  lease.Terms
	Logger *slog.Logger
	// Adopted is told how many deliveries were adopted; nil for nobody.
	Adopted func(deliveries int)
}

// Limits of a look around.
const (
	// adoptSlice bounds the deliveries that one transaction adopts.
	adoptSlice = 500
	// changesWithin is how far back a look reads changed webhooks: as long as a
	// transaction that changes one may take to become visible, and more; further
	// where no look has worked for a while.
	changesWithin = 20 * time.Second
	// ownedEvery is how often owned deliveries are counted, and ownedLimit how far.
	ownedEvery = 10 * time.Second
	ownedLimit = 100_000
	// strandedEvery is how often what the store believes to be in memory is compared
	// with what is. An answer to a commit may be lost: then nobody has what it handed
	// out. What is missing twice in a row is taken up; it is longer than any
	// transaction, so that nothing is on its way into memory still.
	strandedEvery = 20 * time.Second
	// joinPause is the wait before another try to join, or to listen.
	joinPause = time.Second
)

// Node is one node. MaySend, State and Owned are safe for concurrent use.
type Node struct {
	cfg        Config
	dispatcher Dispatcher
	board      Board

	state atomic.Int32
	clock atomic.Pointer[lease.Clock]
	run   atomic.Int64
	owned atomic.Int64

	mu    sync.Mutex // makes a transition one step
	poked chan struct{}
	// Of lookAround alone: when all changes were obeyed last, by the clock of the wall,
	// revisions of webhooks that were obeyed, and what was missing in memory.
	looked  time.Time
	seen    map[string]int64
	missing map[string]bool
	stop    context.CancelFunc
	done    sync.WaitGroup
}

// New returns a node that has not joined yet.
func New(cfg Config) *Node {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Adopted == nil {
		cfg.Adopted = func(int) {}
	}
	n := &Node{cfg: cfg, poked: make(chan struct{}, 1), seen: map[string]int64{}}
	n.clock.Store(&lease.Clock{})
	return n
}

// State is what the node is.
func (n *Node) State() lease.State { return lease.State(n.state.Load()) }

// Run is the node's present run.
func (n *Node) Run() int64 { return n.run.Load() }

// MaySend says whether a request may be started now.
func (n *Node) MaySend() bool { return n.State().MaySend() && n.Left() > 0 }

// Left is how long the lease lasts by the node's own count, without any renewal.
func (n *Node) Left() time.Duration { return n.clock.Load().Left(time.Now()) }

// Owned is how many pending deliveries the run owned when they were counted last,
// at most ownedLimit.
func (n *Node) Owned() int { return int(n.owned.Load()) }

// Join makes the first run. It is called before the dispatcher is started.
func (n *Node) Join(ctx context.Context) error {
	asked := time.Now()
	run, err := n.cfg.Store.Join(ctx, n.cfg.Name, n.cfg.Terms.Length)
	if err != nil {
		return err
	}
	n.granted(run, asked)
	n.cfg.Logger.Info("joined", "node", n.cfg.Name, "run", run, "lease", n.cfg.Terms.Length.String())
	return nil
}

// Start keeps the lease, and looks around. The board is called by one goroutine, at
// each look, and with each webhook that may have changed.
func (n *Node) Start(d Dispatcher, b Board) {
	n.dispatcher, n.board = d, b
	var ctx context.Context
	ctx, n.stop = context.WithCancel(context.Background())
	n.done.Go(func() { n.keep(ctx) })
	n.done.Go(func() { n.lookAround(ctx) })
	n.done.Go(func() { n.listen(ctx) })
}

// Poke makes the node look around at once.
func (n *Node) Poke() {
	select {
	case n.poked <- struct{}{}:
	default:
	}
}

// Leave is for a node that was asked to stop: its dispatcher is halted, and what
// it has not in flight is others' at once. The lease is kept until End.
func (n *Node) Leave(ctx context.Context) error {
	n.enter(lease.Stopped)
	if n.dispatcher == nil {
		return nil // it was never started
	}
	n.dispatcher.Halt()
	if err := n.dispatcher.HandOver(ctx); err != nil {
		return err
	}
	if n.State() != lease.Leaving {
		return nil
	}
	return n.cfg.Store.Leave(ctx, n.Run())
}

// End ends the run, once nothing is in flight and everything is written.
func (n *Node) End(ctx context.Context) error {
	if n.stop != nil {
		n.stop()
		n.done.Wait()
	}
	before := n.State()
	n.enter(lease.Drained)
	if before == lease.Joining || before == lease.Lost || before == lease.Gone {
		return nil
	}
	return n.cfg.Store.End(ctx, n.Run())
}

// enter makes a transition, and returns the state it led to.
func (n *Node) enter(e lease.Event) lease.State {
	n.mu.Lock()
	defer n.mu.Unlock()
	next := lease.Next(n.State(), e)
	n.state.Store(int32(next))
	return next
}

// granted notes a lease that was asked for at a time, and whether it follows
// another without a gap.
func (n *Node) granted(run int64, asked time.Time) (gap bool) {
	before, state := n.clock.Load(), n.State()
	c := n.cfg.Terms.Start(asked)
	n.run.Store(run)
	n.clock.Store(&c)
	if c.Left(time.Now()) > 0 {
		n.enter(lease.Granted)
	}
	// The old clock is read once the new one counts: whoever was told in between that
	// nothing may be sent is to be told to go on.
	return !state.MaySend() || before.Left(time.Now()) <= 0
}

// keep renews the lease until ctx ends, and acts on its loss.
func (n *Node) keep(ctx context.Context) {
	pause := n.cfg.Terms.Renew
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = n.cfg.Terms.Renew
		asked := time.Now()
		alive, err := n.renew(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			n.cfg.Logger.Warn("the lease could not be renewed: trying again", "node", n.cfg.Name, "left", n.Left().Round(time.Millisecond).String(), "error", err)
			if n.Left() <= 0 && n.State() == lease.Holding {
				n.enter(lease.Expired)
				n.cfg.Logger.Error("the lease is over: nothing is sent until the database answers", "node", n.cfg.Name)
			}
			pause = min(pause, joinPause)
		case !alive:
			n.lose(ctx)
		case n.granted(n.Run(), asked):
			if n.MaySend() {
				n.cfg.Logger.Info("the lease is held again", "node", n.cfg.Name)
				n.dispatcher.Resume()
				n.Poke()
			}
		}
	}
}

// renew asks once. It does not wait longer than is of use.
func (n *Node) renew(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Terms.Length-n.cfg.Terms.Margin)
	defer cancel()
	return n.cfg.Store.Renew(ctx, n.Run(), n.cfg.Terms.Length)
}

// lose drops what the run had, and joins as another.
func (n *Node) lose(ctx context.Context) {
	if n.enter(lease.Refused) != lease.Lost {
		return // it was leaving: what it had is others' anyway
	}
	n.cfg.Logger.Error("this node was declared dead: others deliver what it had; it joins anew", "node", n.cfg.Name, "run", n.Run())
	n.dispatcher.Lose()
	if n.enter(lease.Emptied) != lease.Joining {
		return
	}
	for ctx.Err() == nil {
		err := n.Join(ctx)
		if err == nil {
			if err = n.dispatcher.Begin(ctx, n.Run()); err == nil {
				n.Poke()
				return
			}
		}
		n.cfg.Logger.Warn("the node could not join anew: trying again", "node", n.cfg.Name, "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(joinPause):
		}
	}
}

// lookAround looks every so often, and when poked.
func (n *Node) lookAround(ctx context.Context) {
	var counted time.Time
	compared := time.Now()
	n.looked = compared.Round(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.poked:
		case <-time.After(n.cfg.Terms.Look):
		}
		if n.State() != lease.Holding {
			continue
		}
		if err := n.look(ctx); err != nil && ctx.Err() == nil {
			n.cfg.Logger.Warn("the node could not look for changes and work: trying again", "node", n.cfg.Name, "error", err)
			continue
		}
		if time.Since(counted) >= ownedEvery {
			if owned, err := n.cfg.Store.Owned(ctx, n.Run(), ownedLimit); err == nil {
				n.owned.Store(int64(owned))
				counted = time.Now()
			}
		}
		if time.Since(compared) >= strandedEvery {
			compared = time.Now()
			if err := n.compare(ctx); err != nil && ctx.Err() == nil {
				n.cfg.Logger.Warn("what is in memory could not be compared with the store: trying again", "node", n.cfg.Name, "error", err)
			}
		}
	}
}

// look ends superseded turns, obeys changed webhooks, takes what it was given, and
// adopts.
func (n *Node) look(ctx context.Context) error {
	// Somebody waits at a telephone: this comes first.
	if err := n.board.StopSuperseded(ctx); err != nil {
		return err
	}
	asked := time.Now().Round(0)
	changed, err := n.cfg.Store.ChangedWebhooks(ctx, changesWithin+max(0, asked.Sub(n.looked)))
	if err != nil {
		return err
	}
	for id, revision := range changed {
		if n.seen[id] == revision {
			continue
		}
		if known, ok := n.dispatcher.Knows(id); !ok || known != revision {
			if err := n.board.Obey(ctx, id); err != nil {
				return err
			}
		}
		n.seen[id] = revision
	}
	for id := range n.seen {
		if _, recent := changed[id]; !recent {
			delete(n.seen, id)
		}
	}
	n.looked = asked
	strange, err := n.cfg.Store.Given(ctx, n.Run(), n.wake)
	if err != nil {
		return err
	}
	if err := n.take(ctx, strange); err != nil {
		return err
	}
	// What is adopted comes before what is accepted meanwhile: that goes by the store
	// too, until the lanes have been told to look there.
	deferred := false
	defer func() {
		if deferred {
			n.dispatcher.Defer(false)
		}
	}()
	found := func() { deferred = true; n.dispatcher.Defer(true) }
	for n.MaySend() {
		adopted, err := n.cfg.Store.Adopt(ctx, adoptSlice, found)
		if err != nil {
			return err
		}
		if adopted.Deliveries > 0 {
			n.cfg.Adopted(adopted.Deliveries)
			n.cfg.Logger.Info("adopted deliveries of nodes that are gone", "node", n.cfg.Name, "deliveries", adopted.Deliveries)
		}
		if err := n.take(ctx, adopted.Webhooks); err != nil {
			return err
		}
		if !adopted.More || adopted.Deliveries == 0 {
			break // where others are at the rest, the next look finds what they left
		}
	}
	return nil
}

// compare takes up what the store believes to be in memory, and is not.
func (n *Node) compare(ctx context.Context) error {
	ids, err := n.cfg.Store.InMemory(ctx, n.Run())
	if err != nil {
		return err
	}
	holding := n.dispatcher.Holding()
	missing := map[string]bool{}
	var stranded []string
	for _, id := range ids {
		if holding[id] {
			continue
		}
		if missing[id] = true; n.missing[id] {
			stranded = append(stranded, id)
		}
	}
	n.missing = missing
	if len(stranded) == 0 {
		return nil
	}
	n.cfg.Logger.Info("taking up deliveries whose hand-over was not heard of", "node", n.cfg.Name, "deliveries", len(stranded))
	webhooks, err := n.cfg.Store.TakeUp(ctx, n.Run(), stranded)
	if err != nil {
		return err
	}
	return n.take(ctx, webhooks)
}

// take makes the lanes of webhooks look into the store.
func (n *Node) take(ctx context.Context, webhooks []string) error {
	for _, id := range webhooks {
		if !n.wake(id) {
			if err := n.board.Obey(ctx, id); err != nil {
				return err
			}
		}
	}
	return nil
}

// wake is take for a webhook that has a lane; false where it has none.
func (n *Node) wake(webhookID string) bool {
	_, ok := n.dispatcher.Knows(webhookID)
	if ok {
		n.dispatcher.Wake(webhookID)
	}
	return ok
}

// listen looks around when others say that it is worthwhile. Where the database
// cannot be listened to (PgBouncer in transaction mode), looking every so often
// has to do.
func (n *Node) listen(ctx context.Context) {
	told := false
	for ctx.Err() == nil {
		err := n.cfg.Store.Listen(ctx, n.Run(), n.Poke)
		if ctx.Err() != nil {
			return
		}
		if !told {
			told = true
			n.cfg.Logger.Info("notifications are not heard: changes through other nodes take up to a second", "node", n.cfg.Name, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(10 * joinPause):
		}
	}
}
