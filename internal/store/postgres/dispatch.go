package postgres

import (
	"context"
	"errors"
	"slices"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
)

// Due hands up to limit of a webhook's due deliveries to the dispatcher, oldest
// first: of those that this run owns. They are held from then on, and marked as
// handed over before this returns: each may have been sent, whatever happens to the
// process. Where the order is strict, what comes behind a delivery that waits for
// its next attempt is made to wait as long.
func (s *Store) Due(ctx context.Context, webhookID string, now time.Time, limit int, strict bool) (b store.Batch, err error) {
	projectID, err := s.projectOf(ctx, webhookID)
	if err != nil || projectID == "" {
		return b, err
	}
	var taken []dueRow
	var read tails
	err = s.writeIn(ctx, slotRecord, func(t *tx) error {
		b, taken, read = store.Batch{}, nil, nil
		exec(t, "shareWebhook", webhookID)
		settling := false
		later(t, "settling", func(*row) error { settling = true; return nil }, projectID, webhookID)
		var rows []dueRow
		err := each(t, "due", func(r *row) error { rows = append(rows, readDue(r)); return nil }, projectID, webhookID, micros(now), limit, t.run, maxHeldData)
		// What is being settled is nobody's to send.
		if err != nil || settling {
			return err
		}
		b.More = len(rows) == limit
		rows = s.withoutDoubt(rows)
		if strict && len(rows) > 0 {
			free, err := deferBlocked(t, projectID, webhookID, rows)
			if err != nil {
				return err
			}
			// What was made to wait may wait for one that is due itself.
			b.More = b.More || len(free) < len(rows)
			rows = free
		}
		taken = rows
		for i := range rows {
			rows[i].Handed, rows[i].Run = true, t.run
			b.Jobs = append(b.Jobs, &rows[i].Job)
		}
		if len(rows) > 0 {
			exec(t, "hold", projectID, column(rows, func(j dueRow) string { return j.DeliveryID }), t.run)
			read = s.readHistories(t, projectID, rows)
		}
		if !b.More {
			later(t, "nextDue", func(r *row) error { b.NextDue = fromMicros(r.int64()); return nil }, projectID, webhookID, t.run)
		}
		return nil
	})
	if errors.Is(err, errInDoubt) {
		s.perhapsHeld(b.Jobs)
	}
	if err != nil {
		return store.Batch{}, err
	}
	for i := range taken {
		taken[i].carry(read)
	}
	for id, tail := range read {
		s.tails.remember(id, *tail)
	}
	return b, nil
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

// deferBlocked puts what follows a waiting delivery of its conversation behind
// it, and returns the rest.
func deferBlocked(t *tx, projectID, webhookID string, rows []dueRow) (free []dueRow, err error) {
	until := map[string]int64{}
	err = each(t, "blockedUntil", func(r *row) error { until[r.text()] = r.int64(); return nil }, projectID, webhookID,
		column(rows, func(j dueRow) string { return j.DeliveryID }), column(rows, func(j dueRow) string { return j.ConversationID }),
		column(rows, func(j dueRow) int64 { return j.next }))
	if err != nil {
		return nil, err
	}
	var blocked []dueRow
	for _, j := range rows {
		if until[j.DeliveryID] == 0 {
			free = append(free, j)
		} else {
			blocked = append(blocked, j)
		}
	}
	if len(blocked) == 0 {
		return free, nil
	}
	return free, exec(t, "defer", projectID, column(blocked, func(j dueRow) string { return j.DeliveryID }),
		column(blocked, func(j dueRow) int64 { return until[j.DeliveryID] }))
}

// HandBack takes back deliveries that the dispatcher held and whose attempt did
// not begin. One that has moved on meanwhile is left alone.
func (s *Store) HandBack(ctx context.Context, jobs []*phone.Job) error {
	byProject := map[string][]*phone.Job{}
	for _, j := range jobs {
		byProject[j.ProjectID] = append(byProject[j.ProjectID], j)
	}
	for projectID, jobs := range byProject {
		for chunk := range slices.Chunk(jobs, 500) {
			err := s.write(ctx, func(t *tx) error {
				return exec(t, "handBack", projectID, column(chunk, func(j *phone.Job) string { return j.DeliveryID }),
					column(chunk, func(j *phone.Job) string { return j.WebhookID }), column(chunk, func(j *phone.Job) int { return j.Round }), t.run, micros(time.Now()))
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// Hurry makes everything of a webhook that waits for its next attempt due at
// once, in the order of acceptance; in slices.
func (s *Store) Hurry(ctx context.Context, webhookID string, now time.Time) error {
	projectID, err := s.projectOf(ctx, webhookID)
	if err != nil {
		return err
	}
	for {
		n := 0
		err := s.write(ctx, func(t *tx) error {
			n = 0
			return each(t, "hurryAll", func(*row) error { n++; return nil }, projectID, webhookID, micros(now), settleSlice, t.run)
		})
		if err != nil || n < settleSlice {
			return err
		}
	}
}

// Content returns what the body of a delivery is rendered from. Nothing of it
// changes while the delivery lives: messages are only ever appended, and events
// and the limit of history are frozen when the delivery is bound.
func (s *Store) Content(ctx context.Context, projectID, deliveryID string) (out phone.Content, err error) {
	err = s.readOne(ctx, func(t *tx) error {
		limit := 0
		ok, err := one(t, "content", func(r *row) {
			limit, out.Body = r.int(), r.bytes()
			out.Event = phone.Event{
				ID: phone.EventID(deliveryID), ProjectID: r.text(), AgentID: r.text(), Type: phone.EventType(r.text()),
				Channel: phone.Channel(r.text()), Direction: phone.Direction(r.text()), ConversationID: r.text(), MessageID: r.text(),
				Data: r.bytes(), State: r.bytes(), HistoryBefore: r.int64(), At: fromMicros(r.int64()),
			}
		}, projectID, deliveryID)
		if err := orNotFound(ok, err, "delivery", deliveryID); err != nil {
			return err
		}
		if out.Body == nil {
			out.History, err = history(t, out.Event, limit)
		}
		return err
	})
	return out, err
}

// history reads the last messages, at most limit, before an event in its
// conversation, oldest first.
func history(t *tx, e phone.Event, limit int) (out []phone.Message, err error) {
	if limit == 0 || !hasHistory(e) {
		return nil, nil
	}
	err = each(t, "history", func(r *row) error {
		out = append(out, readMessage(r))
		return nil
	}, e.ProjectID, e.ConversationID, e.HistoryBefore, limit)
	slices.Reverse(out)
	return out, err
}

// CreateTest makes a delivery that tests a webhook: bound to it, of one attempt,
// and out of the lanes' sight for as long as that attempt can take.
func (s *Store) CreateTest(ctx context.Context, e phone.Event, w phone.Webhook, j *phone.Job, notBefore time.Time) error {
	return s.write(ctx, func(t *tx) error {
		j.Run = t.run
		insertDeliveries(t, j.ProjectID, []newDelivery{{j, e, phone.Binding{Webhook: &w, Status: phone.Pending}, true, micros(notBefore)}})
		return nil
	})
}
