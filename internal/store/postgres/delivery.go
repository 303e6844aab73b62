package postgres

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
)

// deliveryColumns are what a list shows: the delivery, and of its last attempt
// the answer, by the primary key of attempts.
const deliveryColumns = `d.id, d.project_id, d.agent_id, d.conversation_id, d.message_id, d.webhook_id,
  d.event_type, d.channel, d.status, d.attempts, d.ended, d.last_attempt_at, d.next_attempt_at, d.created_at, d.test, d.round,
  coalesce(a.http_status, 0), coalesce(a.error, ''::bytea), coalesce(a.response_body, ''::bytea)
FROM deliveries d LEFT JOIN attempts a
  ON a.project_id = d.project_id AND a.delivery_id = d.id AND a.number = d.attempts`

func readDelivery(r *row) phone.Delivery {
	d := phone.Delivery{
		ID: r.text(), ProjectID: r.text(), AgentID: r.text(), ConversationID: r.text(), MessageID: r.text(), WebhookID: r.text(),
		EventType: phone.EventType(r.text()), Channel: phone.Channel(r.text()), Status: phone.DeliveryStatus(r.text()),
		Attempts: r.int(), Error: r.text(), LastAttemptAt: fromMicros(r.int64()), NextAttemptAt: fromMicros(r.int64()),
		CreatedAt: fromMicros(r.int64()), Test: r.bool(), Round: r.int(),
	}
	d.EventID = phone.EventID(d.ID)
	if d.Status == phone.Pending && d.NextAttemptAt.IsZero() {
		d.NextAttemptAt = d.CreatedAt // the dispatcher holds it: it goes out in its turn
	}
	status, fault, body := r.int(), r.text(), r.text()
	d.HTTPStatus, d.ResponseBody = status, body
	if d.Error == "" {
		d.Error = fault
	}
	return d
}

// where is a filter as SQL, over deliveries d. Its terms are fixed texts; only
// values come from outside, and only as parameters.
type where struct {
	terms  []string
	values []any
}

func (w *where) and(term string, values ...any) {
	w.terms = append(w.terms, term)
	w.values = append(w.values, values...)
}

func newWhere(f store.DeliveryFilter) where {
	var w where
	w.and("d.project_id = ?", f.ProjectID)
	if f.AgentID != "" {
		w.and("d.agent_id = ?", f.AgentID)
	}
	if f.OwnWebhook {
		// Webhooks of the agent that are gone count too: their log stays.
		w.and("d.webhook_id IN (SELECT id FROM webhooks WHERE project_id = ? AND agent_id = ?)", f.ProjectID, f.AgentID)
	}
	if f.WebhookID != "" {
		w.and("d.webhook_id = ?", f.WebhookID)
	}
	if f.Status != "" {
		w.and("d.status = ?", string(f.Status))
	} else {
		w.and("d.status <> 'unrouted'")
	}
	if f.EventType != "" {
		w.and("d.event_type = ?", string(f.EventType))
	}
	if f.Channel != "" {
		w.and("d.channel = ?", string(f.Channel))
	}
	if !f.Since.IsZero() {
		w.and("d.created_at >= ?", micros(f.Since))
	}
	if !f.Until.IsZero() {
		w.and("d.created_at < ?", micros(f.Until))
	}
	return w
}

func (w *where) sql() string { return " WHERE " + strings.Join(w.terms, " AND ") }

// countable says whether the counters can tell how many a filter selects: they
// know projects and whole hours.
func countable(f store.DeliveryFilter) bool {
	return f.AgentID == "" && f.WebhookID == "" && f.Status == "" && f.EventType == "" && f.Channel == "" &&
		f.Until.IsZero() && micros(f.Since)%microsPerHour == 0
}

