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
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
)

// Store is what the dispatcher needs of a store.
type Store interface {
	ActiveWebhooks(ctx context.Context) ([]phone.Webhook, error)
	WebhookByID(ctx context.Context, id string) (*phone.Webhook, error)
	Due(ctx context.Context, webhookID string, now time.Time, limit int, strict bool) (store.Batch, error)
	HandBack(ctx context.Context, jobs []*phone.Job) error
	Hurry(ctx context.Context, webhookID string, now time.Time) error
	Content(ctx context.Context, projectID, deliveryID string) (phone.Content, error)
	Record(ctx context.Context, results []*phone.Result) ([]store.Recorded, error)
	SetFailing(ctx context.Context, webhookID string, since time.Time) error
	DisableFailing(ctx context.Context, webhookID string, since time.Time) error
	Settle(ctx context.Context, webhookID string) error
	SettleAll(ctx context.Context) error
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
	// maxIdle bounds the goroutines kept for further attempts.
	maxIdle = 128
	// maxRecorded bounds the results of one transaction.
	maxRecorded = 512
	// DefaultDisableAfter is how long an endpoint may fail before its webhook is disabled.
	DefaultDisableAfter = 5 * 24 * time.Hour
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
	// Turns bounds turns of calls under way: DefaultTurns where 0. TurnTransport is
	// their own, so that their connections are; Transport where nil.
	Turns         int
	TurnTransport http.RoundTripper
	// DisableAfter is how long an endpoint may fail before its webhook is
	// disabled: DefaultDisableAfter where 0.
	DisableAfter time.Duration
	// Knock asks for a connection to an endpoint and closes it, without sending
	// anything; nil where probes alone are to find out that it is back.
	Knock func(ctx context.Context, endpoint *url.URL) error
	// MaySend is asked right before a request is started; nil where always. Where it
	// turned from no to yes, Resume is to be called.
	MaySend   func() bool
	UserAgent string
	Logger    *slog.Logger
	// Recorded is called after results are on disk; it must be quick.
	Recorded func([]*phone.Result, []store.Recorded)
}

// Dispatcher sends deliveries. Its methods are safe for concurrent use.
type Dispatcher struct {
	cfg    Config
	sender sender

	life atomic.Pointer[life]

	mu        sync.Mutex
	lanes     map[string]*lane
	ring      []*lane // lanes with work, in turn
	inFlight  int
	turns     int            // of calls, under way
	turnsOf   map[string]int // those, by webhook
	halted    bool
	deferring bool         // nothing is taken into memory when it is accepted
	stopping  bool         // for good: it is not begun again
	unsent    []*phone.Job // what was held, and did not start, when it was halted
	results   []outcome
	work      sync.WaitGroup // attempts and loads under way
	idle      int            // goroutines that wait for one of tasks
	tasks     chan task      // as many as wait for one, at most

	recorderWake chan struct{}
	recorderDone chan struct{}
}

// outcome is a result with the lane that holds its job until it is on record.
type outcome struct {
	*phone.Result
	lane *lane
	done chan store.Recorded // for who waits for it; may be nil
}

// task is an attempt to be made.
type task struct {
	lane     *lane
	endpoint *endpoint
	job      *phone.Job
	probe    bool
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
	if cfg.Turns == 0 {
		cfg.Turns = DefaultTurns
	}
	if cfg.TurnTransport == nil {
		cfg.TurnTransport = cfg.Transport
	}
	if cfg.DisableAfter == 0 {
		cfg.DisableAfter = DefaultDisableAfter
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
		turnsOf:      map[string]int{},
		tasks:        make(chan task, maxIdle),
		recorderWake: make(chan struct{}, 1),
		recorderDone: make(chan struct{}),
	}
	d.life.Store(newLife(0))
	return d
}

// Attempts is how many attempts a delivery has in one round.
func (d *Dispatcher) Attempts() int { return d.cfg.Schedule.Attempts() }

// Start opens a lane for every active webhook and takes up what is pending,
// however the last process ended.
func (d *Dispatcher) Start(ctx context.Context) error {
	go d.record()
	return d.takeUp(ctx)
}

func (d *Dispatcher) takeUp(ctx context.Context) error {
	if err := d.cfg.Store.SettleAll(ctx); err != nil {
		return err
	}
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
	d.stopping = true
	if d.halted {
		return
	}
	d.halted = true
	for _, l := range d.lanes {
		l.close()
		d.unsent = append(d.unsent, l.parked...)
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
		d.life.Load().cancel()
		<-done
	}
	d.life.Load().cancel()
	close(d.tasks)
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
	if d.halted || d.deferring || l == nil || !l.hasRoom() {
		return false
	}
	l.reserved++
	return true
}

