package deliver

import (
	"context"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
)

// DefaultTurns bounds the turns of calls that are asked at once, of all endpoints.
const DefaultTurns = 4096

// Turns of calls go beside the lanes: they have slots of their own, beside the
// limits of texts, and no queue, since a person waits. Neither breaker, order nor
// rate holds them back. An endpoint that hangs fills a part of the slots and no
// more: see turnShare.

// turnShare is how many turns one endpoint may have under way: half of the room
// that all have left together. One alone may fill a third of it, ten that hang
// leave a sixth free, and one turn is always allowed.
func turnShare(limit, inFlight int) int { return max(1, (limit-inFlight)/2) }

// errTurns is what a caller gets when too many turns are under way already.
func errTurns() error {
	e := phone.Errorf(phone.Unavailable, "too many turns of calls are under way: ask again in a second, or raise --max-turns")
	e.RetryAfter = time.Second
	return e
}

// Texts of turns that could not be asked.
const (
	errorTurnsOfOne  = "too many turns of this webhook are under way: it answers too slowly for so many calls"
	errorTurnHalted  = "the server is stopping: the webhook was not asked"
	errorTurnUnknown = "the webhook cannot be sent to: set it anew"
)

// BeginTurn takes a turn's slot, before anything of it is kept. end gives it back.
func (d *Dispatcher) BeginTurn() (end func(), err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.halted:
		return nil, errHalted()
	case d.turns >= d.cfg.Turns:
		return nil, errTurns()
	}
	d.turns++
	d.work.Add(1)
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.turns--
		d.work.Done()
	}, nil
}

// Exchange is one question to one endpoint: at most one request that is answered,
// and one more only where the first made no connection.
type Exchange struct {
	d        *Dispatcher
	endpoint *endpoint
	job      *phone.Job
	attempts []phone.Attempt
}

// Exchange prepares a turn that is on disk, bound to w. Where it cannot be asked,
// refused says why. done gives the endpoint's slot back.
func (d *Dispatcher) Exchange(ctx context.Context, w phone.Webhook, j *phone.Job) (x *Exchange, done func(), refused string) {
	e, err := newEndpoint(w)
	if err != nil {
		return nil, nil, errorTurnUnknown
	}
	d.mu.Lock()
	l := d.lanes[w.ID]
	if l == nil {
		d.mu.Unlock()
		// Gone, or made by another node and not heard of yet: the store knows.
		live, err := d.cfg.Store.WebhookByID(ctx, w.ID)
		if err != nil || live == nil {
			return nil, nil, phone.ErrorWebhookDeleted
		}
		d.mu.Lock()
	}
	defer d.mu.Unlock()
	switch {
	case d.halted || !d.maySend():
		return nil, nil, errorTurnHalted
	case l != nil && !l.open:
		// It was deleted or disabled since the turn was bound to it.
		return nil, nil, phone.ErrorWebhookDeleted
	case d.turnsOf[w.ID] >= turnShare(d.cfg.Turns, d.turns):
		return nil, nil, errorTurnsOfOne
	}
	d.turnsOf[w.ID]++
	return &Exchange{d: d, endpoint: e, job: j}, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.turnsOf[w.ID]--; d.turnsOf[w.ID] == 0 {
			delete(d.turnsOf, w.ID)
		}
	}, ""
}

// Attempts are the requests made, oldest first. Of the last one nothing is filled
// in that its answer tells.
func (x *Exchange) Attempts() []phone.Attempt { return x.attempts }

// Explain says in a sentence why there is no answer, or not all of one.
func (x *Exchange) Explain(err error) string {
	return explain(err, x.endpoint.target.Host, x.endpoint.Timeout)
}

// Do sends the question. Where no connection was made, it tries once more, at once.
func (x *Exchange) Do(ctx context.Context) (*http.Response, error) {
	content, err := x.d.sender.content(ctx, x.job)
	if err != nil {
		return nil, err
	}
	body, err := Render(content)
	if err != nil {
		return nil, err
	}
	resp, connected, err := x.try(ctx, body)
	if err != nil && !connected && ctx.Err() == nil {
		resp, _, err = x.try(ctx, body)
	}
	return resp, err
}

// try makes one request, and says whether there was a connection for it: if so,
// something may have been sent.
func (x *Exchange) try(ctx context.Context, body []byte) (resp *http.Response, connected bool, err error) {
	s := &x.d.sender
	a := phone.Attempt{ID: phone.NewID(phone.PrefixAttempt), DeliveryID: x.job.DeliveryID, URL: x.endpoint.URL, SentAt: time.Now()}
	req := s.request(ctx, x.endpoint, x.job, body, &a)
	var got atomic.Bool
	var watch stopwatch
	req = req.WithContext(httptrace.WithClientTrace(watch.trace(req.Context()), &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { got.Store(true) },
	}))
	transport := x.d.cfg.TurnTransport
	if x.endpoint.Listener {
		transport = x.d.cfg.Transport // a listener is reached over its own connection
	}
	resp, err = transport.RoundTrip(req)
	a.Duration, a.Timing = time.Since(a.SentAt), watch.timing(a.SentAt)
	if err != nil {
		a.Error = x.Explain(err)
	}
	x.attempts = append(x.attempts, a)
	return resp, got.Load(), err
}

// TurnEnded tells the breaker of an endpoint that answered a turn well.
func (d *Dispatcher) TurnEnded(webhookID string) { d.alive(webhookID) }

// TurnStatus says what an answer that is no 2xx means, and how to mend it.
func TurnStatus(status int) string { return explainStatus(status) }

// Reread settles a webhook that a turn's answer disabled (410).
func (d *Dispatcher) Reread(webhookID string) {
	d.mu.Lock()
	if d.halted {
		d.mu.Unlock()
		return
	}
	d.work.Add(1)
	if l := d.lanes[webhookID]; l != nil {
		l.close()
	}
	d.mu.Unlock()
	defer d.work.Done()
	d.reread(webhookID)
}

// TurnRecorded passes on, to whoever counts and watches, that a turn's end is on disk.
func (d *Dispatcher) TurnRecorded(r *phone.TurnResult, recorded store.Recorded) {
	results := make([]*phone.Result, len(r.Attempts))
	all := make([]store.Recorded, len(r.Attempts))
	for i, a := range r.Attempts {
		job := *r.Job
		job.Attempts = i
		results[i] = &phone.Result{Job: &job, Attempt: a, Status: phone.Pending}
		all[i] = store.Recorded{Applied: true, Status: phone.Pending, Number: i + 1}
	}
	if n := len(results); n > 0 {
		results[n-1].Status, all[n-1] = r.Status, recorded
	}
	d.cfg.Recorded(results, all)
}
