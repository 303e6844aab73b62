package switchboard

import (
	"context"
	"sync"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
)

const (
	// watchLength is how many changes a watcher may lag behind before it misses some.
	watchLength = 1024
	// lookEvery is how often it is looked for what other nodes did, while somebody
	// watches, and lookBack from how long ago on what was made since: longer than a
	// transaction takes to be seen and clocks differ.
	lookEvery = time.Second
	lookBack  = 5 * time.Second
	// maxFollowed bounds the deliveries of a project that are asked for again because
	// they were pending.
	maxFollowed = 500
	// maxShown bounds one generation of what is remembered of deliveries that were
	// shown. There are two.
	maxShown = 4096
)

// Watchers pass deliveries on, as they change, to whoever looks. Where nobody
// does they cost a lock and nothing else.
type Watchers struct {
	shared Shared

	mu      sync.Mutex
	chans   map[chan phone.Delivery]string // the project each is for
	follows map[string]*follow             // by project, of those that somebody watches
}

// NewWatchers returns watchers that nobody looks at yet. shared shows them what other
// nodes do; nil where there are none.
func NewWatchers(shared Shared) *Watchers {
	return &Watchers{shared: shared, chans: map[chan phone.Delivery]string{}, follows: map[string]*follow{}}
}

func (w *Watchers) watch(ctx context.Context, projectID string) <-chan phone.Delivery {
	c := make(chan phone.Delivery, watchLength)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.chans[c] = projectID
	if w.shared != nil && w.follows[projectID] == nil {
		f := &follow{watchers: w, projectID: projectID, began: time.Now(), young: map[string]shown{}}
		var run context.Context
		run, f.stop = context.WithCancel(context.WithoutCancel(ctx))
		w.follows[projectID] = f
		go f.run(run)
	}
	context.AfterFunc(ctx, func() { w.leave(c) })
	return c
}

// leave takes a watcher out.
func (w *Watchers) leave(c chan phone.Delivery) {
	w.mu.Lock()
	defer w.mu.Unlock()
	projectID := w.chans[c]
	delete(w.chans, c)
	close(c)
	if f := w.follows[projectID]; f != nil && !w.watchedLocked(projectID) {
		f.stop()
		delete(w.follows, projectID)
	}
}

// watched says whether anybody looks at a project.
func (w *Watchers) watched(projectID string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.watchedLocked(projectID)
}

func (w *Watchers) watchedLocked(projectID string) bool {
	for _, p := range w.chans {
		if p == projectID {
			return true
		}
	}
	return false
}

// publish passes a change on that was made here.
func (w *Watchers) publish(d phone.Delivery) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if f := w.follows[d.ProjectID]; f != nil && !f.isNews(d) {
		return // a look came first
	}
	w.pass(d)
}

// pass passes a change on. The caller holds mu.
func (w *Watchers) pass(d phone.Delivery) {
	for c, p := range w.chans {
		if p != d.ProjectID {
			continue
		}
		select {
		case c <- d:
		default: // it lags: it misses this one rather than hold everybody up
		}
	}
}

func (w *Watchers) accepted(j *phone.Job) {
	if !w.watched(j.ProjectID) {
		return
	}
	w.publish(phone.Delivery{
		ID: j.DeliveryID, EventID: phone.EventID(j.DeliveryID), ProjectID: j.ProjectID, AgentID: j.AgentID,
		ConversationID: j.ConversationID, MessageID: j.MessageID, WebhookID: j.WebhookID,
		EventType: j.EventType, Channel: j.Channel, Status: phone.Pending, Round: j.Round, NextAttemptAt: j.CreatedAt, CreatedAt: j.CreatedAt,
	})
}

// Recorded publishes deliveries whose attempts are on record.
func (w *Watchers) Recorded(results []*phone.Result, recorded []store.Recorded) {
	for i, r := range results {
		if !w.watched(r.Job.ProjectID) {
			continue
		}
		j, a := r.Job, r.Attempt
		w.publish(phone.Delivery{
			ID: j.DeliveryID, EventID: phone.EventID(j.DeliveryID), ProjectID: j.ProjectID, AgentID: j.AgentID,
			ConversationID: j.ConversationID, MessageID: j.MessageID, WebhookID: j.WebhookID,
			EventType: j.EventType, Channel: j.Channel, Status: recorded[i].Status, Round: j.Round, Attempts: recorded[i].Number,
			HTTPStatus: a.HTTPStatus, Error: a.Error, ResponseBody: a.ResponseBody,
			LastAttemptAt: a.SentAt, NextAttemptAt: r.NextAttemptAt, CreatedAt: j.CreatedAt,
		})
	}
}

// follow looks for what other nodes do with a project's deliveries, while somebody
// watches. What this node does is passed on at once, and is no news to a look.
type follow struct {
	watchers  *Watchers
	projectID string
	began     time.Time
	stop      context.CancelFunc
	// What was shown of deliveries, by id. Watchers.mu guards them.
	young, older map[string]shown
}

// shown is how a delivery was when it was passed on last.
type shown struct {
	round, attempts int
	ended           bool
}

func (f *follow) run(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	since, first := f.began.Add(-lookBack), true
	for {
		now := time.Now()
		// A store that cannot be asked is asked again, and from the same time on.
		if found, err := f.watchers.shared.Changing(ctx, f.projectID, since, f.pending()); err == nil {
			f.found(found, first)
			since, first = now.Add(-lookBack), false
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// found passes on what is news. What the first look finds that is older than the
// watching has not changed since.
func (f *follow) found(all []phone.Delivery, first bool) {
	f.watchers.mu.Lock()
	defer f.watchers.mu.Unlock()
	for _, d := range all {
		if f.isNews(d) && (!first || !d.CreatedAt.Before(f.began.Truncate(time.Millisecond))) {
			f.watchers.pass(d)
		}
	}
}

// pending are the deliveries that were pending when they were shown last.
func (f *follow) pending() (ids []string) {
	f.watchers.mu.Lock()
	defer f.watchers.mu.Unlock()
	for id, s := range f.young {
		if !s.ended && len(ids) < maxFollowed {
			ids = append(ids, id)
		}
	}
	for id, s := range f.older {
		if _, again := f.young[id]; !again && !s.ended && len(ids) < maxFollowed {
			ids = append(ids, id)
		}
	}
	return ids
}

// isNews says whether a delivery has gone on since it was shown, and notes it. What
// is read late may be older than what was shown. The caller holds Watchers.mu.
func (f *follow) isNews(d phone.Delivery) bool {
	now := shown{d.Round, d.Attempts, d.Status != phone.Pending}
	was, known := f.young[d.ID]
	if !known {
		was, known = f.older[d.ID]
	}
	if known && !now.after(was) {
		return false
	}
	if len(f.young) >= maxShown {
		f.older, f.young = f.young, map[string]shown{}
	}
	f.young[d.ID] = now
	return true
}

func (s shown) after(was shown) bool {
	if s.round != was.round {
		return s.round > was.round
	}
	return s.attempts > was.attempts || s.attempts == was.attempts && s.ended && !was.ended
}
