package deliver

import (
	"context"
	"errors"
	"net"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
)

// Where many nodes share a database, a dispatcher sends for one run of its node: it
// holds only what that run owns. While the lease is in doubt MaySend says no, and
// what is in memory waits. When the run is declared dead, Lose forgets everything
// that was its own, and Begin starts afresh as the next run.

// life is the time between two losses.
type life struct {
	run    int64
	ctx    context.Context // of attempts: canceled when stopping takes too long, or the run is lost
	cancel context.CancelFunc
	lost   bool // guarded by the dispatcher's mutex
}

func newLife(run int64) *life {
	l := &life{run: run}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

func (d *Dispatcher) ctx() context.Context { return d.life.Load().ctx }

// maySend asks for the lease, at the last moment before something is started.
func (d *Dispatcher) maySend() bool { return d.cfg.MaySend == nil || d.cfg.MaySend() }

// StartRun is Start for a run of a node.
func (d *Dispatcher) StartRun(ctx context.Context, run int64) error {
	d.life.Store(newLife(run))
	return d.Start(ctx)
}

// Resume goes on with what waited while MaySend said no.
func (d *Dispatcher) Resume() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.lanes {
		d.load(l)
		d.pump(l)
	}
}

// HandOver returns what was held and not sent when the dispatcher was halted,
// without waiting for what is in flight: others may have it at once.
func (d *Dispatcher) HandOver(ctx context.Context) error {
	d.mu.Lock()
	jobs := d.unsent
	d.unsent = nil
	d.mu.Unlock()
	err := d.cfg.Store.HandBack(ctx, jobs)
	if err != nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.unsent = append(d.unsent, jobs...)
	}
	return err
}

// Lose is for a run that was declared dead: nothing more is started, attempts in
// flight are cut off, and all that is in memory is forgotten: it is others' to
// send, and its results others' to write. It returns when nothing of it is left.
func (d *Dispatcher) Lose() {
	d.mu.Lock()
	if d.stopping {
		d.mu.Unlock()
		return
	}
	d.halted = true
	for _, l := range d.lanes {
		l.close()
	}
	d.life.Load().lost = true
	d.life.Load().cancel()
	d.mu.Unlock()
	d.work.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, o := range d.results {
		if o.done != nil {
			o.done <- store.Recorded{Status: o.Status}
		}
	}
	d.lanes, d.ring, d.unsent, d.results = map[string]*lane{}, nil, nil, nil
}

// Begin goes on after Lose, as another run.
func (d *Dispatcher) Begin(ctx context.Context, run int64) error {
	d.mu.Lock()
	if !d.stopping {
		d.life.Store(newLife(run))
		d.halted = false
	}
	d.mu.Unlock()
	return d.takeUp(ctx)
}

// brought opens or renews the lane of a job that brings its webhook newer than the
// lane knows it: it was changed through another node, and this event was accepted
// after. What is held of it goes the new way too. A job that is in memory only, of
// a webhook without a lane, is dropped: the webhook was deleted after the accept,
// and the store has settled the delivery. The caller holds mu.
func (d *Dispatcher) brought(l *lane, j *phone.Job) *lane {
	if j.Webhook == nil || j.Webhook.Status != phone.WebhookActive || l == nil && j.Handed {
		return l
	}
	if l != nil && (!l.open || l.endpoint.Revision >= j.Webhook.Revision) {
		return l
	}
	w := *j.Webhook
	e, err := newEndpoint(w)
	if err != nil {
		d.cfg.Logger.Error("webhook cannot be sent to: set it anew", "webhook", w.ID, "error", err)
		return l
	}
	d.put(w, e, false)
	return d.lanes[w.ID]
}

// Knows returns the revision at which a webhook has a lane, 0 for none, and
// whether that is open.
func (d *Dispatcher) Knows(webhookID string) (revision int64, open bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.lanes[webhookID]
	if l == nil {
		return 0, false
	}
	return l.endpoint.Revision, l.open
}

// Defer makes what is accepted go by the store, until it is called again: something
// older is about to be found there.
func (d *Dispatcher) Defer(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.deferring = on
}

// Holding names the deliveries in memory, in whatever state.
func (d *Dispatcher) Holding() map[string]bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := map[string]bool{}
	for _, l := range d.lanes {
		for id := range l.held {
			out[id] = true
		}
		for id := range l.anew {
			out[id] = true
		}
		for _, j := range l.parked {
			out[j.DeliveryID] = true
		}
	}
	return out
}

// Held counts the deliveries in memory.
func (d *Dispatcher) Held() (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.lanes {
		n += len(l.held)
	}
	return n
}

// errLease is what a connection answers with once the lease is over.
var errLease = errors.New("the node's lease ended before the request was sent")

// Guard makes connections on which nothing is sent any more once maySend says no.
// It is the last look at the lease, right before the system call: a request whose
// connection took long to make is not sent late.
func Guard(dial func(ctx context.Context, network, address string) (net.Conn, error), maySend func() bool) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return guarded{c, maySend}, nil
	}
}

type guarded struct {
	net.Conn
	maySend func() bool
}

func (g guarded) Write(b []byte) (int, error) {
	if !g.maySend() {
		return 0, errLease
	}
	return g.Conn.Write(b)
}