// Deliveries returns a page of deliveries, newest first, and how many the filter
// selects; past MaxFilteredTotal a filter that the counters do not know is not
// counted further. Served by deliveries_by_agent or deliveries_by_project.
func (s *Store) Deliveries(ctx context.Context, f store.DeliveryFilter) (out []phone.Delivery, total int, err error) {
	w := newWhere(f)
	err = s.read(ctx, func(c *tx) error {
		q := "SELECT " + deliveryColumns + w.sql() + " ORDER BY d.created_at DESC, d.id DESC LIMIT ? OFFSET ?"
		err := eachText(c, q, func(r *row) error { out = append(out, readDelivery(r)); return nil }, append(w.values, f.Limit, f.Offset)...)
		if err != nil {
			return err
		}
		if countable(f) {
			_, err = one(c, "totalSince", func(r *row) { total = r.int() }, f.ProjectID, micros(f.Since)/microsPerHour)
			return err
		}
		q = "SELECT count(*) FROM (SELECT 1 FROM deliveries d" + w.sql() + " LIMIT ?) AS d"
		return eachText(c, q, func(r *row) error { total = r.int(); return nil }, append(w.values, store.MaxFilteredTotal)...)
	})
	return out, total, err
}

// maxChanging bounds each part of what Changing returns.
const maxChanging = 500

// Changing returns what may have changed of a project's deliveries, oldest first: what
// was made since a time, the newest of it; what is pending, some where it is much; and
// those of ids. Unrouted ones are none of it.
func (s *Store) Changing(ctx context.Context, projectID string, since time.Time, ids []string) (out []phone.Delivery, err error) {
	err = s.readOne(ctx, func(t *tx) error {
		all := map[string]bool{}
		for _, id := range ids {
			all[id] = true
		}
		read := func(r *row) error { all[r.text()] = true; return nil }
		later(t, "madeSince", read, projectID, micros(since), maxChanging)
		later(t, "somePending", read, projectID, maxChanging)
		if err := t.flush(); err != nil || len(all) == 0 {
			return err
		}
		out = nil
		return eachText(t, "SELECT "+deliveryColumns+" WHERE d.project_id = ? AND d.id = ANY(?::text[]) ORDER BY d.created_at, d.id",
			func(r *row) error { out = append(out, readDelivery(r)); return nil }, projectID, slices.Collect(maps.Keys(all)))
	})
	return out, err
}

// deliveryIDs returns the ids a filter selects, newest first, behind a place in
// that order, and the place of the last.
func (s *Store) deliveryIDs(ctx context.Context, f store.DeliveryFilter, after store.Place, limit int) (ids []string, last store.Place, err error) {
	w := newWhere(f)
	if after.ID != "" {
		w.and("(d.created_at, d.id) < (?, ?)", micros(after.At), after.ID)
	}
	err = s.readOne(ctx, func(t *tx) error {
		q := "SELECT d.id, d.created_at FROM deliveries d" + w.sql() + " ORDER BY d.created_at DESC, d.id DESC LIMIT ?"
		return eachText(t, q, func(r *row) error {
			last = store.Place{ID: r.text(), At: fromMicros(r.int64())}
			ids = append(ids, last.ID)
			return nil
		}, append(w.values, limit)...)
	})
	return ids, last, err
}

// Delivery returns one delivery with every attempt.
func (s *Store) Delivery(ctx context.Context, projectID, id string) (out store.DeliveryDetail, err error) {
	err = s.read(ctx, func(c *tx) error {
		found := false
		q := "SELECT " + deliveryColumns + " WHERE d.project_id = ? AND d.id = ?"
		err := eachText(c, q, func(r *row) error { out.Delivery, found = readDelivery(r), true; return nil }, projectID, id)
		if err := orNotFound(found, err, "delivery", id); err != nil {
			return err
		}
		err = each(c, "attemptsOf", func(r *row) error {
			out.Log = append(out.Log, readAttempt(r))
			return nil
		}, projectID, id)
		if err != nil || out.WebhookID == "" {
			return err
		}
		_, err = one(c, "webhookURL", func(r *row) { out.WebhookURL = r.text() }, projectID, out.WebhookID)
		return err
	})
	return out, err
}
