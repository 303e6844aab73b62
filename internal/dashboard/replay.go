package dashboard

import (
	"context"
	"net/http"
	"sync"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
)

func (d *Dashboard) registerReplay() {
	d.on("GET /replay", phone.ScopeRead, d.showReplay)
	d.on("POST /replay/count", phone.ScopeRead, d.countReplay)
	d.on("POST /replay", phone.ScopeWrite, d.startReplay)
	d.on("GET /replay/{id}", phone.ScopeRead, d.showProgress)
	d.on("POST /replay/{id}/stop", phone.ScopeWrite, d.stopReplay)
}

// keptReplays is how long a replay that ended can still be looked at.
const keptReplays = time.Hour

// replays are those that this process runs or ran a short time ago. One that a
// restart cut off is not taken up again: what it took is on its way, and a new
// count says what is left.
type replays struct {
	mu      sync.Mutex
	running map[string]*replay
	closed  bool
	work    sync.WaitGroup
}

type replay struct {
	project string
	cancel  context.CancelFunc

	// What follows is under the lock of replays.
	taken, total    int
	ended, stopping bool
	endedAt         time.Time
	fault           string
}

// close stops what runs, and waits for it.
func (r *replays) close() {
	r.mu.Lock()
	r.closed = true
	for _, x := range r.running {
		x.cancel()
	}
	r.mu.Unlock()
	r.work.Wait()
}

type replayPage struct {
	Filter filterForm
	Agents []phone.Agent
	May    bool
	Now    time.Time
}

func (d *Dashboard) showReplay(v *visit) error {
	p := replayPage{Filter: readFilter(v), May: v.may(phone.ScopeWrite), Now: v.now}
	if p.Filter.Since == "" {
		p.Filter.Since = v.now.UTC().Add(-24 * time.Hour).Format("2006-01-02T15:04")
	}
	var err error
	if p.Agents, _, err = d.store.Agents(v.Context(), v.project(), agentChoices, 0); err != nil {
		return err
	}
	d.page(v, http.StatusOK, "replay", "Replay", p)
	return nil
}

// countPart says how many a replay would take, before it is begun.
type countPart struct {
	Filter filterForm
	Count  int
	Capped bool
	May    bool
}

func (d *Dashboard) replayFilter(v *visit) (filterForm, store.DeliveryFilter, error) {
	form := readFilter(v)
	f, err := d.filter(v, form)
	if err == nil && f.Since.IsZero() {
		err = phone.Errorf(phone.BadRequest, "say from when on: a replay of everything there ever was is hardly meant")
	}
	if f.Until.IsZero() {
		// What comes after the count is not part of it.
		f.Until = v.now.UTC().Truncate(time.Second).Add(time.Second)
		form.Until = f.Until.Format("2006-01-02T15:04:05")
	}
	return form, f, err
}

func (d *Dashboard) countReplay(v *visit) error {
	form, f, err := d.replayFilter(v)
	if err != nil {
		return err
	}
	n, err := d.store.CountDeliveries(v.Context(), f)
	if err != nil {
		return err
	}
	d.fragment(v, http.StatusOK, "replay-count", countPart{form, n, n >= store.MaxCounted, v.may(phone.ScopeWrite)})
	return nil
}

// progressPart says how far a replay is.
type progressPart struct {
	ID           string
	Taken, Total int
	// Unknown says that the total was not counted to its end.
	Unknown, Ended, Stopping bool
	Fault                    string
	May                      bool
}

func (d *Dashboard) startReplay(v *visit) error {
	_, f, err := d.replayFilter(v)
	if err != nil {
		return err
	}
	total, err := d.store.CountDeliveries(v.Context(), f)
	if err != nil {
		return err
	}
	// It goes on when nobody looks any more, and is put down to whoever began it.
	ctx, cancel := context.WithCancel(context.WithoutCancel(v.Context()))
	id, x := phone.NewID("replay"), &replay{project: v.project(), total: total, cancel: cancel}
	r := &d.replays
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		cancel()
		return phone.Errorf(phone.Unavailable, "the server is stopping: try again in a few seconds")
	}
	if r.running == nil {
		r.running = map[string]*replay{}
	}
	for old, y := range r.running {
		if y.ended && v.now.Sub(y.endedAt) > keptReplays {
			delete(r.running, old)
		}
	}
	r.running[id] = x
	r.work.Go(func() { d.runReplay(ctx, x, f) })
	d.fragment(v, http.StatusOK, "replay-progress", x.part(id, v))
	return nil
}

func (d *Dashboard) runReplay(ctx context.Context, x *replay, f store.DeliveryFilter) {
	defer x.cancel()
	r := &d.replays
	f.Progress = func(taken int) {
		r.mu.Lock()
		defer r.mu.Unlock()
		x.taken = taken
	}
	n, err := d.board.RetryDeliveries(ctx, f)
	r.mu.Lock()
	defer r.mu.Unlock()
	x.taken, x.ended, x.endedAt = n, true, time.Now()
	if err != nil && !x.stopping {
		d.cfg.Logger.Error("a replay ended early", "error", err, "taken", n)
		x.fault = sentence("it ended early: " + err.Error() + ": count again for what is left")
	}
}

// part is what is shown of a replay. The lock is held.
func (x *replay) part(id string, v *visit) progressPart {
	return progressPart{id, x.taken, x.total, x.total >= store.MaxCounted, x.ended, x.stopping, x.fault, v.may(phone.ScopeWrite)}
}

// find calls f with a replay of the visitor's project, under the lock.
func (d *Dashboard) find(v *visit, f func(*replay)) (progressPart, error) {
	r := &d.replays
	r.mu.Lock()
	defer r.mu.Unlock()
	x := r.running[v.PathValue("id")]
	if x == nil || x.project != v.project() {
		return progressPart{}, phone.Errorf(phone.NotFound, "this replay is not known here any more, or runs on another node: count again to see what is left")
	}
	f(x)
	return x.part(v.PathValue("id"), v), nil
}

func (d *Dashboard) showProgress(v *visit) error {
	p, err := d.find(v, func(*replay) {})
	if err == nil {
		d.fragment(v, http.StatusOK, "replay-progress", p)
	}
	return err
}

func (d *Dashboard) stopReplay(v *visit) error {
	p, err := d.find(v, func(x *replay) { x.stopping = true; x.cancel() })
	if err == nil {
		d.fragment(v, http.StatusOK, "replay-progress", p)
	}
	return err
}
