// Package deliver sends deliveries: a dispatcher with a lane for each endpoint,
// the attempt itself, the retry schedule, and the rendering of bodies.
//
// Invariants: a delivery is sent by nobody but the lane that holds it, and is
// held by one lane at most; it stays held until its result is on disk; a lane
// that was closed starts nothing more. An endpoint that hangs fills its own lane
// and nothing else. The package must never decide where an event goes: that is
// bound in the store before a job gets here.
package deliver

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
)

// Store is what the dispatcher needs of a store.
type Store interface {
	ActiveWebhooks(ctx context.Context) ([]phone.Webhook, error)
	WebhookByID(ctx context.Context, id string) (*phone.Webhook, error)
	Due(ctx context.Context, webhookID string, now time.Time, holding []string, limit int) (store.Batch, error)
	HandBack(ctx context.Context, ids []string) error
	Content(ctx context.Context, deliveryID string) (phone.Content, error)
	History(ctx context.Context, e phone.Event, limit int) ([]phone.Message, error)
	Record(ctx context.Context, results []*phone.Result) ([]store.Recorded, error)
}

// Limits and pauses of a dispatcher.
const (
	// DefaultInFlight bounds requests in flight to all endpoints.
	DefaultInFlight = 1024
	// DefaultPerEndpoint bounds requests in flight to one endpoint.
	DefaultPerEndpoint = 32
	// laneLength bounds what a lane keeps in memory.
	laneLength = 256
	// storePause is the wait before the store is asked again after a fault.
	storePause = time.Second
	// maxRecorded bounds the results of one transaction.
	maxRecorded = 512
)

// Config is what a Dispatcher is made of. Store and Transport are required.
type Config struct {
	Store     Store
	Transport http.RoundTripper
	// Schedule is DefaultSchedule where nil.
	Schedule Schedule
	// InFlight and PerEndpoint are the defaults where 0.
	InFlight    int
	PerEndpoint int
	UserAgent   string
	Logger      *slog.Logger
	// Recorded is called after results are on disk; it must be quick.
	Recorded func([]*phone.Result, []store.Recorded)
}

// Dispatcher sends deliveries. Its methods are safe for concurrent use.
type Dispatcher struct {
	cfg    Config
	sender sender

	ctx    context.Context // of attempts: canceled when stopping takes too long
	cancel context.CancelFunc

	mu       sync.Mutex
	lanes    map[string]*lane
	ring     []*lane // lanes with work, in turn
	inFlight int
	halted   bool
	unsent   []string // what was held, and never sent, when it was halted
	results  []outcome
	work     sync.WaitGroup // attempts and loads under way

	recorderWake chan struct{}
	recorderDone chan struct{}
}

// outcome is a result with the lane that holds its job until it is on record.
type outcome struct {
	*phone.Result
	lane *lane
	done chan store.Recorded // for who waits for it; may be nil
}

// New returns a dispatcher that does nothing until Start.
func New(cfg Config) *Dispatcher {
	if cfg.Schedule == nil {
		cfg.Schedule = DefaultSchedule
	}
	if cfg.InFlight == 0 {
		cfg.InFlight = DefaultInFlight
	}
	if cfg.PerEndpoint == 0 {
		cfg.PerEndpoint = DefaultPerEndpoint
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Recorded == nil {
		cfg.Recorded = func([]*phone.Result, []store.Recorded) {}
	}
	d := &Dispatcher{
		cfg:          cfg,
		sender:       sender{store: cfg.Store, transport: cfg.Transport, schedule: cfg.Schedule, userAgent: cfg.UserAgent},
		lanes:        map[string]*lane{},
		recorderWake: make(chan struct{}, 1),
		recorderDone: make(chan struct{}),
	}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	return d
}

// Attempts is how many attempts a delivery has in one round.
func (d *Dispatcher) Attempts() int { return d.cfg.Schedule.Attempts() }

// Start opens a lane for every active webhook and takes up what is pending,
// however the last process ended.
func (d *Dispatcher) Start(ctx context.Context) error {
	go d.record()
	webhooks, err := d.cfg.Store.ActiveWebhooks(ctx)
	if err != nil {
		return err
	}
	for _, w := range webhooks {
		d.Refresh(w)
	}
	return nil
}

// Halt starts nothing more. What is in flight goes on; Stop waits for it.
func (d *Dispatcher) Halt() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.halted {
		return
	}
	d.halted = true
	for _, l := range d.lanes {
		d.unsent = append(d.unsent, l.unsent()...)
		l.close()
	}
}