// Release returns the promise of a delivery that was not accepted after all.
func (d *Dispatcher) Release(webhookID string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l := d.lanes[webhookID]; l != nil && l.reserved > 0 {
		l.reserved--
	}
}

// Push hands over a delivery that is on disk. One for which there was no room is
// fetched from the store in its turn.
func (d *Dispatcher) Push(j *phone.Job) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.lanes[j.WebhookID]
	if l != nil && j.Handed && l.reserved > 0 {
		l.reserved--
	}
	if j.Run != d.life.Load().run {
		return // it is owned by an earlier run, and is another's to adopt by now
	}
	if l = d.brought(l, j); l == nil {
		return
	}
	switch {
	case d.halted && j.Handed:
		d.unsent = append(d.unsent, j)
	case !l.open:
		// The webhook is being changed: the store settles what happens, or a Refresh hands it back.
		if j.Handed {
			l.parked = append(l.parked, j)
		}
	case j.Handed && l.breaker.state == breakerOpen:
		d.handBack(l, []*phone.Job{j})
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
	d.put(w, e, decided)
}

// put is refresh with the lock held, for a webhook that is active.
func (d *Dispatcher) put(w phone.Webhook, e *endpoint, decided bool) {
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
	if old := l.endpoint; old == nil || w.Revision >= old.Revision {
		l.endpoint = e
		if old == nil || w.Revision > old.Revision || !l.open {
			l.breaker, l.window, l.pacer = breaker{}, window{}, newPacer(w.RateLimit)
			if !w.FailingSince.IsZero() {
				l.breaker = failingSince(w.FailingSince)
			}
			if l.noting {
				d.setFailing(l, w.FailingSince) // not what is being written of how it was before
			}
		}
	}
	l.open, l.settled, l.stored = true, true, true
	if parked := l.parked; len(parked) > 0 {
		l.parked = nil
		d.handBack(l, parked)
		return
	}
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
	res, err := d.sender.attempt(d.ctx(), e, j, false)
	if err != nil {
		return nil, err
	}
	if res.Status == phone.Success {
		d.alive(w.ID)
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

// alive says that an endpoint answered well beside its lane: where it counts as
// failing it is probed at once.
func (d *Dispatcher) alive(webhookID string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l := d.lanes[webhookID]; l != nil {
		l.breaker.hurry(time.Now())
		d.load(l)
		d.pump(l)
	}
}

// WaitsUntil is when an endpoint that fails is tried next: until then its
// deliveries wait, whatever their own schedule says. It is zero for one that works.
func (d *Dispatcher) WaitsUntil(webhookID string) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l := d.lanes[webhookID]; l != nil && l.open && l.breaker.state == breakerOpen {
		return l.breaker.next
	}
	return time.Time{}
}

// pump starts what may start. Lanes with work are served in turn, one request
// each, under the global limit. The caller holds mu.
func (d *Dispatcher) pump(changed *lane) {
	if !changed.listed {
		changed.listed = true
		d.ring = append(d.ring, changed)
	}
	now := time.Now()
	for len(d.ring) > 0 && d.inFlight < d.cfg.InFlight && !d.halted && d.maySend() {
		l := d.ring[0]
		d.ring[0] = nil
		d.ring = d.ring[1:]
		j, probe, until := l.next(now, share(d.cfg.PerEndpoint, d.cfg.InFlight, d.inFlight))
		if j == nil {
			l.listed = false
			if !until.IsZero() {
				l.start.set(until, func() { d.rung(l) })
			}
			continue
		}
		d.ring = append(d.ring, l)
		d.inFlight++
		d.work.Add(1)
		d.perform(task{l, l.endpoint, j, probe})
	}
}

// perform makes an attempt in a goroutine that has made one before, where one is
// idle: its stack has grown to what an attempt needs. The caller holds mu.
func (d *Dispatcher) perform(t task) {
	if d.idle > 0 {
		d.idle--
		d.tasks <- t
		return
	}
	go func() {
		for more := true; more; t, more = <-d.tasks {
			if !d.run(t.lane, t.endpoint, t.job, t.probe) {
				return
			}
		}
	}()
}

// rung is what a lane's start alarm does.
func (d *Dispatcher) rung(l *lane) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l.start.off()
	d.load(l)
	d.pump(l)
}

