package postgres

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
)

// Due hands up to limit of a webhook's due deliveries to the dispatcher, oldest
// first: of those that this run owns. They are held from then on, and marked as
// handed over before this returns: each may have been sent, whatever happens to the
// process. Where the order is strict, what comes behind a delivery that waits for
// its next attempt is made to wait as long.
//
// Calls that come while another of their project is being answered wait for it, and
// are answered together: what a node was given of a hundred webhooks costs it hardly
// more than what it was given of one.
func (s *Store) Due(ctx context.Context, webhookID string, now time.Time, limit int, strict bool) (store.Batch, error) {
	projectID, err := s.projectOf(ctx, webhookID)
	if err != nil || projectID == "" {
		return store.Batch{}, err
	}
	c := &dueCall{webhookID: webhookID, now: now, limit: limit, strict: strict, done: make(chan struct{}), lead: make(chan struct{})}
	if s.dues.add(projectID, c) {
		s.answer(ctx, projectID)
	}
	select {
	case <-c.done:
	case <-c.lead:
		s.answer(ctx, projectID)
		<-c.done
	}
	return c.batch, c.err
}

// dueCall is a call of Due.
type dueCall struct {
	webhookID string
	now       time.Time
	limit     int
	strict    bool

	done  chan struct{} // closed once what follows is the answer
	batch store.Batch
	err   error
	rows  []dueRow
	// locked says that nobody takes what is pending of the webhook out of hands.
	locked bool

	lead chan struct{} // closed where this call is to answer those that wait
}

// dueCalls are the calls of Due that wait, by project. A project that is in it has one
// call that answers.
type dueCalls struct {
	mu      sync.Mutex
	waiting map[string][]*dueCall
}

// add has a call wait, and says whether it is the one to answer.
func (w *dueCalls) add(projectID string, c *dueCall) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting == nil {
		w.waiting = map[string][]*dueCall{}
	}
	waiting, busy := w.waiting[projectID]
	w.waiting[projectID] = append(waiting, c)
	return !busy
}

// take returns those that wait, each webhook once.
func (w *dueCalls) take(projectID string) (now []*dueCall) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var later []*dueCall
	seen := map[string]bool{}
	for _, c := range w.waiting[projectID] {
		if seen[c.webhookID] {
			later = append(later, c)
			continue
		}
		seen[c.webhookID] = true
		now = append(now, c)
	}
	w.waiting[projectID] = later
	return now
}

// pass has the first of those that came meanwhile answer the next.
func (w *dueCalls) pass(projectID string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if waiting := w.waiting[projectID]; len(waiting) > 0 {
		close(waiting[0].lead)
	} else {
		delete(w.waiting, projectID)
	}
}

// answer answers the calls that wait for a project's deliveries.
func (s *Store) answer(ctx context.Context, projectID string) {
	defer s.dues.pass(projectID)
	// Whoever comes first answers others too: that it gives up is not their concern.
	s.answerThese(context.WithoutCancel(ctx), projectID, s.dues.take(projectID), false)
}

// answerThese answers calls, each of another webhook. Those whose webhook is being
// changed wait for that by themselves, unless they are to be waited for.
func (s *Store) answerThese(ctx context.Context, projectID string, all []*dueCall, wait bool) {
	var histories tails
	err := s.writeIn(ctx, slotRecord, func(t *tx) (err error) {
		histories, err = s.takeDue(t, projectID, all, wait)
		return err
	})
	if errors.Is(err, errInDoubt) {
		for _, c := range all {
			s.perhapsHeld(c.batch.Jobs)
		}
	}
	if err != nil {
		for _, c := range all {
			c.batch, c.err = store.Batch{}, err
			close(c.done)
		}
		return
	}
	for id, tail := range histories {
		s.tails.remember(id, *tail)
	}
	for _, c := range all {
		if !c.locked {
			go s.answerThese(ctx, projectID, []*dueCall{c}, true)
			continue
		}
		for i := range c.rows {
			c.rows[i].carry(histories)
		}
		close(c.done)
	}
}

// maxTaken bounds what calls are answered with together, so that a transaction stays
// short; each gets minTaken at least, and asks again where there is more.
const (
	maxTaken = 2048
	minTaken = 16
)

// takeDue answers calls, and returns the history that goes with the jobs. Unless it is
// to wait, those whose webhook is being changed are left unlocked, without an answer.
func (s *Store) takeDue(t *tx, projectID string, all []*dueCall, wait bool) (tails, error) {
	byWebhook, ids := map[string]*dueCall{}, webhooksOf(all)
	for _, c := range all {
		c.batch, c.rows, c.locked = store.Batch{}, nil, false
		c.limit = min(c.limit, max(minTaken, maxTaken/len(all)))
		byWebhook[c.webhookID] = c
	}
	share := "shareFreeWebhooks"
	if wait {
		share = "shareWebhooks"
	}
	later(t, share, func(r *row) error { byWebhook[r.text()].locked = true; return nil }, ids)
	settling := map[string]bool{}
	later(t, "settling", func(r *row) error { settling[r.text()] = true; return nil }, projectID, ids)
	err := each(t, "due", func(r *row) error {
		d := readDue(r)
		c := byWebhook[d.WebhookID]
		c.rows = append(c.rows, d)
		return nil
	}, projectID, ids, column(all, func(c *dueCall) int64 { return micros(c.now) }), column(all, func(c *dueCall) int { return c.limit }), t.run, maxHeldData)
	if err != nil {
		return nil, err
	}
	// What is being settled is nobody's to send.
	var open []*dueCall
	for _, c := range all {
		if !c.locked || settling[c.webhookID] {
			c.rows = nil
			continue
		}
		open = append(open, c)
		slices.SortFunc(c.rows, func(a, b dueRow) int {
			return cmp.Or(cmp.Compare(a.next, b.next), cmp.Compare(a.DeliveryID, b.DeliveryID))
		})
		c.batch.More = len(c.rows) == c.limit
		c.rows = s.withoutDoubt(c.rows)
	}
	if err := deferBlocked(t, projectID, open); err != nil {
		return nil, err
	}
	var taken []dueRow
	var rest []*dueCall
	for _, c := range open {
		for i := range c.rows {
			c.rows[i].Handed, c.rows[i].Run = true, t.run
			c.batch.Jobs = append(c.batch.Jobs, &c.rows[i].Job)
		}
		taken = append(taken, c.rows...)
		if !c.batch.More {
			rest = append(rest, c)
		}
	}
	var histories tails
	if len(taken) > 0 {
		exec(t, "hold", projectID, column(taken, func(j dueRow) string { return j.DeliveryID }), t.run)
		histories = s.readHistories(t, projectID, taken)
	}
	if len(rest) > 0 {
		later(t, "nextDue", func(r *row) error { byWebhook[r.text()].batch.NextDue = fromMicros(r.int64()); return nil }, projectID, webhooksOf(rest), t.run)
	}
	return histories, nil
}

