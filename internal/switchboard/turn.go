package switchboard

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"switchhook.dev/switchhook/internal/deliver"
	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
	"switchhook.dev/switchhook/internal/voice"
)

// ErrStopping is the cause that the context of a request is canceled with when
// the server stops: a turn under way then goes on, until Close.
var ErrStopping = errors.New("the server is stopping")

// Listener hears a turn. Its methods are called one after the other.
type Listener interface {
	// Accepted is called once the turn is on disk, before the webhook is asked.
	Accepted(a phone.Accepted)
	// Line passes a line of the answer on; an error says that the caller is gone.
	Line(l voice.Line) error
	// Ended is called when nothing more will be said, before that is on disk. fault
	// says why the turn failed; "" where it did not.
	Ended(fault string)
}

// Turn is what a turn came to.
type Turn struct {
	phone.Accepted
	// Reply is the answer put together, a JSON object.
	Reply []byte
}

// turns are those under way, by call. A call has one at a time: a new one cancels
// the one that still speaks, and begins when that is on record.
type turns struct {
	mu     sync.Mutex
	ofCall map[callKey]*turn
	all    map[*turn]struct{}
	closed bool
}

type callKey struct{ projectID, callID string }

// turn is one under way.
type turn struct {
	key      string // of idempotency
	delivery string
	cancel   context.CancelCauseFunc
	ended    chan struct{} // closed when it is on record
}

// enter counts a turn among what the switchboard's end waits for, and says whether
// one may still begin.
func (t *turns) enter(done *sync.WaitGroup) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	done.Add(1)
	return true
}

// begin enters a turn, and cancels the one of the same call that is under way. It
// returns that one, or nil.
func (t *turns) begin(ctx context.Context, k callKey, key, delivery string) (own *turn, ownCtx context.Context, before *turn) {
	// What cancels the request cancels the turn, but for the end of the server:
	// that leaves turns some time.
	ownCtx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		if !errors.Is(context.Cause(ctx), ErrStopping) {
			cancel(voice.ErrHungUp)
		}
	})
	own = &turn{key: key, delivery: delivery, ended: make(chan struct{}), cancel: func(cause error) { stop(); cancel(cause) }}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		own.cancel(voice.ErrStopped)
	}
	before = t.ofCall[k]
	if before != nil {
		before.cancel(voice.ErrSuperseded)
	}
	t.ofCall[k], t.all[own] = own, struct{}{}
	return own, ownCtx, before
}

// end takes a turn out.
func (t *turns) end(k callKey, own *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ofCall[k] == own {
		delete(t.ofCall, k)
	}
	delete(t.all, own)
	own.cancel(nil)
	close(own.ended)
}

// underWay says whether the turn of an idempotency key is.
func (t *turns) underWay(k callKey, key string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	own := t.ofCall[k]
	return own != nil && own.key == key
}

// openTurns are turns of a project: their calls and their deliveries.
type openTurns struct{ calls, deliveries []string }

// underWayHere are the turns under way, by project.
func (t *turns) underWayHere() map[string]openTurns {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := map[string]openTurns{}
	for k, own := range t.ofCall {
		o := out[k.projectID]
		out[k.projectID] = openTurns{append(o.calls, k.callID), append(o.deliveries, own.delivery)}
	}
	return out
}

// supersede cancels the turns of deliveries.
func (t *turns) supersede(deliveries []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for own := range t.all {
		if slices.Contains(deliveries, own.delivery) {
			own.cancel(voice.ErrSuperseded)
		}
	}
}

// close cuts off the turns under way.
func (t *turns) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for own := range t.all {
		own.cancel(voice.ErrStopped)
	}
}

func errUnderWay() error {
	return phone.Errorf(phone.Conflict, "the turn with this Idempotency-Key is still under way: wait for its answer")
}

// Ask takes a turn of a call in, asks its webhook at once, and lets hear each line
// of the answer as it comes. It returns when that is on disk. The error is an
// *phone.Error: nothing was kept then. Once Accepted was called there is none,
// whatever comes of the turn; see Listener.Ended.
//
// A repeat of an idempotency key is answered with the first one's reply, and
// nobody is asked; while that one is under way it is a Conflict.
func (s *Switchboard) Ask(ctx context.Context, sub Submission, hear Listener) (Turn, error) {
	e, err := parse(sub, time.Now().UTC().Truncate(time.Millisecond))
	if err != nil {
		return Turn{}, err
	}
	if !s.turns.enter(&s.done) {
		return Turn{}, errClosed()
	}
	defer s.done.Done()
	k := callKey{e.ProjectID, e.Call.ID}
	if e.IdempotencyKey != "" {
		if s.turns.underWay(k, e.IdempotencyKey) {
			return Turn{}, errUnderWay()
		}
		a, found, err := s.cfg.Store.RepeatedTurn(ctx, e.ProjectID, e.IdempotencyKey, e.At)
		if err != nil {
			return Turn{}, err
		}
		if found {
			return s.repeat(ctx, e.ProjectID, a, hear)
		}
	}
	release, err := s.cfg.Dispatcher.BeginTurn()
	if err != nil {
		return Turn{}, err
	}
	defer release()
	own, ctx, before := s.turns.begin(ctx, k, e.IdempotencyKey, phone.DeliveryID(e.ID))
	defer s.turns.end(k, own)
	if before != nil {
		// Its answer comes before this question in the history.
		<-before.ended
	}
	e.Traceparent = sub.Traceparent
	began := time.Now()
	a := s.cfg.Store.AcceptTurn(ctx, e)
	if s.cfg.Written != nil {
		s.cfg.Written([]*phone.NewEvent{e}, []phone.Accepted{a}, began, time.Now())
	}
	switch {
	case a.Err != nil:
		return Turn{}, a.Err
	case a.Duplicate:
		return s.repeat(ctx, e.ProjectID, a, hear)
	}
	s.cfg.Accepted(1)
	s.cfg.Taken([]*phone.NewEvent{e}, []phone.Accepted{a})
	if a.Job != nil {
		s.cfg.Watchers.accepted(a.Job)
	}
	hear.Accepted(a)
	return Turn{Accepted: a, Reply: s.ask(ctx, e, a, hear)}, nil
}

