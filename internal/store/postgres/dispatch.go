package postgres

import (
	"context"
	"slices"
	"time"

	"switchhook.dev/switchhook/internal/phone"
)

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
