package sqlite

import (
	"context"
	"encoding/json"
	"time"
	"unicode/utf8"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
	"zombiezen.com/go/sqlite"
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
	err := s.writeHot(ctx, func(t *tx) error {
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
	room  store.Room // nil for a turn, which is nobody's to send but its caller's
	out   *phone.Accepted

	route        *route
	conversation *conversation
	before       int   // messages of the conversation before this event
	prior        int64 // the last of them, by seq; 0 for none
	history      []phone.Message
	data         []byte
	callKnown    bool
}

// accept runs the steps. Those that can refuse the event come first, so that a
// refused one has written nothing.
func (a *acceptance) accept() error {
	if repeated, err := a.repeated(); err != nil || repeated {
		return err
	}
	for _, step := range []func(*acceptance) error{
		(*acceptance).resolve, (*acceptance).ofItsCall, (*acceptance).converse, (*acceptance).append, (*acceptance).bind,
		(*acceptance).call, (*acceptance).remember,
	} {
		if err := step(a); err != nil {
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
	return repeated(a.Conn, a.event.ProjectID, a.event.IdempotencyKey, a.event.At, a.out)
}

// repeated finds what an idempotency key was answered within its window.
func repeated(c *sqlite.Conn, projectID, key string, now time.Time, out *phone.Accepted) (bool, error) {
	var answer string
	ok, err := one(c, "idempotent", func(r *row) { answer = r.text() }, projectID, key, micros(now.Add(-idempotencyWindow)))
	if err != nil || !ok {
		return false, err
	}
	if err := json.Unmarshal([]byte(answer), out); err != nil {
		return false, err
	}
	out.Duplicate = true
	return true, nil
}

// resolve finds the number, the agent, and the webhook by the routing rule.
func (a *acceptance) resolve() error {
	e := a.event
	k := routeKey{e.ProjectID, e.AgentID, e.Number}
	if r, ok := a.cache.routes.get(k); ok {
		a.route = r
		return nil
	}
	r := &route{agentID: e.AgentID}
	ok, err := one(a.Conn, "numberByPhone", func(row *row) { r.number = readNumber(row) }, e.ProjectID, e.Number)
	switch {
	case err != nil:
		return err
	case !ok:
		return phone.Errorf(phone.NotFound, "%s is not a number of this project: add it with POST /v1/numbers", e.Number)
	case r.agentID != "":
		if err := agentExists(a.Conn, e.ProjectID, r.agentID); err != nil {
			return err
		}
	case r.number.AgentID == "":
		return phone.Errorf(phone.NotFound, "%s is not attached to an agent: attach it with POST /v1/agents/{agent_id}/numbers", e.Number)
	default:
		r.agentID = r.number.AgentID
	}
	c, err := candidatesFor(a.Conn, e.ProjectID, r.agentID)
	if err != nil {
		return err
	}
	r.binding = phone.Route(c.listener, c.own, c.def)
	a.cache.routes.put(k, r)
	a.route = r
	return nil
}

// converse finds or opens the conversation, and counts the message.
func (a *acceptance) converse() error {
	e := a.event
	adds := e.MessageID != ""
	k := conversationKey{a.route.number.ID, e.Participant}
	c, known := a.cache.conversations.get(k)
	if !known {
		c, known = a.cache.lag.conversations[k]
	}
	if !known {
		c = &conversation{}
		var err error
		known, err = one(a.Conn, "findConversation", func(r *row) {
			c.id, c.agentID, c.state, c.count, c.lastAt, c.preview, c.last = r.text(), r.text(), r.bytes(), r.int(), r.int64(), r.text(), r.int64()
		}, k.numberID, k.participant)
		if err != nil {
			return err
		}
		if !known {
			c.id, c.lastAt, c.preview = phone.NewID(phone.PrefixConversation), micros(e.At), preview(e.Body)
		}
		a.cache.conversations.put(k, c)
	}
	a.conversation, a.before, a.prior = c, c.count, c.last
	moved := c.agentID != a.route.agentID
	if known && !adds && !moved {
		return nil
	}
	c.agentID = a.route.agentID
	if adds {
		var err error
		if c.last, err = a.nextSeq(); err != nil {
			return err
		}
		c.count, c.lastAt, c.preview = c.count+1, max(c.lastAt, micros(e.At)), preview(e.Body)
	}
	switch {
	case known && moved:
		return c.write(a.tx)
	case known:
		a.behind(k, c)
		return nil
	}
	return exec(a.Conn, "openConversation", c.id, e.ProjectID, c.agentID, k.numberID, a.route.number.PhoneNumber, k.participant,
		c.count, c.lastAt, c.preview, c.last, micros(e.At))
}

// nextSeq is the place of the next message among all messages.
func (t *tx) nextSeq() (int64, error) {
	last, err := t.lastSeq()
	if err != nil {
		return 0, err
	}
	t.cache.seq = last + 1
	return t.cache.seq, nil
}

func (t *tx) lastSeq() (int64, error) {
	if t.cache.seq == 0 {
		if _, err := one(t.Conn, "lastSeq", func(r *row) { t.cache.seq = r.int64() }); err != nil {
			return 0, err
		}
	}
	return t.cache.seq, nil
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

// append takes the history that this event looks back on, and adds its message.
func (a *acceptance) append() error {
	e, c := a.event, a.conversation
	if err := a.lookBack(); err != nil || e.MessageID == "" {
		return err
	}
	m := phone.Message{
		Seq: int64(c.count), ID: e.MessageID, ConversationID: c.id, NumberID: a.route.number.ID, Direction: e.Direction,
		Channel: e.Channel, From: e.Participant, To: e.Number, Body: e.Body, MediaURLs: e.MediaURLs, At: e.At,
	}
	if e.Direction == phone.Outbound {
		m.From, m.To = m.To, m.From
	}
	media := ""
	if len(e.MediaURLs) > 0 {
		b, err := json.Marshal(e.MediaURLs)
		if err != nil {
			return err
		}
		media = string(b)
	}
	c.add(m)
	return exec(a.Conn, "insertMessage", c.last, a.prior, c.id, c.count, m.ID, m.NumberID, string(m.Direction), string(m.Channel),
		m.From, m.To, m.Body, media, micros(m.At))
}

// lookBack finds the history in memory, or reads it once.
func (a *acceptance) lookBack() error {
	e, c := a.event, a.conversation
	if e.Direction == phone.Outbound || a.route.binding.Status != phone.Pending || e.Type == phone.EventCallEnded {
		return nil
	}
	need := min(a.route.binding.Webhook.ContextLimit, a.before)
	c.need = need
	if len(c.tail) < need {
		tail, err := history(a.Conn, c.id, a.prior, need)
		if err != nil {
			return err
		}
		c.tail = nil
		for _, m := range tail {
			c.add(m)
		}
		a.history = tail
		return nil
	}
	a.history = c.tail[len(c.tail)-need : len(c.tail) : len(c.tail)]
	return nil
}

// bind writes the event: with its delivery, or alone where it goes to nobody.
func (a *acceptance) bind() error {
	e, c := a.event, a.conversation
	a.data = e.Data(c.id, a.route.number.ID)
	*a.out = phone.Accepted{EventID: e.ID, AgentID: a.route.agentID, MessageID: e.MessageID, ConversationID: c.id}
	event := phone.Event{
		ID: e.ID, ProjectID: e.ProjectID, AgentID: a.route.agentID, Type: e.Type, Channel: e.Channel, Direction: e.Direction,
		ConversationID: c.id, MessageID: e.MessageID, Data: a.data, State: c.state, HistoryBefore: int64(a.before) + 1, At: e.At,
	}
	if e.Direction == phone.Outbound {
		return exec(a.Conn, "insertEvent", e.ID, e.ProjectID, event.AgentID, string(e.Type), string(e.Channel), string(e.Direction),
			c.id, e.MessageID, a.data, c.state, event.HistoryBefore, micros(e.At))
	}
	b := a.route.binding
	job := &phone.Job{
		DeliveryID: phone.DeliveryID(e.ID), ProjectID: e.ProjectID, AgentID: event.AgentID,
		ConversationID: c.id, MessageID: e.MessageID,
		EventType: e.Type, Channel: e.Channel, Round: 1, CreatedAt: e.At,
	}
	next := micros(e.At)
	if b.Webhook != nil {
		a.out.DeliveryID, a.out.WebhookID, job.WebhookID = job.DeliveryID, b.Webhook.ID, b.Webhook.ID
	}
	switch {
	case e.IsTurn():
		next = 0
		a.bindTurn(b, job, event)
	case b.Status == phone.Pending:
		if job.Handed = a.room.Reserve(job.WebhookID); job.Handed {
			next = 0
			a.carry(job, event)
		}
		a.out.Job, job.Webhook = job, b.Webhook
	}
	return insertDelivery(a.tx, job, event, a.prior, b, false, next)
}

// bindTurn binds a turn: it is held by its caller from the first, or has ended.
func (a *acceptance) bindTurn(b phone.Binding, job *phone.Job, event phone.Event) {
	a.out.NumberID, a.out.CallID = a.route.number.ID, a.event.Call.ID
	switch b.Status {
	case phone.Pending:
		w := *b.Webhook
		job.Handed, job.Event, job.History = true, &event, a.history
		a.out.Job, a.out.Webhook = job, &w
	case phone.Unrouted:
		a.out.Refused = phone.ErrorTurnUnrouted
	default:
		a.out.Refused = b.Error
	}
}

// carry gives a job what its first attempt is rendered from, so that it need not
// be read again.
func (a *acceptance) carry(j *phone.Job, e phone.Event) {
	size := len(e.Data) + len(e.State)
	for _, m := range a.history {
		size += len(m.Body)
	}
	if size <= maxHeldData {
		j.Event, j.History = &e, a.history
	}
}

// insertDelivery writes a new delivery of a job with its event. prior is where its
// history begins, by seq, or noPrior; next is when it is due, and 0 says that the
// dispatcher holds it.
func insertDelivery(t *tx, j *phone.Job, e phone.Event, prior int64, b phone.Binding, test bool, next int64) error {
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
	if err := t.list(listing{j.AgentID, created, j.DeliveryID}); err != nil {
		return err
	}
	return exec(t.Conn, "insertDelivery", j.DeliveryID, j.ProjectID, j.AgentID, j.WebhookID, j.ConversationID, j.MessageID,
		string(j.EventType), string(j.Channel), string(e.Direction), limit, e.HistoryBefore, string(b.Status), j.RoundAttempts, handed,
		next, b.Error, test, created, e.Data, e.State, isStrict(b), prior)
}

// isStrict says whether a binding's webhook asks for strict order.
func isStrict(b phone.Binding) bool {
	return b.Webhook != nil && b.Webhook.Ordering == phone.OrderStrict
}

// remember keeps the answer for repeats of the idempotency key.
func (a *acceptance) remember() error {
	if a.event.IdempotencyKey == "" {
		return nil
	}
	answer := *a.out
	b, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	return exec(a.Conn, "insertIdempotency", a.event.ProjectID, a.event.IdempotencyKey, string(b), micros(a.event.At))
}

// ForgetIdempotency drops a slice of the keys that are out of their window.
func (s *Store) ForgetIdempotency(ctx context.Context, now time.Time) error {
	return s.writeHot(ctx, func(t *tx) error {
		return exec(t.Conn, "forgetIdempotency", micros(now.Add(-idempotencyWindow)))
	})
}