// Stop halts, waits for the attempts in flight (at most until ctx ends; then they
// are canceled), writes their results, and hands back what was held but never sent.
// It is called once.
func (d *Dispatcher) Stop(ctx context.Context) error {
	d.Halt()
	done := make(chan struct{})
	go func() { d.work.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
		d.cancel()
		<-done
	}
	d.cancel()
	close(d.recorderWake)
	<-d.recorderDone
	return d.cfg.Store.HandBack(context.WithoutCancel(ctx), d.unsent)
}

// Reserve promises room for a delivery that is being accepted. Each promise is
// kept by Push or returned by Release.
func (d *Dispatcher) Reserve(webhookID string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.lanes[webhookID]
	if d.halted || l == nil || !l.hasRoom(laneLength) {
		return false
	}
	l.reserved++
	return true
}

// Release returns the promise of a delivery that was not accepted after all.
func (d *Dispatcher) Release(webhookID string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l := d.lanes[webhookID]; l != nil {
		l.reserved--
	}
}

// Push hands over a delivery that is on disk. One for which there was no room is
// fetched from the store in its turn.
func (d *Dispatcher) Push(j *phone.Job) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.lanes[j.WebhookID]
	if l == nil {
		return
	}
	if j.Handed {
		l.reserved--
	}
	switch {
	case d.halted && j.Handed:
		d.unsent = append(d.unsent, j.DeliveryID)
	case !l.open:
		// The webhook has gone since: the store has settled what happens.
	case j.Handed:
		l.enqueue(j)
		d.pump(l)
	default:
		l.stored = true
		d.load(l)
	}
}

// Refresh makes a webhook as it is now the one that is sent to. It must be
// called, with what was committed, before the change is answered.
func (d *Dispatcher) Refresh(w phone.Webhook) { d.refresh(w, true) }

