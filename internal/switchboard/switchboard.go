// Package switchboard is what happens between a request and the store: events
// are checked, grouped, committed and handed to the dispatcher; webhooks change
// together with the deliveries bound to them.
//
// Invariants: an event is answered only after its commit; a change of a webhook
// is in force, in the store and in the dispatcher, when its call returns.
package switchboard

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"switchhook.dev/switchhook/internal/deliver"
	"switchhook.dev/switchhook/internal/netguard"
	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
	"switchhook.dev/switchhook/internal/voice"
)

// Store is what the switchboard needs of a store.
type Store interface {
	Accept(ctx context.Context, events []*phone.NewEvent, room store.Room) []phone.Accepted
	ForgetIdempotency(ctx context.Context, now time.Time) error

	AcceptTurn(ctx context.Context, e *phone.NewEvent) phone.Accepted
	AcceptAnswer(ctx context.Context, r *phone.TurnResult) (store.Recorded, error)
	SettleTurns(ctx context.Context, now time.Time) (int, error)
	RepeatedTurn(ctx context.Context, projectID, key string, now time.Time) (phone.Accepted, bool, error)
	Turn(ctx context.Context, projectID, callID, deliveryID string) (phone.Turn, error)

	Agent(ctx context.Context, projectID, id string) (phone.Agent, error)
	Agents(ctx context.Context, projectID string, limit, offset int) ([]phone.Agent, int, error)
	DeleteAgent(ctx context.Context, projectID, id string, at time.Time, inFlight []string) (phone.Agent, error)

	Webhook(ctx context.Context, projectID, agentID string) (*phone.Webhook, error)
	WebhookByID(ctx context.Context, id string) (*phone.Webhook, error)
	SetWebhook(ctx context.Context, w phone.Webhook) (phone.Webhook, error)
	SetWebhookStatus(ctx context.Context, projectID, agentID string, status phone.WebhookStatus) (phone.Webhook, error)
	DeleteWebhook(ctx context.Context, projectID, agentID string, at time.Time, inFlight []string) error
	Listener(ctx context.Context, projectID, agentID string) (*phone.Webhook, error)
	AddListener(ctx context.Context, w phone.Webhook, session, before string) (phone.Webhook, error)
	RemoveListener(ctx context.Context, id string, at time.Time, inFlight []string) error
	CreateTest(ctx context.Context, e phone.Event, w phone.Webhook, j *phone.Job, notBefore time.Time) error

	Content(ctx context.Context, projectID, deliveryID string) (phone.Content, error)
	Delivery(ctx context.Context, projectID, id string) (store.DeliveryDetail, error)
	Retry(ctx context.Context, projectID, id string, now time.Time, attempts int) (phone.Job, error)
	RetryAll(ctx context.Context, f store.DeliveryFilter, now time.Time, attempts int) (int, []string, error)
}

// Config is what a Switchboard is made of. Store and Dispatcher are required.
type Config struct {
	Store      Store
	Dispatcher *deliver.Dispatcher
	// Policy says which addresses a webhook may have.
	Policy netguard.Policy
	Logger *slog.Logger
	// Accepted is called with how many events a transaction took in; nil for nobody.
	Accepted func(events int)
	// Taken is called with the events of a transaction and their answers; nil for nobody.
	Taken func(events []*phone.NewEvent, out []phone.Accepted)
	// TurnEnded is called with what came of each turn of a call; nil for nobody.
	TurnEnded func(*voice.Outcome)
	// Written is called with the events of a transaction, their answers, and when it
	// began and ended, before anything of it is sent; nil for nobody.
	Written func(events []*phone.NewEvent, out []phone.Accepted, begin, end time.Time)
	// ListenerGone is called when a listener's webhook went with its agent; nil for nobody.
	ListenerGone func(webhookID string)
	// ListenerLost is called when a listener's webhook was taken away by another node,
	// which took this one for dead, or has its connection now; nil for nobody.
	ListenerLost func(webhookID string)
	// Owner is this node, where there are several; "" where there is one.
	Owner string
	// Watchers receive deliveries as they change; nil for none.
	Watchers *Watchers
	// Shared is the store where other nodes work on it too; else nil.
	Shared Shared
}

// Switchboard takes events in and keeps webhooks. Its methods are safe for
// concurrent use.
type Switchboard struct {
	cfg      Config
	acceptor acceptor
	turns    turns
	// settling serialises changes of webhooks: each is a change in the store and
	// one in the dispatcher, and two must not interleave.
	settling sync.Mutex
	closing  chan struct{}
	done     sync.WaitGroup
}

