package postgres

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
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
// The statements are the same few for any number of events of a project, and go to
// the database in three round trips: who the events are for, under the lock that
// keeps this from changing, or whether what is remembered of it still holds; their
// conversations, whose rows stay locked; and all that is written, with the history
// that is read, and the commit. There is one more where routing has changed, and one
// where conversations were another run's.
//
// Where room can be reserved for a delivery, it is marked as handed over, and its
// Job is to be given to the dispatcher after this call.
func (s *Store) Accept(ctx context.Context, events []*phone.NewEvent, room store.Room) []phone.Accepted {
	if out, apart := s.acceptApart(ctx, events, room); apart {
		return out
	}
	out := make([]phone.Accepted, len(events))
	var groups []*acceptance
	err := s.writeIn(ctx, slotAccept, func(t *tx) (err error) {
		release(room, out)
		clear(out)
		groups = byProject(s, events, room, out)
		return accept(t, groups)
	})
	if err == nil {
		for _, a := range groups {
			a.carry()
		}
		s.getToKnow(len(events))
		return out
	}
	release(room, out)
	if errors.Is(err, errInDoubt) {
		var jobs []*phone.Job
		for _, a := range out {
			if a.Job != nil && a.Job.Handed {
				jobs = append(jobs, a.Job)
			}
		}
		s.perhapsHeld(jobs)
	}
	if len(events) > 1 && phone.CodeOf(err) == phone.BadRequest {
		// One of them is at fault: let it be the only one that fails.
		for i := range events {
			out[i] = s.Accept(ctx, events[i:i+1], room)[0]
		}
		return out
	}
	for i := range out {
		out[i] = phone.Accepted{Err: err}
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

// acceptance is one project's events on their way in.
type acceptance struct {
	store     *Store
	projectID string
	room      store.Room
	events    []*entering
	// by what events say of where they belong, and by their conversation
	routes        map[routeKey]*route
	remembered    *routing
	change        int64 // of the project's routing, the last one
	conversations map[conversationKey]*conversation
	// given are webhooks of which others gave this run something that it has not heard of.
	given map[string]bool
	// answers are those of idempotency keys seen before, by key.
	answers map[string]answer
	// calls are the numbers of the calls that turns are of, where they have begun.
	calls map[string]string
}

// entering is one event on its way in.
type entering struct {
	*phone.NewEvent
	out *phone.Accepted
	// first is the event of this batch whose idempotency key it repeats.
	first *entering

	route        *route
	conversation *conversation
	before       int64 // messages of the conversation before this event
	history      int   // how many of them its delivery is rendered with
	message      phone.Message
	event        phone.Event
	binding      phone.Binding
}

type routeKey struct{ agentID, number string }

// route is where an event belongs, and which webhook it is bound to.
type route struct {
	numberID, numberAgent string
	agentKnown            bool
	agentID               string
	candidates
	binding phone.Binding
}

type conversationKey struct{ numberID, participant string }

type answer struct {
	text string
	at   int64
}

// byProject groups events, each group in their order.
func byProject(s *Store, events []*phone.NewEvent, room store.Room, out []phone.Accepted) []*acceptance {
	groups := map[string]*acceptance{}
	for i, e := range events {
		a := groups[e.ProjectID]
		if a == nil {
			a = &acceptance{
				store: s, projectID: e.ProjectID, room: room, routes: map[routeKey]*route{},
				conversations: map[conversationKey]*conversation{}, given: map[string]bool{}, answers: map[string]answer{},
			}
			groups[e.ProjectID] = a
		}
		a.events = append(a.events, &entering{NewEvent: e, out: &out[i]})
	}
	// Locks are taken in this order everywhere.
	return slices.SortedFunc(maps.Values(groups), func(a, b *acceptance) int { return cmp.Compare(a.projectID, b.projectID) })
}

// accept runs the steps. Each sends what all projects have to say together.
func accept(t *tx, groups []*acceptance) error {
	for i, step := range []func(*acceptance, *tx) error{(*acceptance).ask, (*acceptance).askAnew, (*acceptance).converse, (*acceptance).claim, (*acceptance).askOwners, (*acceptance).write} {
		if i > 0 {
			// What the step before asked; the last step is sent with the commit.
			if err := t.flush(); err != nil {
				return err
			}
		}
		for _, a := range groups {
			if err := step(a, t); err != nil {
				return err
			}
		}
	}
	return nil
}

// ask asks who the events are for, and which were seen before.
func (a *acceptance) ask(t *tx) error {
	t.shareProject(a.projectID)
	later(t, "routing", func(r *row) error { a.change = r.int64(); return nil }, a.projectID)
	var keys []string
	a.remembered = a.store.routes.get(a.projectID)
	known := true
	for _, e := range a.events {
		if e.IdempotencyKey != "" {
			keys = append(keys, e.IdempotencyKey)
		}
		k := routeKey{e.AgentID, e.Number}
		if a.routes[k] == nil {
			a.routes[k] = a.remembered.routes[k]
			known = known && a.routes[k] != nil
		}
	}
	if len(keys) > 0 {
		later(t, "idempotent", func(r *row) error { a.answers[r.text()] = answer{r.text(), r.int64()}; return nil }, a.projectID, keys)
	}
	a.askCalls(t)
	if !known {
		a.remembered = nil
		a.askRoutes(t)
	}
	return nil
}

// askAnew asks who the events are for, where what is remembered of it has changed.
func (a *acceptance) askAnew(t *tx) error {
	if a.remembered != nil && a.remembered.change != a.change {
		a.remembered = nil
		a.askRoutes(t)
	}
	return nil
}

func (a *acceptance) askRoutes(t *tx) {
	pairs := slices.Collect(maps.Keys(a.routes))
	for _, k := range pairs {
		a.routes[k] = &route{}
	}
	later(t, "routes", func(r *row) error {
		k := pairs[r.int()-1]
		to := a.routes[k]
		to.numberID, to.numberAgent, to.agentKnown = r.text(), r.text(), r.bool()
		to.agentID = k.agentID
		if to.agentID == "" {
			to.agentID = to.numberAgent
		}
		if !r.bool() {
			return nil
		}
		switch w := readWebhook(r); {
		case w.Listener && w.AgentID != "":
			to.listener = &w
		case w.AgentID != "":
			to.own = &w
		case !w.Listener:
			to.def = &w
		}
		return nil
	}, a.projectID, column(pairs, func(k routeKey) string { return k.agentID }), column(pairs, func(k routeKey) string { return k.number }))
}

// converse answers repeats, refuses what cannot be taken, and finds or opens the
// conversations of the rest.
func (a *acceptance) converse(t *tx) error {
	if a.remembered == nil {
		for _, r := range a.routes {
			r.binding = phone.Route(r.listener, r.own, r.def)
		}
		a.store.routes.add(a.projectID, a.change, a.routes)
	}
	firsts := map[string]*entering{}
	taken := a.events[:0]
	for _, e := range a.events {
		if e.first = firsts[e.IdempotencyKey]; e.first != nil {
			taken = append(taken, e)
			continue
		}
		repeated, err := a.repeated(e)
		if err != nil {
			return err
		}
		if repeated {
			continue
		}
		if e.out.Err = a.resolve(e); e.out.Err != nil {
			continue
		}
		if e.IdempotencyKey != "" {
			firsts[e.IdempotencyKey] = e
		}
		taken = append(taken, e)
		a.join(e)
	}
	a.events = taken
	a.touch(t)
	return nil
}

// repeated answers an event whose idempotency key was seen before as then.
func (a *acceptance) repeated(e *entering) (bool, error) {
	seen, ok := a.answers[e.IdempotencyKey]
	if !ok || e.IdempotencyKey == "" || seen.at <= micros(e.At.Add(-idempotencyWindow)) {
		return false, nil
	}
	if err := json.Unmarshal([]byte(seen.text), e.out); err != nil {
		return false, err
	}
	e.out.Duplicate = true
	return true, nil
}

// resolve finds out where an event belongs, or why it cannot be taken.
func (a *acceptance) resolve(e *entering) error {
	e.route = a.routes[routeKey{e.AgentID, e.Number}]
	switch r := e.route; {
	case r.numberID == "":
		return phone.Errorf(phone.NotFound, "%s is not a number of this project: add it with POST /v1/numbers", e.Number)
	case e.AgentID != "" && !r.agentKnown:
		return orNotFound(false, nil, "agent", e.AgentID)
	case !r.agentKnown:
		return phone.Errorf(phone.NotFound, "%s is not attached to an agent: attach it with POST /v1/agents/{agent_id}/numbers", e.Number)
	}
	return a.ofItsCall(e)
}

// join adds an event to its conversation.
func (a *acceptance) join(e *entering) {
	k := conversationKey{e.route.numberID, e.Participant}
	c := a.conversations[k]
	if c == nil {
		c = &conversation{conversationKey: k, number: e.Number, firstAt: micros(e.At), lastAt: micros(e.At), preview: preview(e.Body)}
		a.conversations[k] = c
	}
	e.conversation, c.agentID = c, e.route.agentID
	e.before = c.adds // until the conversation is known
	if e.MessageID != "" {
		if c.adds == 0 {
			c.lastAt = micros(e.At)
		}
		c.adds, c.lastAt, c.preview = c.adds+1, max(c.lastAt, micros(e.At)), preview(e.Body)
	}
}

func preview(s string) []byte {
	if len(s) <= maxPreview {
		return []byte(s)
	}
	s = s[:maxPreview]
	for !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return []byte(s)
}

// touch finds or opens the conversations, and counts their messages.
func (a *acceptance) touch(t *tx) {
	if len(a.conversations) == 0 {
		return
	}
	all := slices.SortedFunc(maps.Values(a.conversations), func(x, y *conversation) int {
		return cmp.Or(cmp.Compare(x.numberID, y.numberID), cmp.Compare(x.participant, y.participant))
	})
	later(t, "touchConversations", func(r *row) error {
		c := a.conversations[conversationKey{r.text(), r.text()}]
		c.id, c.state, c.before, c.owner = r.text(), r.bytes(), r.int64()-c.adds, r.int64()
		return nil
	}, a.projectID,
		column(all, func(*conversation) string { return phone.NewID(phone.PrefixConversation) }),
		column(all, func(c *conversation) string { return c.agentID }),
		column(all, func(c *conversation) string { return c.numberID }),
		column(all, func(c *conversation) string { return c.number }),
		column(all, func(c *conversation) string { return c.participant }),
		column(all, func(c *conversation) int64 { return c.adds }),
		column(all, func(c *conversation) int64 { return c.lastAt }),
		column(all, func(c *conversation) []byte { return c.preview }),
		column(all, func(c *conversation) int64 { return c.firstAt }), t.run)
	// What others gave this run of a conversation comes before what follows now. They
	// did it under the conversation's lock, so from here on it can be seen.
	later(t, "givenTo", func(r *row) error { a.given[r.text()] = true; return nil }, a.projectID, t.run)
}

// claim takes conversations over that were another run's, where nothing of them is
// pending: they are this run's from now on. What is pending of the others, all of it,
// is owned by the run that their row names.
func (a *acceptance) claim(t *tx) error {
	byID := map[string]*conversation{}
	for _, c := range a.conversations {
		if c.owner != t.run {
			byID[c.id] = c
		}
	}
	if len(byID) > 0 {
		later(t, "ownFree", func(r *row) error {
			byID[r.text()].owner = t.run
			return nil
		}, a.projectID, slices.Sorted(maps.Keys(byID)), t.run)
	}
	return nil
}

// askOwners asks who owns what is pending of conversations whose row names nobody:
// they were moved here from SQLite, or are older than the column.
func (a *acceptance) askOwners(t *tx) error {
	byID := map[string]*conversation{}
	for _, c := range a.conversations {
		if c.owner == 0 {
			byID[c.id] = c
		}
	}
	if len(byID) > 0 {
		later(t, "pendingOwners", func(r *row) error { byID[r.text()].owner = r.int64(); return nil }, a.projectID, slices.Sorted(maps.Keys(byID)))
	}
	return nil
}

// write has everything written: messages, deliveries, events that go to nobody,
// and the answers for repeats.
func (a *acceptance) write(t *tx) error {
	to := map[given]bool{}
	var messages, deliveries, events []*entering
	for _, e := range a.events {
		if e.first != nil {
			continue
		}
		e.before += e.conversation.before
		if e.MessageID != "" {
			e.message = e.newMessage()
			messages = append(messages, e)
		}
		a.bind(e, t.run)
		if err := e.call(t); err != nil {
			return err
		}
		if j := e.out.Job; j != nil && j.Run != t.run && e.binding.Status == phone.Pending {
			to[given{j.Run, j.WebhookID}] = true
		}
		if e.Direction == phone.Outbound {
			events = append(events, e)
		} else {
			deliveries = append(deliveries, e)
		}
	}
	a.lookBack(t)
	if err := insertMessages(t, a.projectID, messages); err != nil {
		return err
	}
	t.give(a.projectID, to)
	insertEvents(t, a.projectID, events)
	insertDeliveries(t, a.projectID, column(deliveries, func(e *entering) newDelivery {
		d := newDelivery{e.out.Job, e.event, e.binding, false, micros(e.At)}
		if d.job.Handed {
			d.next = 0
		}
		return d
	}))
	return a.remember(t)
}

func (e *entering) newMessage() phone.Message {
	m := phone.Message{
		Seq: e.before + 1, ID: e.MessageID, ConversationID: e.conversation.id, NumberID: e.route.numberID, Direction: e.Direction,
		Channel: e.Channel, From: e.Participant, To: e.Number, Body: e.Body, MediaURLs: e.MediaURLs, At: e.At,
	}
	if e.Direction == phone.Outbound {
		m.From, m.To = m.To, m.From
	}
	return m
}

// bind completes the event, and decides what is done with it: what the run itself
// owns may go into its memory.
func (a *acceptance) bind(e *entering, run int64) {
	agentID, c := e.route.agentID, e.conversation
	*e.out = phone.Accepted{EventID: e.ID, AgentID: agentID, MessageID: e.MessageID, ConversationID: c.id}
	e.event = phone.Event{
		ID: e.ID, ProjectID: e.ProjectID, AgentID: agentID, Type: e.Type, Channel: e.Channel, Direction: e.Direction,
		ConversationID: c.id, MessageID: e.MessageID, Data: e.Data(c.id, e.route.numberID), State: c.state,
		HistoryBefore: e.before + 1, At: e.At,
	}
	if e.Direction == phone.Outbound {
		return
	}
	e.binding = e.route.binding
	job := &phone.Job{
		DeliveryID: phone.DeliveryID(e.ID), ProjectID: e.ProjectID, AgentID: agentID, ConversationID: c.id, MessageID: e.MessageID,
		EventType: e.Type, Channel: e.Channel, Round: 1, CreatedAt: e.At, Run: c.owner,
	}
	if w := e.binding.Webhook; w != nil {
		e.out.DeliveryID, e.out.WebhookID, job.WebhookID = job.DeliveryID, w.ID, w.ID
	}
	e.out.Job = job
	if e.IsTurn() {
		// It is nobody's to send but of who asks.
		job.Run = run
		e.bindTurn(job)
		return
	}
	if e.binding.Status != phone.Pending {
		return
	}
	job.Webhook = e.binding.Webhook
	if at := listenerRun(job.Webhook); at != 0 {
		job.Run = at
	}
	if e.Type != phone.EventCallEnded {
		e.history = int(min(int64(e.binding.Webhook.ContextLimit), e.before))
	}
	job.Handed = job.Run == run && !a.given[job.WebhookID] && a.room.Reserve(job.WebhookID)
}

// remember keeps the answers for repeats of their idempotency keys.
func (a *acceptance) remember(t *tx) error {
	var keys, answers, dropped []string
	var at []int64
	for _, e := range a.events {
		if e.IdempotencyKey == "" || e.first != nil {
			continue
		}
		text, err := json.Marshal(*e.out)
		if err != nil {
			return err
		}
		if _, old := a.answers[e.IdempotencyKey]; old {
			dropped = append(dropped, e.IdempotencyKey)
		}
		keys, answers, at = append(keys, e.IdempotencyKey), append(answers, string(text)), append(at, micros(e.At))
	}
	if len(dropped) > 0 {
		exec(t, "dropIdempotency", a.projectID, dropped)
	}
	if len(keys) > 0 {
		// Where another node writes the same key at this moment, one of the two fails
		// on the primary key, and is done again: then it is a repeat.
		exec(t, "insertIdempotency", a.projectID, keys, answers, at)
	}
	return nil
}

// carry gives jobs, once they are on disk, what their first attempt is rendered
// from, so that it need not be read again; and answers repeats.
func (a *acceptance) carry() {
	for _, e := range a.events {
		if e.first != nil {
			*e.out = *e.first.out
			e.out.Duplicate, e.out.Job = true, nil
			continue
		}
		history := e.conversation.lookBack(e)
		if e.MessageID != "" {
			e.conversation.tail = append(e.conversation.tail, e.message)
		}
		job := e.out.Job
		if e.binding.Status != phone.Pending {
			e.out.Job = nil
			continue
		}
		size := len(e.event.Data) + len(e.event.State)
		for _, m := range history {
			size += len(m.Body)
		}
		if job.Handed && (size <= maxHeldData || e.IsTurn()) {
			job.Event, job.History = &e.event, history
		}
	}
	for _, c := range a.conversations {
		a.store.tails.keep(c)
	}
}

func insertMessages(t *tx, projectID string, all []*entering) error {
	if len(all) == 0 {
		return nil
	}
	media := make([]string, len(all))
	for i, e := range all {
		if len(e.MediaURLs) > 0 {
			b, err := json.Marshal(e.MediaURLs)
			if err != nil {
				return err
			}
			media[i] = string(b)
		}
	}
	return exec(t, "insertMessages", projectID,
		column(all, func(e *entering) string { return e.message.ConversationID }),
		column(all, func(e *entering) int64 { return e.message.Seq }),
		column(all, func(e *entering) string { return e.message.ID }),
		column(all, func(e *entering) string { return e.message.NumberID }),
		column(all, func(e *entering) string { return string(e.message.Direction) }),
		column(all, func(e *entering) string { return string(e.message.Channel) }),
		column(all, func(e *entering) string { return e.message.From }),
		column(all, func(e *entering) string { return e.message.To }),
		column(all, func(e *entering) []byte { return []byte(e.message.Body) }),
		media,
		column(all, func(e *entering) int64 { return micros(e.message.At) }))
}

func insertEvents(t *tx, projectID string, all []*entering) {
	if len(all) == 0 {
		return
	}
	exec(t, "insertEvents", projectID,
		column(all, func(e *entering) string { return e.event.ID }),
		column(all, func(e *entering) string { return e.event.AgentID }),
		column(all, func(e *entering) string { return string(e.event.Type) }),
		column(all, func(e *entering) string { return string(e.event.Channel) }),
		column(all, func(e *entering) string { return string(e.event.Direction) }),
		column(all, func(e *entering) string { return e.event.ConversationID }),
		column(all, func(e *entering) string { return e.event.MessageID }),
		column(all, func(e *entering) []byte { return e.event.Data }),
		column(all, func(e *entering) []byte { return e.event.State }),
		column(all, func(e *entering) int64 { return e.event.HistoryBefore }),
		column(all, func(e *entering) int64 { return micros(e.event.At) }))
}

// newDelivery is a delivery of a job with its event.
type newDelivery struct {
	job     *phone.Job
	event   phone.Event
	binding phone.Binding
	test    bool
	next    int64 // when it is due; 0 says that the dispatcher holds it
}

func insertDeliveries(t *tx, projectID string, all []newDelivery) {
	if len(all) == 0 {
		return
	}
	for _, d := range all {
		t.count(projectID, micros(d.job.CreatedAt), string(d.job.EventType), "", d.binding.Status, 1)
	}
	ifSet := func(set func(newDelivery) bool, value func(newDelivery) int64) []int64 {
		return column(all, func(d newDelivery) int64 {
			if !set(d) {
				return 0
			}
			return value(d)
		})
	}
	owner := func(d newDelivery) int64 { return d.job.Run }
	waits := func(d newDelivery) bool { return d.binding.Status == phone.Pending }
	exec(t, "insertDeliveries", projectID,
		column(all, func(d newDelivery) string { return d.job.DeliveryID }),
		column(all, func(d newDelivery) string { return d.job.AgentID }),
		column(all, func(d newDelivery) string { return d.job.WebhookID }),
		column(all, func(d newDelivery) string { return d.job.ConversationID }),
		column(all, func(d newDelivery) string { return d.job.MessageID }),
		column(all, func(d newDelivery) string { return string(d.job.EventType) }),
		column(all, func(d newDelivery) string { return string(d.job.Channel) }),
		column(all, func(d newDelivery) string { return string(d.event.Direction) }),
		column(all, func(d newDelivery) int { _, limit := target(d.binding); return limit }),
		column(all, func(d newDelivery) int64 { return d.event.HistoryBefore }),
		column(all, func(d newDelivery) string { return string(d.binding.Status) }),
		column(all, func(d newDelivery) int { return d.job.RoundAttempts }),
		ifSet(waits, owner),
		ifSet(func(d newDelivery) bool { return d.job.Handed }, owner),
		ifSet(waits, func(d newDelivery) int64 { return d.next }),
		column(all, func(d newDelivery) string { return d.binding.Error }),
		column(all, func(d newDelivery) bool { return d.test }),
		column(all, func(d newDelivery) bool { return isStrict(d.binding) }),
		column(all, func(d newDelivery) int64 { return micros(d.job.CreatedAt) }),
		column(all, func(d newDelivery) []byte { return d.event.Data }),
		column(all, func(d newDelivery) []byte { return d.event.State }))
}

// isStrict says whether a binding's webhook asks for strict order.
func isStrict(b phone.Binding) bool {
	return b.Webhook != nil && b.Webhook.Ordering == phone.OrderStrict
}

// ForgetIdempotency drops a slice of the keys that are out of their window.
func (s *Store) ForgetIdempotency(ctx context.Context, now time.Time) error {
	// It is called every minute: what else is to be done now and then is done here.
	if err := s.lookAhead(ctx, now); err != nil {
		return err
	}
	return s.write(ctx, func(t *tx) error {
		return exec(t, "forgetIdempotency", micros(now.Add(-idempotencyWindow)))
	})
}
