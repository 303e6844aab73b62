package switchboard

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"time"

	"switchhook.dev/switchhook/internal/phone"
)

const (
	// maxGroup bounds the events of one transaction.
	maxGroup = 256
	// acceptQueue bounds the submissions that wait for one, and maxWaiting their
	// data, in bytes: past either, callers are told to come back.
	acceptQueue = 4096
	maxWaiting  = 64 << 20
)

// Submission is an event as somebody hands it in.
type Submission struct {
	ProjectID string
	Type      phone.EventType
	Channel   phone.Channel
	// AgentID may be empty: the number then decides.
	AgentID        string
	IdempotencyKey string
	// Traceparent is the caller's, by W3C Trace Context; "" where there is none.
	Traceparent string
	// Data is the contract's "data" object, less the ids the server makes.
	Data json.RawMessage
}

// Accept takes an event in and returns when it is safe on disk. The error is an
// *phone.Error. Turns of calls are not for Accept, but for Ask.
func (s *Switchboard) Accept(ctx context.Context, sub Submission) (phone.Accepted, error) {
	a := s.AcceptBatch(ctx, []Submission{sub})[0]
	return a, a.Err
}

// AcceptBatch takes events in, in order, and returns when they are safe on disk:
// an answer each, in the same order, with Err where that one was refused.
func (s *Switchboard) AcceptBatch(ctx context.Context, subs []Submission) []phone.Accepted {
	now := time.Now().UTC().Truncate(time.Millisecond)
	out := make([]phone.Accepted, len(subs))
	events := make([]*phone.NewEvent, 0, len(subs))
	places := make([]int, 0, len(subs))
	for i, sub := range subs {
		e, err := parse(sub, now)
		if err == nil && e.IsTurn() {
			err = errTurnInBatch()
		}
		if err != nil {
			out[i].Err = err
			continue
		}
		e.Traceparent = sub.Traceparent
		events = append(events, e)
		places = append(places, i)
	}
	size := 0
	for _, sub := range subs {
		size += len(sub.Data)
	}
	for i, a := range s.acceptor.submit(ctx, events, size) {
		out[places[i]] = a
	}
	return out
}

// errTurnInBatch refuses a turn where nobody can wait for its answer.
func errTurnInBatch() error {
	return &phone.Error{Code: phone.Invalid, Faults: []phone.Fault{{
		Loc: []any{"body", "channel"}, Type: "value_error",
		Msg: "a turn of a call is answered while its caller waits, and cannot be one of many: hand it in alone, with POST /v1/events",
	}}}
}

// submitted is one caller's events, waiting for the next transaction.
type submitted struct {
	events []*phone.NewEvent
	size   int // of their data, in bytes
	done   chan []phone.Accepted
}

// acceptor groups concurrent submissions: while one transaction is committed,
// the next gathers. Nobody waits for a timer.
type acceptor struct {
	board   *Switchboard
	queue   chan submitted
	waiting atomic.Int64 // bytes of data in the queue
}

func (a *acceptor) start(s *Switchboard) {
	a.board = s
	a.queue = make(chan submitted, acceptQueue)
	s.done.Go(a.run)
}

// submit queues events and waits for their answers.
func (a *acceptor) submit(ctx context.Context, events []*phone.NewEvent, size int) []phone.Accepted {
	if len(events) == 0 {
		return nil
	}
	sub := submitted{events, size, make(chan []phone.Accepted, 1)}
	select {
	case <-a.board.closing:
		return refuse(events, errClosed())
	default:
	}
	if a.waiting.Add(int64(size)) > maxWaiting {
		a.waiting.Add(-int64(size))
		return refuse(events, errFull())
	}
	select {
	case a.queue <- sub:
	default:
		a.waiting.Add(-int64(size))
		return refuse(events, errFull())
	}
	// Once queued it will be written, and the caller must learn so: a canceled
	// request is answered to nobody, but never half-known to us.
	select {
	case out := <-sub.done:
		return out
	case <-ctx.Done():
		return refuse(events, &phone.Error{Code: phone.Unavailable, Message: "the request was given up before its events were written", Err: ctx.Err()})
	}
}

// errFull is what a caller gets when too much waits to be written already.
func errFull() error {
	e := phone.Errorf(phone.Unavailable, "too many events wait to be written: try again in a second")
	e.RetryAfter = time.Second
	return e
}

func refuse(events []*phone.NewEvent, err error) []phone.Accepted {
	out := make([]phone.Accepted, len(events))
	for i := range out {
		out[i].Err = err
	}
	return out
}

// run is the acceptor's one goroutine. It ends when the switchboard closes and
// the queue is empty.
func (a *acceptor) run() {
	var group []submitted
	for {
		group = group[:0]
		select {
		case sub := <-a.queue:
			group = append(group, sub)
		case <-a.board.closing:
			select {
			case sub := <-a.queue:
				group = append(group, sub)
			default:
				return
			}
		}
		for n := len(group[0].events); n < maxGroup; {
			select {
			case sub := <-a.queue:
				group = append(group, sub)
				n += len(sub.events)
				continue
			default:
			}
			break
		}
		a.commit(group)
	}
}

// commit writes a group in one transaction, hands its deliveries over, and only
// then answers.
func (a *acceptor) commit(group []submitted) {
	var events []*phone.NewEvent
	for _, sub := range group {
		events = append(events, sub.events...)
		a.waiting.Add(-int64(sub.size))
	}
	d := a.board.cfg.Dispatcher
	begin := time.Now()
	out := a.board.cfg.Store.Accept(context.Background(), events, d)
	if a.board.cfg.Written != nil {
		a.board.cfg.Written(events, out, begin, time.Now())
	}
	taken := 0
	for i := range out {
		if out[i].Err == nil && !out[i].Duplicate {
			taken++
		}
		if j := out[i].Job; j != nil {
			a.board.cfg.Watchers.accepted(j)
			d.Push(j)
		}
	}
	a.board.cfg.Accepted(taken)
	a.board.cfg.Taken(events, out)
	for _, sub := range group {
		n := len(sub.events)
		sub.done <- out[:n:n]
		out = out[n:]
	}
}
