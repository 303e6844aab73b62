package postgres

import (
	"context"
	"encoding/json"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
)

// AcceptTurn takes a turn of a call in, as Accept does an event, and at once: it
// waits for no other event's transaction, and its delivery is nobody's to send
// but the caller's. Where it can be asked, Job and Webhook say what and whom;
// otherwise Refused says why not, and the delivery has ended.
//
// The error of a refused turn is an *phone.Error: nothing of it is kept then. A
// call id that belongs to another number is a Conflict.
func (s *Store) AcceptTurn(ctx context.Context, e *phone.NewEvent) phone.Accepted {
	return s.Accept(ctx, []*phone.NewEvent{e}, noRoom{})[0]
}

// noRoom has none, and is not asked.
type noRoom struct{}

func (noRoom) Reserve(string) bool { return false }
func (noRoom) Release(string)      {}

// askCalls asks which numbers the calls of turns are on.
func (a *acceptance) askCalls(t *tx) {
	var ids []string
	for _, e := range a.events {
		if e.IsTurn() {
			ids = append(ids, e.Call.ID)
		}
	}
	if len(ids) > 0 {
		a.calls = map[string]string{}
		// A new question ends the answer to the one before. Where another node passes
		// that on, it is told to look.
		later(t, "turnsUnderWay", func(r *row) error {
			if run := r.int64(); run != t.run {
				t.poke(run)
			}
			return nil
		}, a.projectID, ids)
		later(t, "callNumber", func(r *row) error { id := r.text(); a.calls[id] = r.text(); return nil }, a.projectID, ids)
	}
}

// ofItsCall sees to it that a turn's call is on the number that the turn is on.
func (a *acceptance) ofItsCall(e *entering) error {
	if !e.IsTurn() {
		return nil
	}
	if number, known := a.calls[e.Call.ID]; known && number != e.route.numberID {
		return phone.Errorf(phone.Conflict, "call %s is on another number: give each call an id of its own", e.Call.ID)
	}
	return nil
}

// bindTurn binds a turn: it is held by its caller from the first, or has ended.
func (e *entering) bindTurn(job *phone.Job) {
	e.out.NumberID, e.out.CallID = e.route.numberID, e.Call.ID
	if at := listenerRun(e.binding.Webhook); at != 0 && at != job.Run && e.binding.Status == phone.Pending {
		e.binding.Status, e.binding.Error = phone.Failed, phone.ErrorListenerElsewhere
	}
	switch e.binding.Status {
	case phone.Pending:
		w := *e.binding.Webhook
		job.Handed, e.out.Webhook = true, &w
		e.history = int(min(int64(w.ContextLimit), e.before))
	case phone.Unrouted:
		e.out.Refused = phone.ErrorTurnUnrouted
	default:
		e.out.Refused = e.binding.Error
	}
}

// call writes what an event says of its call.
func (e *entering) call(t *tx) error {
	if e.Call == nil {
		return nil
	}
	c := e.Call
	if !e.IsTurn() {
		return e.endCall(t)
	}
	exec(t, "beginCall", e.ProjectID, c.ID, e.route.agentID, e.route.numberID, e.Number, e.Participant,
		string(c.Direction), c.Status, micros(c.StartedAt))
	status, reply := phone.Pending, []byte(nil)
	if e.out.Refused != "" {
		status, reply = phone.Failed, phone.SilentReply(e.out.Refused)
	}
	return exec(t, "insertTurn", e.ProjectID, c.ID, phone.DeliveryID(e.ID), []byte(e.Body), e.Confidence, micros(e.At), string(status), reply)
}

func (e *entering) endCall(t *tx) error {
	c := e.Call
	var transcript []byte
	snippet := []byte{}
	if n := len(c.Transcript); n > 0 {
		b, err := json.Marshal(c.Transcript)
		if err != nil {
			return err
		}
		transcript, snippet = b, preview(c.Transcript[n-1].Content)
	}
	return exec(t, "endCall", e.ProjectID, c.ID, e.route.agentID, e.route.numberID, e.Number, e.Participant,
		string(c.Direction), c.Status, micros(c.StartedAt), micros(c.EndedAt), c.DurationSeconds, bytesOrNil(c.DisconnectionReason),
		bytesOrNil(c.Summary), bytesOrNil(c.UserSentiment), c.CallSuccessful, transcript, snippet)
}

func bytesOrNil(s *string) []byte {
	if s == nil {
		return nil
	}
	return []byte(*s)
}

// AcceptAnswer writes what came of a turn: its attempts, its end, and what was
// said, which joins the conversation's history. A turn that has ended already is
// left alone. Where a webhook was disabled by it, Settle is to be called after.
func (s *Store) AcceptAnswer(ctx context.Context, r *phone.TurnResult) (out store.Recorded, err error) {
	err = s.writeIn(ctx, slotRecord, func(t *tx) error {
		out = store.Recorded{}
		if r.DisableWebhook {
			t.lockProject(r.Job.ProjectID)
		}
		return answerTurn(ctx, t, r, &out)
	})
	return out, err
}

