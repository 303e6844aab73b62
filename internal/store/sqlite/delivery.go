package sqlite

import (
	"context"
	"strings"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
	"zombiezen.com/go/sqlite"
)

// deliveryColumns are what a list shows: the delivery, and of its last attempt,
// which lastAttempt joins, the answer.
const deliveryColumns = `d.id, d.project_id, d.agent_id, d.conversation_id, d.message_id, d.webhook_id,
  d.event_type, d.channel, d.status, d.attempts, d.ended, d.last_attempt_at, d.next_attempt_at, d.created_at, d.test, d.round,
  coalesce(a.http_status, 0), coalesce(a.error, ''), coalesce(a.response_body, '')`

const (
	lastAttempt = ` LEFT JOIN attempts a ON a.delivery_id = d.id AND a.number = d.attempts`
	// deliveryByID selects one delivery.
	deliveryByID = "SELECT " + deliveryColumns + " FROM deliveries d" + lastAttempt + " WHERE d.id = ?"
)

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

// source is where deliveries that a filter selects are read from, newest first:
// their table d, by one of its indexes, or the log l of an agent.
type source struct {
	from string
	// by is which of the two says when a delivery was made, and its id.
	by string
	// where is the part of the filter that is looked up.
	where
}

func (s *source) order() string {
	return " ORDER BY " + s.by + ".created_at DESC, " + s.by + ".id DESC"
}

// after leaves out what comes before a place, and the place itself.
func (s *source) after(p store.Place) {
	s.and("("+s.by+".created_at, "+s.by+".id) < (?, ?)", micros(p.At), p.ID)
}

func sourceOf(f store.DeliveryFilter) source {
	s := source{by: "d", from: "deliveries d INDEXED BY deliveries_by_project"}
	switch {
	// Of these two the condition is in the index, and must be said in its words.
	case f.Status == phone.Failed:
		s.from = "deliveries d INDEXED BY deliveries_failed"
		s.and("d.project_id = ? AND d.status = 'failed'", f.ProjectID)
	case f.Status == phone.Unrouted:
		s.from = "deliveries d INDEXED BY deliveries_unrouted"
		s.and("d.project_id = ? AND d.status = 'unrouted'", f.ProjectID)
	case f.AgentID != "":
		s.from, s.by = "agent_log l CROSS JOIN deliveries d ON d.id = l.id", "l"
		s.and("l.agent_id = ? AND d.project_id = ?", f.AgentID, f.ProjectID)
	default:
		s.and("d.project_id = ?", f.ProjectID)
	}
	if !f.Since.IsZero() {
		s.and(s.by+".created_at >= ?", micros(f.Since))
	}
	if !f.Until.IsZero() {
		s.and(s.by+".created_at < ?", micros(f.Until))
	}
	return s
}

// selected is the source of what all of a filter selects.
func selected(f store.DeliveryFilter) source {
	s := sourceOf(f)
	if f.OwnWebhook {
		// Webhooks of the agent that are gone count too: their log stays.
		s.and("d.webhook_id IN (SELECT id FROM webhooks WHERE agent_id = ?)", f.AgentID)
	}
	if f.Status == "" {
		s.and("d.status <> 'unrouted'")
	}
	s.equal(f)
	return s
}

// equal adds what a filter says of columns.
func (w *where) equal(f store.DeliveryFilter) {
	for _, c := range []struct{ column, value string }{
		{"agent_id", f.AgentID}, {"webhook_id", f.WebhookID}, {"status", string(f.Status)},
		{"event_type", string(f.EventType)}, {"channel", string(f.Channel)},
	} {
		if c.value != "" {
			w.and("d."+c.column+" = ?", c.value)
		}
	}
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
// counted further. Served as sourceOf says.
func (s *Store) Deliveries(ctx context.Context, f store.DeliveryFilter) (out []phone.Delivery, total int, err error) {
	w := selected(f)
	s.caughtUpFor(ctx, w)
	err = s.read(ctx, func(c *sqlite.Conn) error {
		q := "SELECT " + deliveryColumns + " FROM " + w.from + lastAttempt + w.sql() + w.order() + " LIMIT (? + 0) OFFSET (? + 0)"
		err := eachText(c, q, func(r *row) error { out = append(out, readDelivery(r)); return nil }, append(w.values, f.Limit, f.Offset)...)
		if err != nil {
			return err
		}
		if countable(f) {
			_, err = one(c, "totalSince", func(r *row) { total = r.int() }, f.ProjectID, micros(f.Since)/microsPerHour)
			return err
		}
		q = "SELECT count(*) FROM (SELECT 1 FROM " + w.from + w.sql() + " LIMIT (? + 0))"
		return eachText(c, q, func(r *row) error { total = r.int(); return nil }, append(w.values, store.MaxFilteredTotal)...)
	})
	return out, total, err
}

// deliveryIDs returns the ids a filter selects, newest first, behind a place (the
// zero one to begin), and the place of the last.
func (s *Store) deliveryIDs(ctx context.Context, f store.DeliveryFilter, after store.Place, limit int) (ids []string, last store.Place, err error) {
	w := selected(f)
	s.caughtUpFor(ctx, w)
	if after.ID != "" {
		w.after(after)
	}
	err = s.read(ctx, func(c *sqlite.Conn) error {
		q := "SELECT d.id, d.created_at FROM " + w.from + w.sql() + w.order() + " LIMIT (? + 0)"
		return eachText(c, q, func(r *row) error {
			last = store.Place{ID: r.text(), At: fromMicros(r.int64())}
			ids = append(ids, last.ID)
			return nil
		}, append(w.values, limit)...)
	})
	return ids, last, err
}

// Delivery returns one delivery with every attempt.
func (s *Store) Delivery(ctx context.Context, projectID, id string) (out store.DeliveryDetail, err error) {
	err = s.read(ctx, func(c *sqlite.Conn) error {
		found := false
		q := deliveryByID + " AND d.project_id = ?"
		err := eachText(c, q, func(r *row) error { out.Delivery, found = readDelivery(r), true; return nil }, id, projectID)
		if err := orNotFound(found, err, "delivery", id); err != nil {
			return err
		}
		err = each(c, "attemptsOf", func(r *row) error {
			out.Log = append(out.Log, readAttempt(r))
			return nil
		}, id)
		if err != nil || out.WebhookID == "" {
			return err
		}
		_, err = one(c, "webhookURL", func(r *row) { out.WebhookURL = r.text() }, out.WebhookID)
		return err
	})
	return out, err
}
