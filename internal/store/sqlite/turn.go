package sqlite

import (
	"context"
	"encoding/json"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
	"zombiezen.com/go/sqlite"
)

// AcceptTurn takes a turn of a call in, as Accept does an event, and at once: it
// waits for no other event's transaction, and its delivery is nobody's to send
// but the caller's. Where it can be asked, Job and Webhook say what and whom;
// otherwise Refused says why not, and the delivery has ended.
//
// The error of a refused turn is an *phone.Error: nothing of it is kept then. A
// call id that belongs to another number is a Conflict.
func (s *Store) AcceptTurn(ctx context.Context, e *phone.NewEvent) (out phone.Accepted) {
	err := s.writeUrgent(ctx, func(t *tx) error {
		out = phone.Accepted{}
		a := acceptance{tx: t, event: e, out: &out}
		return a.accept()
	})
	if err != nil {
		return phone.Accepted{Err: err}
	}
	return out
}

// ofItsCall sees to it that a turn's call is on the number that the turn is on.
func (a *acceptance) ofItsCall() error {
	e := a.event
	if !e.IsTurn() {
		return nil
	}
	number := ""
	known, err := one(a.Conn, "callNumber", func(r *row) { number = r.text() }, e.ProjectID, e.Call.ID)
	if err != nil {
		return err
	}
	if known && number != a.route.number.ID {
		return phone.Errorf(phone.Conflict, "call %s is on another number: give each call an id of its own", e.Call.ID)
	}
	a.callKnown = known
	return nil
}

// call writes what an event says of its call.
func (a *acceptance) call() error {
	e := a.event
	if e.Call == nil {
		return nil
	}
	c, number := e.Call, a.route.number
	if !e.IsTurn() {
		return a.endCall()
	}
	if !a.callKnown {
		err := exec(a.Conn, "beginCall", e.ProjectID, c.ID, a.route.agentID, number.ID, number.PhoneNumber, e.Participant,
			string(c.Direction), c.Status, micros(c.StartedAt))
		if err != nil {
			return err
		}
	}
	status, reply := phone.Pending, []byte(nil)
	if a.out.Refused != "" {
		status, reply = phone.Failed, phone.SilentReply(a.out.Refused)
	}
	return exec(a.Conn, "insertTurn", e.ProjectID, c.ID, phone.DeliveryID(e.ID), e.Body, e.Confidence, micros(e.At), string(status), reply)
}

func (a *acceptance) endCall() error {
	c, number := a.event.Call, a.route.number
	var transcript []byte
	snippet := ""
	if n := len(c.Transcript); n > 0 {
		b, err := json.Marshal(c.Transcript)
		if err != nil {
			return err
		}
		transcript, snippet = b, preview(c.Transcript[n-1].Content)
	}
	return exec(a.Conn, "endCall", a.event.ProjectID, c.ID, a.route.agentID, number.ID, number.PhoneNumber, a.event.Participant,
		string(c.Direction), c.Status, micros(c.StartedAt), micros(c.EndedAt), c.DurationSeconds, c.DisconnectionReason, c.Summary,
		c.UserSentiment, c.CallSuccessful, transcript, snippet)
}

// AcceptAnswer writes what came of a turn: its attempts, its end, and what was
// said, which joins the conversation's history. A turn that has ended already is
// left alone. Where a webhook was disabled by it, Settle is to be called after.
func (s *Store) AcceptAnswer(ctx context.Context, r *phone.TurnResult) (out store.Recorded, err error) {
	err = s.writeUrgent(ctx, func(t *tx) error {
		out = store.Recorded{}
		return answerTurn(ctx, t, r, &out)
	})
	return out, err
}

func answerTurn(ctx context.Context, t *tx, r *phone.TurnResult, out *store.Recorded) error {
	j, last := r.Job, time.Time{}
	if n := len(r.Attempts); n > 0 {
		last = r.Attempts[n-1].SentAt
	}
	pending, err := one(t.Conn, "recordTurn", func(row *row) { out.Number = row.int() },
		j.DeliveryID, string(r.Status), len(r.Attempts), micros(last), r.Ended)
	if err != nil || !pending {
		return err
	}
	out.Applied, out.Status = true, r.Status
	t.count(j.ProjectID, micros(j.CreatedAt), string(j.EventType), phone.Pending, r.Status, 1)
	for i := range r.Attempts {
		if err := insertAttempt(t, j.DeliveryID, i+1, &r.Attempts[i]); err != nil {
			return err
		}
	}
	if err := exec(t.Conn, "answerTurn", j.ProjectID, r.CallID, j.DeliveryID, string(r.Status), r.Answer, r.Reply, micros(r.At)); err != nil {
		return err
	}
	if r.Answer != "" {
		if err := say(t, r); err != nil {
			return err
		}
	}
	if !r.DisableWebhook || len(r.Attempts) == 0 {
		return nil
	}
	return goneWebhook(ctx, t, j.WebhookID, r.Attempts[len(r.Attempts)-1].URL)
}

// say adds an answer to its conversation, as a message of the agent's.
func say(t *tx, r *phone.TurnResult) error {
	a := acceptance{
		tx:    t,
		route: &route{agentID: r.Job.AgentID, number: phone.Number{ID: r.NumberID, PhoneNumber: r.Number}},
		event: &phone.NewEvent{
			ProjectID: r.Job.ProjectID, Type: phone.EventMessage, Channel: phone.ChannelVoice, Direction: phone.Outbound,
			Number: r.Number, Participant: r.Participant, MessageID: r.MessageID, Body: r.Answer, At: r.At,
		},
	}
	if err := a.converse(); err != nil {
		return err
	}
	return a.append()
}

// SettleTurns ends, as failed, the turns that an earlier run of the server asked
// and whose end it never wrote, and says how many. It may be called at any time:
// turns under way are not touched.
func (s *Store) SettleTurns(ctx context.Context, now time.Time) (n int, err error) {
	err = s.writeHot(ctx, func(t *tx) error {
		var lost []phone.TurnResult
		err := each(t.Conn, "lostTurns", func(r *row) error {
			j := phone.Job{DeliveryID: r.text(), ProjectID: r.text(), EventType: phone.EventType(r.text()), CreatedAt: fromMicros(r.int64())}
			lost = append(lost, phone.TurnResult{
				Job: &j, CallID: r.text(), Status: phone.Failed, Ended: phone.ErrorTurnLost, Reply: phone.SilentReply(phone.ErrorTurnLost), At: now,
			})
			return nil
		}, t.run)
		if err != nil {
			return err
		}
		n = len(lost)
		for i := range lost {
			if err := answerTurn(ctx, t, &lost[i], &store.Recorded{}); err != nil {
				return err
			}
		}
		return nil
	})
	return n, err
}

// RepeatedTurn answers what a turn with an idempotency key was answered when it
// was accepted, and false where none was since.
func (s *Store) RepeatedTurn(ctx context.Context, projectID, key string, now time.Time) (out phone.Accepted, found bool, err error) {
	err = s.readLoose(ctx, func(c *sqlite.Conn) error {
		found, err = repeated(c, projectID, key, now, &out)
		return err
	})
	return out, found, err
}

// Turn returns one turn of a call; NotFound where there is none.
func (s *Store) Turn(ctx context.Context, projectID, callID, deliveryID string) (out phone.Turn, err error) {
	err = s.readLoose(ctx, func(c *sqlite.Conn) error {
		ok, err := one(c, "turn", func(r *row) { out = readTurn(r) }, projectID, callID, deliveryID)
		return orNotFound(ok, err, "turn", deliveryID)
	})
	return out, err
}