func answerTurn(ctx context.Context, t *tx, r *phone.TurnResult, out *store.Recorded) error {
	j, last := r.Job, time.Time{}
	if n := len(r.Attempts); n > 0 {
		last = r.Attempts[n-1].SentAt
	}
	pending, err := one(t, "recordTurn", func(row *row) { out.Number = row.int() },
		j.ProjectID, j.DeliveryID, string(r.Status), len(r.Attempts), micros(last), r.Ended)
	if err != nil || !pending {
		return err
	}
	out.Applied, out.Status = true, r.Status
	t.count(j.ProjectID, micros(j.CreatedAt), string(j.EventType), phone.Pending, r.Status, 1)
	attempts := make([]recording, len(r.Attempts))
	for i, a := range r.Attempts {
		attempts[i] = recording{&phone.Result{Job: j, Attempt: a}, &store.Recorded{Number: i + 1}}
	}
	if len(attempts) > 0 {
		insertAttempts(t, j.ProjectID, attempts)
	}
	exec(t, "answerTurn", j.ProjectID, r.CallID, j.DeliveryID, string(r.Status), []byte(r.Answer), r.Reply, micros(r.At))
	if r.Answer != "" {
		if err := say(t, r); err != nil {
			return err
		}
	}
	if !r.DisableWebhook || len(r.Attempts) == 0 {
		return nil
	}
	return disableGone(ctx, t, &phone.Result{Job: j, Attempt: r.Attempts[len(r.Attempts)-1], DisableWebhook: true})
}

// say adds an answer to its conversation, as a message of the agent's.
func say(t *tx, r *phone.TurnResult) error {
	e := &entering{
		NewEvent: &phone.NewEvent{
			ProjectID: r.Job.ProjectID, Type: phone.EventMessage, Channel: phone.ChannelVoice, Direction: phone.Outbound,
			Number: r.Number, Participant: r.Participant, MessageID: r.MessageID, Body: r.Answer, At: r.At,
		},
		route: &route{agentID: r.Job.AgentID, numberID: r.NumberID},
	}
	a := acceptance{projectID: r.Job.ProjectID, events: []*entering{e}, conversations: map[conversationKey]*conversation{}}
	a.join(e)
	a.touch(t)
	if err := t.flush(); err != nil {
		return err
	}
	e.before += e.conversation.before
	e.message = e.newMessage()
	return insertMessages(t, r.Job.ProjectID, a.events)
}

// SettleTurns ends, as failed, the turns that an earlier run of the server asked
// and whose end it never wrote, and says how many. It may be called at any time:
// turns under way are not touched, on whichever node.
func (s *Store) SettleTurns(ctx context.Context, now time.Time) (n int, err error) {
	var lost []phone.TurnResult
	err = s.readOne(ctx, func(t *tx) error {
		return each(t, "lostTurns", func(r *row) error {
			j := phone.Job{DeliveryID: r.text(), ProjectID: r.text(), EventType: phone.EventType(r.text()), CreatedAt: fromMicros(r.int64())}
			lost = append(lost, phone.TurnResult{
				Job: &j, CallID: r.text(), Status: phone.Failed, Ended: phone.ErrorTurnLost, Reply: phone.SilentReply(phone.ErrorTurnLost), At: now,
			})
			return nil
		})
	})
	for i := range lost {
		if err != nil {
			return n, err
		}
		var out store.Recorded
		if out, err = s.AcceptAnswer(ctx, &lost[i]); out.Applied {
			n++
		}
	}
	return n, err
}

// RepeatedTurn answers what a turn with an idempotency key was answered when it
// was accepted, and false where none was since.
func (s *Store) RepeatedTurn(ctx context.Context, projectID, key string, now time.Time) (out phone.Accepted, found bool, err error) {
	a := acceptance{answers: map[string]answer{}}
	e := &entering{NewEvent: &phone.NewEvent{IdempotencyKey: key, At: now}, out: &out}
	err = s.readOne(ctx, func(t *tx) error {
		err := each(t, "idempotent", func(r *row) error { a.answers[r.text()] = answer{r.text(), r.int64()}; return nil }, projectID, []string{key})
		if err == nil {
			found, err = a.repeated(e)
		}
		return err
	})
	return out, found, err
}

// Superseded returns those of turns, given by their calls and their deliveries, whose
// call has been asked another question since, through whichever node.
func (s *Store) Superseded(ctx context.Context, projectID string, calls, deliveries []string) (ids []string, err error) {
	err = s.readOne(ctx, func(t *tx) error {
		ids = nil
		return each(t, "superseded", func(r *row) error { ids = append(ids, r.text()); return nil }, projectID, calls, deliveries)
	})
	return ids, err
}

// Turn returns one turn of a call; NotFound where there is none.
func (s *Store) Turn(ctx context.Context, projectID, callID, deliveryID string) (out phone.Turn, err error) {
	err = s.readOne(ctx, func(t *tx) error {
		ok, err := one(t, "turn", func(r *row) { out = readTurn(r) }, projectID, callID, deliveryID)
		return orNotFound(ok, err, "turn", deliveryID)
	})
	return out, err
}