// refresh opens a lane. decided is false where this is no change of the webhook
// but a second look at it, which must not come between a change and its end.
func (d *Dispatcher) refresh(w phone.Webhook, decided bool) {
	if w.Status != phone.WebhookActive {
		d.Close(w.ID)
		return
	}
	e, err := newEndpoint(w)
	if err != nil {
		d.cfg.Logger.Error("webhook cannot be sent to: set it anew", "webhook", w.ID, "error", err)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.halted {
		return
	}
	l := d.lanes[w.ID]
	if l == nil {
		l = newLane(w.ID)
		d.lanes[w.ID] = l
	} else if !decided && !l.settled {
		return
	}
	if l.endpoint == nil || w.Revision >= l.endpoint.Revision {
		l.endpoint = e
	}
	l.open, l.settled, l.stored = true, true, true
	d.load(l)
}

// Close stops sending to a webhook at once. It returns the deliveries whose
// attempt began and is not on record yet. Refresh opens the lane again.
func (d *Dispatcher) Close(webhookID string) (started []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l := d.lanes[webhookID]; l != nil {
		l.settled = false
		return l.close()
	}
	return nil
}

// Forget drops the lane of a webhook that is gone.
func (d *Dispatcher) Forget(webhookID string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l := d.lanes[webhookID]; l != nil && !l.open {
		delete(d.lanes, webhookID)
	}
}

// Wake says that the store has work for a webhook that no Push told of.
func (d *Dispatcher) Wake(webhookID string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l := d.lanes[webhookID]; l != nil {
		l.stored = true
		d.load(l)
	}
}

// WakeProject is Wake for every webhook of a project.
func (d *Dispatcher) WakeProject(projectID string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.lanes {
		if l.endpoint.ProjectID == projectID {
			l.stored = true
			d.load(l)
		}
	}
}

// Now makes one attempt at once, beside the lanes, and returns when its result
// is on record. The delivery must be out of the lanes' sight.
func (d *Dispatcher) Now(ctx context.Context, w phone.Webhook, j *phone.Job) (*phone.Result, error) {
	e, err := newEndpoint(w)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	if d.halted {
		d.mu.Unlock()
		return nil, errHalted()
	}
	d.work.Add(1)
	d.mu.Unlock()
	defer d.work.Done()
	res, err := d.sender.attempt(d.ctx, e, j)
	if err != nil {
		return nil, err
	}
	done := make(chan store.Recorded, 1)
	d.enter(outcome{Result: res, done: done})
	select {
	case <-done:
		return res, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// pump starts what may start. Lanes with work are served in turn, one request
// each, under the global limit. The caller holds mu.
func (d *Dispatcher) pump(changed *lane) {
	if !changed.listed {
		changed.listed = true
		d.ring = append(d.ring, changed)
	}
	for len(d.ring) > 0 && d.inFlight < d.cfg.InFlight && !d.halted {
		l := d.ring[0]
		d.ring[0] = nil
		d.ring = d.ring[1:]
		j := l.next(d.cfg.PerEndpoint)
		if j == nil {
			l.listed = false
			continue
		}
		d.ring = append(d.ring, l)
		d.inFlight++
		d.work.Add(1)
		go d.run(l, l.endpoint, j)
	}
}

// run makes one attempt of a job and passes the result on to be recorded.
func (d *Dispatcher) run(l *lane, e *endpoint, j *phone.Job) {
	defer d.work.Done()
	res, err := d.sender.attempt(d.ctx, e, j)
	if err == nil {
		d.enter(outcome{Result: res, lane: l})
	} else {
		d.cfg.Logger.Warn("delivery could not be read: trying again", "delivery", j.DeliveryID, "error", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.inFlight--
	l.ended(j)
	switch {
	case err != nil:
		l.forget(j.DeliveryID)
		d.wakeAt(l, time.Now().Add(storePause))
	case res.DisableWebhook && e == l.endpoint:
		// Nothing more may start while the end of this webhook is being written.
		l.close()
	}
	d.pump(l)
	d.load(l)
}

// load fetches the next of a lane's deliveries from the store, where there are
// any and the lane runs low. The caller holds mu.
func (d *Dispatcher) load(l *lane) {
	want := laneLength - len(l.held) - l.reserved
	if d.halted || !l.open || !l.stored || l.loading || want < laneLength/2 {
		return
	}
	l.loading, l.stored = true, false
	holding := make([]string, 0, len(l.held))
	for id := range l.held {
		holding = append(holding, id)
	}
	d.work.Add(1)
	go d.fetch(l, l.epoch, holding, want)
}

func (d *Dispatcher) fetch(l *lane, epoch int, holding []string, want int) {
	defer d.work.Done()
	b, err := d.cfg.Store.Due(d.ctx, l.id, time.Now(), holding, want)
	d.mu.Lock()
	defer d.mu.Unlock()
	l.loading = false
	if err != nil {
		d.cfg.Logger.Warn("pending deliveries could not be read: trying again", "webhook", l.id, "error", err)
		d.wakeAt(l, time.Now().Add(storePause))
		return
	}
	if l.epoch != epoch {
		// Closed since, and maybe opened again: what was read is no longer sure.
		d.load(l)
		return
	}
	for _, j := range b.Jobs {
		l.enqueue(j)
	}
	l.stored = l.stored || b.More
	if !b.NextDue.IsZero() {
		d.wakeAt(l, b.NextDue)
	}
	d.pump(l)
	d.load(l)
}

// wakeAt makes a lane look into the store at a time. The caller holds mu.
func (d *Dispatcher) wakeAt(l *lane, at time.Time) {
	if d.halted || !l.open || !l.wakeAt.IsZero() && !at.Before(l.wakeAt) {
		return
	}
	if l.wake != nil {
		l.wake.Stop()
	}
	l.wakeAt = at
	l.wake = time.AfterFunc(time.Until(at), func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		l.wakeAt = time.Time{}
		l.stored = true
		d.load(l)
	})
}

// enter queues a result to be recorded.
func (d *Dispatcher) enter(o outcome) {
	d.mu.Lock()
	d.results = append(d.results, o)
	d.mu.Unlock()
	select {
	case d.recorderWake <- struct{}{}:
	default:
	}
}