// run makes one attempt of a job and passes the result on to be recorded. It says
// whether its goroutine counts as idle now, and is to wait for the next task.
func (d *Dispatcher) run(l *lane, e *endpoint, j *phone.Job, probe bool) (stay bool) {
	defer d.work.Done()
	res, err := d.sender.attempt(d.ctx(), e, j, probe)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.inFlight--
	l.inFlight--
	if d.life.Load().lost {
		return false // it is another run's to send, and to know of
	}
	if err != nil {
		d.cfg.Logger.Warn("delivery could not be read: trying again", "delivery", j.DeliveryID, "error", err)
		d.again(l, j, probe)
		return false
	}
	d.judge(l, e, res)
	if !l.strict() && !probe {
		l.release(j)
	}
	if res.DisableWebhook && e == l.endpoint {
		// Nothing more may start while the end of this webhook is being written.
		l.close()
	}
	d.results = append(d.results, outcome{Result: res, lane: l})
	d.wakeRecorder()
	if stay = d.idle < maxIdle; stay {
		d.idle++
	}
	d.pump(l)
	d.load(l)
	return stay
}

// again gives a job that could not be read back to the store, after a pause: it
// may have ended meanwhile, which the store alone knows. What follows it in its
// conversation goes with it, and stays behind it. The caller holds mu.
func (d *Dispatcher) again(l *lane, j *phone.Job, probe bool) {
	if d.halted {
		delete(l.held, j.DeliveryID)
		d.unsent = append(d.unsent, j)
		return
	}
	time.AfterFunc(storePause, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if probe {
			l.probing = false
		}
		back := []*phone.Job{j}
		if l.open && j.ConversationID != "" {
			back = append(back, l.evict(j.ConversationID)...)
		}
		l.release(j)
		l.forget(j.DeliveryID)
		switch {
		case d.halted:
			// It stays held in the store; the next start takes it back.
		case l.open:
			d.handBack(l, back)
		default:
			l.parked = append(l.parked, back...)
		}
		d.pump(l)
	})
}

// judge tells the breaker what came of an attempt. The caller holds mu.
func (d *Dispatcher) judge(l *lane, e *endpoint, res *phone.Result) {
	if e != l.endpoint || !l.open || d.ctx().Err() != nil || !d.maySend() {
		return // the webhook has been set anew since, or the attempt may have been cut off by us
	}
	now := time.Now()
	l.window.judge(res, d.cfg.PerEndpoint)
	switch {
	case res.Status == phone.Success:
		if l.breaker.success() {
			d.reopen(l)
		}
	case res.Probe:
		l.breaker.unreachable = res.Unreachable
		l.breaker.probeFailed(now, res.RetryAfter)
		if now.Sub(l.breaker.since) >= d.cfg.DisableAfter {
			d.giveUp(l)
		}
	case l.breaker.failure(res.Job.DeliveryID, now):
		l.breaker.unreachable = res.Unreachable
		d.cfg.Logger.Warn("endpoint fails: its deliveries wait, and it is probed", "webhook", l.id, "url", e.URL, "error", res.Attempt.Error)
		d.setFailing(l, l.breaker.since)
		d.handBack(l, l.evict(""))
	}
	if l.breaker.state == breakerOpen && l.breaker.unreachable {
		d.knockLater(l)
	}
}

// reopen lets the backlog of an endpoint that is back flow, in the order of
// acceptance: what waited for an attempt of its own waits no longer. The caller
// holds mu.
func (d *Dispatcher) reopen(l *lane) {
	l.knock.stop()
	d.cfg.Logger.Info("endpoint works again", "webhook", l.id)
	d.setFailing(l, time.Time{})
	d.inStore(l, func() error { return d.cfg.Store.Hurry(d.ctx(), l.id, time.Now()) })
}

// handBack returns jobs to the store. The caller holds mu.
func (d *Dispatcher) handBack(l *lane, jobs []*phone.Job) {
	if len(jobs) == 0 {
		return
	}
	d.inStore(l, func() error { return d.cfg.Store.HandBack(d.ctx(), jobs) })
}

