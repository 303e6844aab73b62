package switchboard

import (
	"context"
	"sync"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
)

// watchLength is how many changes a watcher may lag behind before it misses some.
const watchLength = 256

// Watchers pass deliveries on, as they change, to whoever looks. Where nobody
// does they cost a lock and nothing else.
type Watchers struct {
	mu    sync.Mutex
	chans map[chan phone.Delivery]string // the project each is for
}

// NewWatchers returns watchers that nobody looks at yet.
func NewWatchers() *Watchers {
	return &Watchers{chans: map[chan phone.Delivery]string{}}
}

func (w *Watchers) watch(ctx context.Context, projectID string) <-chan phone.Delivery {
	c := make(chan phone.Delivery, watchLength)
	w.mu.Lock()
	w.chans[c] = projectID
	w.mu.Unlock()
	context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.chans, c)
		close(c)
	})
	return c
}

// watched says whether anybody looks at a project.
func (w *Watchers) watched(projectID string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.chans {
		if p == projectID {
			return true
		}
	}
	return false
}

func (w *Watchers) publish(d phone.Delivery) {
	w.mu.Lock()
	defer w.mu.Unlock()
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