func webhooksOf(all []*dueCall) []string {
	return column(all, func(c *dueCall) string { return c.webhookID })
}

// dueRow is a job that is due, with its event and how much history goes with it,
// where a job may carry these.
type dueRow struct {
	jobRow
	event *phone.Event
	limit int
}

func readDue(r *row) dueRow {
	d := dueRow{jobRow: readJob(r)}
	carried := r.bool()
	e := phone.Event{
		ID: phone.EventID(d.DeliveryID), ProjectID: d.ProjectID, AgentID: d.AgentID, Type: d.EventType, Channel: d.Channel,
		ConversationID: d.ConversationID, MessageID: d.MessageID, At: d.CreatedAt,
		Data: r.bytes(), State: r.bytes(), Direction: phone.Direction(r.text()), HistoryBefore: r.int64(),
	}
	if limit := r.int(); carried {
		d.event = &e
		if hasHistory(e) {
			d.limit = int(min(int64(limit), e.HistoryBefore-1))
		}
	}
	return d
}

// hasHistory says whether an event is sent with the messages before it. The end of a
// call carries its whole transcript instead of any.
func hasHistory(e phone.Event) bool {
	return e.ConversationID != "" && e.Type != phone.EventCallEnded
}

// tails are messages of conversations, each without a gap.
type tails map[string]*[]phone.Message

// readHistories has the messages read that deliveries are rendered with, of all of
// them at once, but for those in memory.
func (s *Store) readHistories(t *tx, projectID string, rows []dueRow) tails {
	type span struct{ after, upTo int64 }
	spans := map[string]span{}
	for _, d := range rows {
		if d.limit == 0 {
			continue
		}
		upTo := d.event.HistoryBefore - 1
		of, known := spans[d.ConversationID]
		if !known {
			of.after = upTo
		}
		spans[d.ConversationID] = span{min(of.after, upTo-int64(d.limit)), max(of.upTo, upTo)}
	}
	out := tails{}
	var missing histories
	for id, of := range spans {
		tail, rest := s.tails.get(id, of.after, of.upTo)
		out[id] = &tail
		if rest < of.upTo {
			missing.add(id, rest, of.upTo, &tail)
		}
	}
	missing.later(t, projectID)
	return out
}

// carry gives a job what its body is rendered from, so that it need not be read
// when it is sent.
func (d *dueRow) carry(read tails) {
	if d.event == nil {
		return
	}
	var history []phone.Message
	if d.limit > 0 {
		tail := *read[d.ConversationID]
		// Messages are counted without a gap.
		end := len(tail) - int(tail[len(tail)-1].Seq-(d.event.HistoryBefore-1))
		history = slices.Clip(tail[end-d.limit : end])
	}
	size := len(d.event.Data) + len(d.event.State)
	for _, m := range history {
		size += len(m.Body)
	}
	if size <= maxHeldData {
		d.Event, d.History = d.event, history
	}
}

// deferBlocked puts what follows a waiting delivery of its conversation behind it,
// where the order is strict, and leaves the rest.
func deferBlocked(t *tx, projectID string, all []*dueCall) error {
	until := map[string]int64{}
	for _, c := range all {
		if c.strict && len(c.rows) > 0 {
			later(t, "blockedUntil", func(r *row) error { until[r.text()] = r.int64(); return nil }, projectID, c.webhookID,
				column(c.rows, func(j dueRow) string { return j.DeliveryID }), column(c.rows, func(j dueRow) string { return j.ConversationID }),
				column(c.rows, func(j dueRow) int64 { return j.next }))
		}
	}
	if err := t.flush(); err != nil || len(until) == 0 {
		return err
	}
	var blocked []dueRow
	for _, c := range all {
		due := len(c.rows)
		c.rows = slices.DeleteFunc(c.rows, func(j dueRow) bool {
			waits := until[j.DeliveryID] != 0
			if waits {
				blocked = append(blocked, j)
			}
			return waits
		})
		// What was made to wait may wait for one that is due itself.
		c.batch.More = c.batch.More || len(c.rows) < due
	}
	return exec(t, "defer", projectID, column(blocked, func(j dueRow) string { return j.DeliveryID }),
		column(blocked, func(j dueRow) int64 { return until[j.DeliveryID] }))
}