// New returns a switchboard at work. Close stops it.
func New(cfg Config) *Switchboard {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Accepted == nil {
		cfg.Accepted = func(int) {}
	}
	if cfg.Taken == nil {
		cfg.Taken = func([]*phone.NewEvent, []phone.Accepted) {}
	}
	if cfg.Watchers == nil {
		cfg.Watchers = NewWatchers(nil)
	}
	s := &Switchboard{cfg: cfg, closing: make(chan struct{}), turns: turns{ofCall: map[callKey]*turn{}, all: map[*turn]struct{}{}}}
	s.acceptor.start(s)
	s.done.Go(s.forgetKeys)
	return s
}

// SettleTurns ends the turns of calls that the last process asked and whose end it
// never wrote. They are not asked again.
func (s *Switchboard) SettleTurns(ctx context.Context) error {
	n, err := s.cfg.Store.SettleTurns(ctx, time.Now().UTC().Truncate(time.Millisecond))
	if n > 0 {
		s.cfg.Logger.Warn("turns of calls were under way when the server was stopped: they ended as failed", "turns", n)
	}
	return err
}

// Close waits until everything that was submitted is answered. Turns of calls that
// are still under way are cut off.
func (s *Switchboard) Close() {
	close(s.closing)
	s.turns.close()
	s.done.Wait()
}

// forgetKeys drops idempotency keys past their window, a slice a minute.
func (s *Switchboard) forgetKeys() {
	ticker := time.NewTicker(time.Minute)
	defer ticker.Stop()
	for {
		select {
		case <-s.closing:
			return
		case now := <-ticker.C:
			if err := s.cfg.Store.ForgetIdempotency(context.Background(), now); err != nil {
				s.cfg.Logger.Warn("old idempotency keys could not be dropped: trying again in a minute", "error", err)
			}
		}
	}
}

// Watch returns a channel of the project's deliveries as they change, closed
// when ctx ends: at once where this node changes them, within a second where another
// does. A watcher that is too slow misses some.
func (s *Switchboard) Watch(ctx context.Context, projectID string) <-chan phone.Delivery {
	return s.cfg.Watchers.watch(ctx, projectID)
}

// Delivery returns one delivery with its body and every attempt.
func (s *Switchboard) Delivery(ctx context.Context, projectID, id string) (DeliveryView, error) {
	d, err := s.cfg.Store.Delivery(ctx, projectID, id)
	if err != nil {
		return DeliveryView{}, err
	}
	content, err := s.cfg.Store.Content(ctx, projectID, id)
	if err != nil {
		return DeliveryView{}, err
	}
	body, err := deliver.Render(content)
	return DeliveryView{DeliveryDetail: d, Body: body}, err
}

// NextAttempt is when a pending delivery is sent next: when its schedule says, but
// not before an endpoint that fails is tried again. It is zero for one that ended.
func (s *Switchboard) NextAttempt(d phone.Delivery) time.Time {
	if d.Status != phone.Pending {
		return time.Time{}
	}
	if wait := s.cfg.Dispatcher.WaitsUntil(d.WebhookID); wait.After(d.NextAttemptAt) {
		return wait
	}
	return d.NextAttemptAt
}

// RetryDelivery sends a delivery again: a pending one now, a finished one in a
// fresh round of attempts, routed by today's rule.
func (s *Switchboard) RetryDelivery(ctx context.Context, projectID, id string) (phone.Delivery, error) {
	j, err := s.cfg.Store.Retry(ctx, projectID, id, time.Now(), s.cfg.Dispatcher.Attempts())
	if err != nil {
		return phone.Delivery{}, err
	}
	s.cfg.Dispatcher.Wake(j.WebhookID)
	d, err := s.cfg.Store.Delivery(ctx, projectID, id)
	return d.Delivery, err
}

// RetryDeliveries is RetryDelivery for all that a filter selects; without a
// status, for the failed and the unrouted. It answers how many.
func (s *Switchboard) RetryDeliveries(ctx context.Context, f store.DeliveryFilter) (int, error) {
	n, webhooks, err := s.cfg.Store.RetryAll(ctx, f, time.Now(), s.cfg.Dispatcher.Attempts())
	for _, id := range webhooks {
		s.cfg.Dispatcher.Wake(id)
	}
	return n, err
}

// DeliveryView is one delivery with all that is known of it.
type DeliveryView struct {
	store.DeliveryDetail
	// Body is the request body, byte for byte.
	Body []byte
}

// errClosed is what a caller gets while the server stops.
func errClosed() error {
	return &phone.Error{
		Code: phone.Unavailable, Message: "the server is stopping: try again in a few seconds",
		RetryAfter: 5 * time.Second, Err: errors.New("switchboard closed"),
	}
}