// repeat answers a turn as it was answered before.
func (s *Switchboard) repeat(ctx context.Context, projectID string, a phone.Accepted, hear Listener) (Turn, error) {
	if a.CallID == "" {
		return Turn{}, phone.Errorf(phone.Conflict, "this Idempotency-Key was used for an event that is no turn of a call: take another one")
	}
	// One that was not sent anywhere has a turn all the same.
	t, err := s.cfg.Store.Turn(context.WithoutCancel(ctx), projectID, a.CallID, phone.DeliveryID(a.EventID))
	switch {
	case err != nil:
		return Turn{}, err
	case t.Reply == nil:
		return Turn{}, errUnderWay()
	}
	hear.Accepted(a)
	return Turn{Accepted: a, Reply: t.Reply}, nil
}

// ask asks, and records what came of it. It returns the reply.
func (s *Switchboard) ask(ctx context.Context, e *phone.NewEvent, a phone.Accepted, hear Listener) []byte {
	if a.Job == nil {
		s.turnEnded(&voice.Outcome{End: voice.Unasked})
		hear.Ended(a.Refused)
		return phone.SilentReply(a.Refused)
	}
	r := &phone.TurnResult{
		Job: a.Job, NumberID: a.NumberID, Number: e.Number, Participant: e.Participant, CallID: a.CallID,
		MessageID: phone.NewID(phone.PrefixMessage),
	}
	out := s.exchange(ctx, a, r, hear)
	hear.Ended(out.Fault())
	r.Status, r.Answer, r.Reply, r.At = out.Delivery(), out.Reply.Text(), out.Reply.JSON(out.Fault()), time.Now().UTC().Truncate(time.Millisecond)
	s.turnEnded(&out)
	s.recordTurn(r)
	return r.Reply
}

func (s *Switchboard) turnEnded(out *voice.Outcome) {
	if s.cfg.TurnEnded != nil {
		s.cfg.TurnEnded(out)
	}
}

// exchange asks the webhook, and fills in the attempts.
func (s *Switchboard) exchange(ctx context.Context, a phone.Accepted, r *phone.TurnResult, hear Listener) voice.Outcome {
	x, done, refused := s.cfg.Dispatcher.Exchange(ctx, *a.Webhook, a.Job)
	if refused != "" {
		r.Ended = refused
		return voice.Outcome{End: voice.Unasked, Note: refused}
	}
	defer done()
	out := voice.Ask(ctx, x, a.Webhook.Timeout, hear.Line)
	if out.End == voice.Status {
		out.Note = deliver.TurnStatus(out.HTTPStatus)
		r.DisableWebhook = out.HTTPStatus == 410
	}
	if r.Attempts = x.Attempts(); len(r.Attempts) == 0 {
		r.Ended = out.Note
		return out
	}
	last := &r.Attempts[len(r.Attempts)-1]
	last.Duration = time.Since(last.SentAt)
	last.HTTPStatus, last.Error, last.ResponseBody = out.HTTPStatus, out.Note, out.Kept
	if !out.Failed() {
		s.cfg.Dispatcher.TurnEnded(a.Webhook.ID)
	}
	return out
}

// turnTries is how often a turn's end is written at most, a second apart: past it
// the turn stays pending until the next start, which ends it as lost.
const turnTries = 10

// recordTurn writes what came of a turn.
func (s *Switchboard) recordTurn(r *phone.TurnResult) {
	var recorded store.Recorded
	err := errors.New("not tried")
	for try := 0; err != nil && try < turnTries; try++ {
		if try > 0 {
			select {
			case <-time.After(time.Second):
			case <-s.closing:
				try = turnTries - 1
			}
		}
		recorded, err = s.cfg.Store.AcceptAnswer(context.Background(), r)
	}
	if err != nil {
		s.cfg.Logger.Error("the end of a turn could not be written: the next start ends it as lost", "delivery", r.Job.DeliveryID, "error", err)
		return
	}
	if !recorded.Applied {
		return
	}
	s.cfg.Dispatcher.TurnRecorded(r, recorded)
	if r.Status == phone.Failed {
		s.cfg.Logger.Warn("turn failed", "delivery", r.Job.DeliveryID, "webhook", r.Job.WebhookID, "call", r.CallID, "error", turnFault(r))
	}
	if r.DisableWebhook {
		s.cfg.Dispatcher.Reread(r.Job.WebhookID)
	}
}

func turnFault(r *phone.TurnResult) string {
	if n := len(r.Attempts); n > 0 {
		return r.Attempts[n-1].Error
	}
	return r.Ended
}
