package sqlite

import (
	"context"
	"encoding/json"
	"time"
	"unicode/utf8"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
)

// idempotencyWindow is how long a key answers a repeat, from the contract.
const idempotencyWindow = 24 * time.Hour

// maxHeldData bounds the data that a job carries in memory, in bytes: lanes stay
// small, and nearly every event fits.
const maxHeldData = 8 << 10

// maxPreview is how many bytes of a message a conversation's preview keeps.
const maxPreview = 160

// Accept takes events in, in order, in one transaction: it finds number, agent
// and conversation, appends the message, binds the webhook by the routing rule
// and inserts event and delivery. An event that cannot be taken has its Err set
// and leaves no trace; the others are not touched by it.
//
// Where room can be reserved for a delivery, it is marked as handed over, and its
// Job is to be given to the dispatcher after this call.
func (s *Store) Accept(ctx context.Context, events []*phone.NewEvent, room store.Room) []phone.Accepted {
	out := make([]phone.Accepted, len(events))
	err := s.write(ctx, func(t *tx) error {
		release(room, out)
		for i, e := range events {
			out[i] = phone.Accepted{}
			a := acceptance{tx: t, event: e, room: room, out: &out[i]}
			if err := a.accept(); phone.CodeOf(err) != "" {
				out[i].Err = err
			} else if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		release(room, out)
		for i := range out {
			out[i] = phone.Accepted{Err: err}
		}
	}
	return out
}

// release returns what was reserved for events that were not written.
func release(room store.Room, out []phone.Accepted) {
	for _, a := range out {
		if a.Job != nil && a.Job.Handed {
			room.Release(a.Job.WebhookID)
		}
	}
}

// acceptance is one event on its way in.
type acceptance struct {
	*tx
	event *phone.NewEvent
	room  store.Room
	out   *phone.Accepted

	number       phone.Number
	agentID      string
	conversation string
	state        []byte
	seq          int64
	earlier      int // messages of the conversation before this event
	data         []byte
}

// accept runs the steps. Those that can refuse the event come first, so that a
// refused one has written nothing.
func (a *acceptance) accept() error {
	if repeated, err := a.repeated(); err != nil || repeated {
		return err
	}
	for _, step := range []func() error{a.resolve, a.converse, a.append, a.insertEvent, a.route, a.remember} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// repeated answers an event whose idempotency key was seen before as then.
func (a *acceptance) repeated() (bool, error) {
	if a.event.IdempotencyKey == "" {
		return false, nil
	}
	var answer string
	since := a.event.At.Add(-idempotencyWindow)
	ok, err := one(a.Conn, "idempotent", func(r *row) { answer = r.text() },
		a.event.ProjectID, a.event.IdempotencyKey, micros(since))
	if err != nil || !ok {
		return false, err
	}
	if err := json.Unmarshal([]byte(answer), a.out); err != nil {
		return false, err
	}
	a.out.Duplicate = true
	return true, nil
}

// resolve finds the number and the agent.
func (a *acceptance) resolve() error {
	e := a.event
	ok, err := one(a.Conn, "numberByPhone", func(r *row) { a.number = readNumber(r) }, e.ProjectID, e.Number)
	if err != nil {
		return err
	}
	if !ok {
		return phone.Errorf(phone.NotFound, "%s is not a number of this project: add it with POST /v1/numbers", e.Number)
	}
	if a.agentID = e.AgentID; a.agentID != "" {
		return agentExists(a.Conn, e.ProjectID, e.AgentID)
	}
	if a.agentID = a.number.AgentID; a.agentID == "" {
		return phone.Errorf(phone.NotFound, "%s is not attached to an agent: attach it with POST /v1/agents/{agent_id}/numbers", e.Number)
	}
	return nil
}

// converse finds or opens the conversation.
func (a *acceptance) converse() error {
	e, adds := a.event, 0
	if e.MessageID != "" {
		adds = 1
	}
	_, err := one(a.Conn, "touchConversation", func(r *row) { a.conversation, a.state, a.earlier = r.text(), r.bytes(), r.int()-adds },
		phone.NewID(phone.PrefixConversation), e.ProjectID, a.agentID, a.number.ID, a.number.PhoneNumber,
		e.Participant, micros(e.At), preview(e.Body), adds)
	return err
}

func preview(s string) string {
	if len(s) <= maxPreview {
		return s
	}
	s = s[:maxPreview]
	for !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s
}

// append adds the message to the history, where there is one, and finds the
// place in the history that this event looks back from.
func (a *acceptance) append() error {
	e := a.event
	if e.MessageID == "" {
		_, err := one(a.Conn, "nextSeq", func(r *row) { a.seq = r.int64() })
		return err
	}
	media := ""
	if len(e.MediaURLs) > 0 {
		b, err := json.Marshal(e.MediaURLs)
		if err != nil {
			return err
		}
		media = string(b)
	}
	from, to := e.Participant, e.Number
	if e.Direction == phone.Outbound {
		from, to = to, from
	}
	_, err := one(a.Conn, "insertMessage", func(r *row) { a.seq = r.int64() },
		e.MessageID, a.conversation, a.number.ID, string(e.Direction), string(e.Channel), from, to, e.Body, media, micros(e.At))
	return err
}

func (a *acceptance) insertEvent() error {
	e := a.event
	*a.out = phone.Accepted{EventID: e.ID, AgentID: a.agentID, MessageID: e.MessageID, ConversationID: a.conversation}
	a.data = e.Data(a.conversation, a.number.ID)
	return exec(a.Conn, "insertEvent", e.ID, e.ProjectID, a.agentID, string(e.Type), string(e.Channel), string(e.Direction),
		a.conversation, e.MessageID, a.data, a.state, a.seq, micros(e.At))
}

// route binds the event to its one webhook and makes the delivery.
func (a *acceptance) route() error {
	e := a.event
	if e.Direction == phone.Outbound {
		return nil
	}
	own, def, err := candidates(a.Conn, e.ProjectID, a.agentID)
	if err != nil {
		return err
	}
	b := phone.Route(own, def)
	if b.Status == phone.Pending && e.Refused != "" {
		b.Status, b.Error = phone.Failed, e.Refused
	}
	job := &phone.Job{
		DeliveryID: phone.DeliveryID(e.ID), ProjectID: e.ProjectID, AgentID: a.agentID,
		ConversationID: a.conversation, MessageID: e.MessageID,
		EventType: e.Type, Channel: e.Channel, Round: 1, CreatedAt: e.At,
	}
	if b.Webhook != nil {
		a.out.DeliveryID, a.out.WebhookID, job.WebhookID = job.DeliveryID, b.Webhook.ID, b.Webhook.ID
	}
	if b.Status == phone.Pending {
		if job.Handed = a.room.Reserve(job.WebhookID); job.Handed {
			a.carry(job, b.Webhook.ContextLimit)
		}
		a.out.Job = job
	}
	return insertDelivery(a.tx, job, b, false, micros(e.At))
}

// carry gives a job what its first attempt is rendered from, so that it need not
// be read again.
func (a *acceptance) carry(j *phone.Job, contextLimit int) {
	if len(a.data)+len(a.state) > maxHeldData {
		return
	}
	e := a.event
	j.Event = &phone.Event{
		ID: e.ID, ProjectID: e.ProjectID, AgentID: a.agentID, Type: e.Type, Channel: e.Channel, Direction: e.Direction,
		ConversationID: a.conversation, MessageID: e.MessageID, Data: a.data, State: a.state, HistoryBefore: a.seq, At: e.At,
	}
	j.ContextLimit = min(contextLimit, a.earlier)
}

// insertDelivery writes a new delivery of a job. next is when it is due.
func insertDelivery(t *tx, j *phone.Job, b phone.Binding, test bool, next int64) error {
	_, limit := target(b)
	handed := int64(0)
	if j.Handed {
		handed = t.run
	}
	if b.Status != phone.Pending {
		next = 0
	}
	created := micros(j.CreatedAt)
	t.count(j.ProjectID, created, string(j.EventType), "", b.Status, 1)
	return exec(t.Conn, "insertDelivery", j.DeliveryID, j.ProjectID, j.AgentID, j.WebhookID, j.ConversationID, j.MessageID,
		string(j.EventType), string(j.Channel), limit, string(b.Status), j.RoundAttempts, handed, next, b.Error, test, created)
}

// remember keeps the answer for repeats of the idempotency key.
func (a *acceptance) remember() error {
	if a.event.IdempotencyKey == "" {
		return nil
	}
	answer := *a.out
	answer.Job = nil
	b, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	return exec(a.Conn, "insertIdempotency", a.event.ProjectID, a.event.IdempotencyKey, string(b), micros(a.event.At))
}

// ForgetIdempotency drops a slice of the keys that are out of their window.
func (s *Store) ForgetIdempotency(ctx context.Context, now time.Time) error {
	return s.write(ctx, func(t *tx) error {
		return exec(t.Conn, "forgetIdempotency", micros(now.Add(-idempotencyWindow)))
	})
}