// inStore changes what the store has for a lane, until that has worked; the lane
// loads nothing before, and looks into the store after. The caller holds mu.
func (d *Dispatcher) inStore(l *lane, change func() error) {
	l.changing++
	d.work.Add(1)
	go func() {
		defer d.work.Done()
		for {
			err := change()
			if err == nil || d.ctx().Err() != nil {
				break
			}
			d.cfg.Logger.Warn("deliveries could not be given back: trying again", "webhook", l.id, "error", err)
			d.mu.Lock()
			halted := d.halted
			d.mu.Unlock()
			if halted {
				break // the next start takes back what is held
			}
			select {
			case <-time.After(storePause):
			case <-d.ctx().Done():
			}
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		l.changing--
		l.stored = true
		d.load(l)
	}()
}

// setFailing notes in the store since when an endpoint fails. One note is written
// at a time, and the last one stays. The caller holds mu.
func (d *Dispatcher) setFailing(l *lane, since time.Time) {
	l.failing, l.noted = since, false
	if l.noting {
		return
	}
	l.noting = true
	d.work.Add(1)
	go func() {
		defer d.work.Done()
		d.mu.Lock()
		defer d.mu.Unlock()
		for !l.noted {
			l.noted = true
			since := l.failing
			d.mu.Unlock()
			err := d.cfg.Store.SetFailing(context.WithoutCancel(d.ctx()), l.id, since)
			d.mu.Lock()
			if err != nil {
				d.cfg.Logger.Warn("the state of an endpoint could not be written", "webhook", l.id, "error", err)
			}
		}
		l.noting = false
	}()
}

// giveUp disables the webhook of an endpoint that has failed for too long. The
// caller holds mu.
func (d *Dispatcher) giveUp(l *lane) {
	since := l.breaker.since
	d.cfg.Logger.Error("endpoint has failed for too long: its webhook is disabled; set it anew to send again", "webhook", l.id, "since", since)
	l.close()
	d.work.Add(1)
	go func() {
		defer d.work.Done()
		if err := d.cfg.Store.DisableFailing(d.ctx(), l.id, since); err != nil {
			d.cfg.Logger.Error("webhook could not be disabled: it is probed further", "webhook", l.id, "error", err)
		}
		d.reread(l.id)
	}()
}

// knockLater asks an unreachable endpoint for a connection in a while, and again
// until it takes one. The caller holds mu.
func (d *Dispatcher) knockLater(l *lane) {
	if d.cfg.Knock == nil || d.halted {
		return
	}
	l.knock.set(time.Now().Add(knockEvery), func() {
		d.mu.Lock()
		l.knock.off()
		if d.halted || !l.open || l.breaker.state != breakerOpen || !l.breaker.unreachable {
			d.mu.Unlock()
			return
		}
		target := l.endpoint.target
		d.work.Add(1)
		d.mu.Unlock()
		defer d.work.Done()
		ctx, cancel := context.WithTimeout(d.ctx(), knockEvery)
		defer cancel()
		err := d.cfg.Knock(ctx, target)
		d.mu.Lock()
		defer d.mu.Unlock()
		if err != nil {
			d.knockLater(l)
			return
		}
		l.breaker.hurry(time.Now())
		d.load(l)
		d.pump(l)
	})
}

// load fetches the next of a lane's deliveries from the store, where there are
// any and the lane runs low: for a probe one, else as many as it has room for.
// The caller holds mu.
func (d *Dispatcher) load(l *lane) {
	if d.halted || !l.open || !l.stored || l.loading || l.changing > 0 || !d.maySend() {
		return
	}
	want := laneLength - len(l.held) - l.reserved
	if l.breaker.state == breakerOpen {
		if l.probing || l.queue.len() > 0 {
			return
		}
		if l.breaker.next.After(time.Now()) {
			l.start.set(l.breaker.next, func() { d.rung(l) })
			return
		}
		want = 1
	} else if want < laneLength/2 {
		return
	}
	l.loading, l.stored = true, false
	d.work.Add(1)
	go d.fetch(l, l.epoch, want, l.strict())
}

func (d *Dispatcher) fetch(l *lane, epoch, want int, strict bool) {
	defer d.work.Done()
	b, err := d.cfg.Store.Due(d.ctx(), l.id, time.Now(), want, strict)
	d.mu.Lock()
	defer d.mu.Unlock()
	l.loading = false
	switch {
	case err != nil:
		d.cfg.Logger.Warn("pending deliveries could not be read: trying again", "webhook", l.id, "error", err)
		d.wakeAt(l, time.Now().Add(storePause))
		return
	case d.halted:
		d.unsent = append(d.unsent, b.Jobs...)
		return
	case !l.open:
		l.parked = append(l.parked, b.Jobs...)
		return
	case l.epoch != epoch:
		// Something moved meanwhile: what was read may be out of order.
		d.handBack(l, b.Jobs)
		l.stored = true
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
	if d.halted || !l.open {
		return
	}
	l.load.set(at, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		l.load.off()
		l.stored = true
		d.load(l)
	})
}

// enter queues a result to be recorded.
func (d *Dispatcher) enter(o outcome) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.results = append(d.results, o)
	d.wakeRecorder()
}

func (d *Dispatcher) wakeRecorder() {
	select {
	case d.recorderWake <- struct{}{}:
	default:
	}
}
