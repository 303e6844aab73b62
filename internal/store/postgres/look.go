package postgres

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
)

const microsPerMinute = int64(time.Minute / time.Microsecond)

// SaveMinutes writes what one process counted, in place of what it wrote of the
// same minutes before, and drops what of these projects is older than keep.
func (s *Store) SaveMinutes(ctx context.Context, process string, minutes []store.Minute, keep time.Time) error {
	return s.write(ctx, func(t *tx) error {
		for _, m := range minutes {
			err := exec(t, "saveMinute", m.ProjectID, micros(m.At)/microsPerMinute, process, m.Accepted, m.Attempts,
				m.Success, m.Failed, m.Pending, m.Latency.Bytes())
			if err == nil {
				err = exec(t, "dropMinutes", m.ProjectID, micros(keep)/microsPerMinute)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Minutes returns a project's minutes from since (inclusive) to until
// (exclusive), oldest first; those in which nothing was counted are left out.
func (s *Store) Minutes(ctx context.Context, projectID string, since, until time.Time) (out []store.Minute, err error) {
	err = s.readOne(ctx, func(c *tx) error {
		return each(c, "minutes", func(r *row) error {
			m := store.Minute{
				ProjectID: projectID, At: fromMicros(r.int64() * microsPerMinute), Accepted: r.int(), Attempts: r.int(),
				Success: r.int(), Failed: r.int(), Pending: r.int(),
			}
			var err error
			if m.Latency, err = store.ParseLatency(r.bytes()); err != nil {
				return err
			}
			if last := len(out) - 1; last >= 0 && out[last].At.Equal(m.At) {
				out[last].Add(m)
			} else {
				out = append(out, m)
			}
			return nil
		}, projectID, micros(since)/microsPerMinute, micros(until)/microsPerMinute)
	})
	return out, err
}

// lookWhere is the part of a look that an index serves, with the index, and the
// rest, which is asked of at most store.LookScan deliveries.
func lookWhere(f store.LookFilter) (from string, index, rest where) {
	switch {
	// Of these two the condition is in the index, and must be said in its words.
	case f.Status == phone.Failed:
		index.and("d.project_id = ? AND d.status = 'failed'", f.ProjectID)
	case f.Status == phone.Unrouted:
		index.and("d.project_id = ? AND d.status = 'unrouted'", f.ProjectID)
	case f.AgentID != "":
		index.and("d.agent_id = ? AND d.project_id = ?", f.AgentID, f.ProjectID)
	default:
		index.and("d.project_id = ?", f.ProjectID)
	}
	if !f.Since.IsZero() {
		index.and("d.created_at >= ?", micros(f.Since))
	}
	if !f.Until.IsZero() {
		index.and("d.created_at < ?", micros(f.Until))
	}
	if f.After.ID != "" {
		index.and("(d.created_at, d.id) < (?, ?)", micros(f.After.At), f.After.ID)
	}
	for _, c := range []struct{ column, value string }{
		{"agent_id", f.AgentID}, {"webhook_id", f.WebhookID}, {"status", string(f.Status)},
		{"event_type", string(f.EventType)}, {"channel", string(f.Channel)},
	} {
		if c.value != "" {
			rest.and("d."+c.column+" = ?", c.value)
		}
	}
	if f.Text != "" {
		rest.and("strpos(lower(convert_from(d.data, 'UTF8') COLLATE \"C\"), ?) > 0", lowerASCII(asWritten(f.Text)))
	}
	return "FROM deliveries d", index, rest
}

// asWritten is a text as it stands in an event's data, which is JSON.
func asWritten(text string) string {
	b, _ := json.Marshal(text) // a string always can be
	return string(b[1 : len(b)-1])
}

// Look returns a page of the log, newest first, without counting it. It goes
// through at most store.LookScan deliveries. Served by deliveries_by_project,
// deliveries_by_agent, deliveries_failed or deliveries_unrouted.
func (s *Store) Look(ctx context.Context, f store.LookFilter) (out store.Look, err error) {
	from, index, rest := lookWhere(f)
	err = s.read(ctx, func(c *tx) error {
		q, values := lookQuery(from, index, rest, f)
		err := eachText(c, q, func(r *row) error { out.Deliveries = append(out.Deliveries, readDelivery(r)); return nil }, values...)
		if err != nil {
			return err
		}
		if len(out.Deliveries) > f.Limit {
			out.Deliveries = out.Deliveries[:f.Limit]
			last := out.Deliveries[f.Limit-1]
			out.Next = store.Place{At: last.CreatedAt, ID: last.ID}
			return nil
		}
		// The page is not full: either the log ends, or so far it was gone through.
		q = "SELECT d.created_at, d.id " + from + index.sql() + " ORDER BY d.created_at DESC, d.id DESC LIMIT 1 OFFSET ?"
		return eachText(c, q, func(r *row) error {
			out.Next, out.Short = store.Place{At: fromMicros(r.int64()), ID: r.text()}, true
			return nil
		}, append(slices.Clone(index.values), store.LookScan-1)...)
	})
	return out, err
}

// lookQuery is the query of a page, and its parameters.
func lookQuery(from string, index, rest where, f store.LookFilter) (string, []any) {
	columns := `d.id, d.project_id, d.agent_id, d.conversation_id, d.message_id, d.webhook_id,
  d.event_type, d.channel, d.status, d.attempts, d.ended, d.last_attempt_at, d.next_attempt_at, d.created_at, d.test, d.round`
	if f.Text != "" {
		columns += ", d.data"
	}
	// The outer query takes no more from the inner one than it needs.
	q := "SELECT " + strings.Replace(deliveryColumns, "FROM deliveries d", "FROM (SELECT "+columns+" "+from+index.sql()+
		" ORDER BY d.created_at DESC, d.id DESC LIMIT ?) AS d", 1)
	values := append(slices.Clone(index.values), store.LookScan)
	if len(rest.terms) > 0 {
		q += rest.sql()
		values = append(values, rest.values...)
	}
	return q + " ORDER BY d.created_at DESC, d.id DESC LIMIT ?", append(values, f.Limit+1)
}

// CountDeliveries counts what a filter selects, at most store.MaxCounted. Where
// no status is asked for it counts the failed and the unrouted, as RetryAll does.
func (s *Store) CountDeliveries(ctx context.Context, f store.DeliveryFilter) (n int, err error) {
	statuses := []phone.DeliveryStatus{f.Status}
	if f.Status == "" {
		statuses = []phone.DeliveryStatus{phone.Failed, phone.Unrouted}
	}
	err = s.read(ctx, func(c *tx) error {
		for _, f.Status = range statuses {
			from, index, rest := lookWhere(store.LookFilter{DeliveryFilter: f})
			w := where{append(index.terms, rest.terms...), append(index.values, rest.values...)}
			q := "SELECT count(*) FROM (SELECT 1 " + from + w.sql() + " LIMIT ?) AS d"
			err := eachText(c, q, func(r *row) error { n += r.int(); return nil }, append(w.values, store.MaxCounted-n)...)
			if err != nil {
				return err
			}
		}
		return nil
	})
	return n, err
}

// Troubles returns the endpoints of a project with which something is wrong, and
// the agents whose events go nowhere: those that fail or are disabled, and those
// of which, among the last store.TroubleScan deliveries made since a time, any
// failed. The worst come first.
func (s *Store) Troubles(ctx context.Context, projectID string, since time.Time) (out []store.Trouble, err error) {
	err = s.read(ctx, func(c *tx) error {
		found, order := map[string]*store.Trouble{}, []string{}
		at := func(key string) *store.Trouble {
			if found[key] == nil {
				found[key] = &store.Trouble{}
				order = append(order, key)
			}
			return found[key]
		}
		err := each(c, "troubledWebhooks", func(r *row) error { at(r.text()); return nil }, projectID, 100)
		if err != nil {
			return err
		}
		err = each(c, "latestDeliveries", func(r *row) error {
			id, webhook, agent, status, attempts := r.text(), r.text(), r.text(), phone.DeliveryStatus(r.text()), r.int()
			if status == phone.Success || status == phone.Pending && attempts == 0 {
				return nil
			}
			key := webhook
			if status == phone.Unrouted {
				key = agent
			}
			t := at(key)
			t.AgentID = agent
			if t.Last.ID == "" {
				t.Last.ID = id
			}
			switch status {
			case phone.Failed:
				t.Failed++
			case phone.Unrouted:
				t.Unrouted++
			case phone.Pending:
				t.Retrying++
			}
			return nil
		}, projectID, micros(since), store.TroubleScan)
		if err != nil {
			return err
		}
		for _, key := range order {
			known, err := describe(c, projectID, found[key], key)
			if err != nil {
				return err
			}
			if known {
				out = append(out, *found[key])
			}
		}
		return nil
	})
	slices.SortStableFunc(out, func(a, b store.Trouble) int {
		return cmp.Or(-cmp.Compare(severity(a), severity(b)), -cmp.Compare(a.Failed+a.Retrying+a.Unrouted, b.Failed+b.Retrying+b.Unrouted))
	})
	return out, err
}

// describe completes what is known of an endpoint in trouble; it is not known any
// more where its webhook is gone.
func describe(c *tx, projectID string, t *store.Trouble, key string) (known bool, err error) {
	if t.Last.ID != "" {
		q := "SELECT " + deliveryColumns + " WHERE d.project_id = ? AND d.id = ?"
		if err := eachText(c, q, func(r *row) error { t.Last = readDelivery(r); return nil }, projectID, t.Last.ID); err != nil {
			return false, err
		}
	}
	if t.Unrouted > 0 {
		return true, nil
	}
	if t.Webhook, err = webhookByID(c, projectID, key); err != nil || t.Webhook == nil {
		return false, err
	}
	t.AgentID = t.Webhook.AgentID
	w, err := waiting(c, projectID, key)
	t.Waiting = w.Fresh + w.Tried
	return true, err
}

// severity ranks troubles: an endpoint that is disabled or out before one of
// which some deliveries failed.
func severity(t store.Trouble) int {
	switch {
	case t.Webhook == nil:
		return 1
	case t.Webhook.Status == phone.WebhookDisabled:
		return 3
	case !t.Webhook.FailingSince.IsZero():
		return 2
	}
	return 0
}

// Waiting says what of a project's webhook waits in the store.
func (s *Store) Waiting(ctx context.Context, projectID, webhookID string) (w store.Waiting, err error) {
	err = s.read(ctx, func(c *tx) error {
		hook, err := webhookByID(c, projectID, webhookID)
		if err != nil || hook == nil {
			return err
		}
		w, err = waiting(c, projectID, webhookID)
		return err
	})
	return w, err
}

func waiting(c *tx, projectID, webhookID string) (w store.Waiting, err error) {
	err = each(c, "waiting", func(r *row) error {
		if r.bool() {
			w.Fresh = r.int()
		} else {
			w.Tried = r.int()
		}
		return nil
	}, projectID, webhookID, store.MaxWaiting)
	return w, err
}

// AgentLooks says of agents what became of the last store.AgentScan deliveries of
// each. Agents without any are left out.
func (s *Store) AgentLooks(ctx context.Context, projectID string, agentIDs []string) (map[string]store.AgentLook, error) {
	out := map[string]store.AgentLook{}
	err := s.read(ctx, func(c *tx) error {
		for _, id := range agentIDs {
			err := each(c, "agentLook", func(r *row) error {
				l := out[id]
				status, n, last := phone.DeliveryStatus(r.text()), r.int(), fromMicros(r.int64())
				switch status {
				case phone.Success:
					l.Success = n
				case phone.Failed:
					l.Failed = n
				case phone.Pending:
					l.Pending = n
				case phone.Unrouted:
					l.Unrouted = n
				}
				if last.After(l.LastAt) {
					l.LastAt = last
				}
				out[id] = l
				return nil
			}, projectID, id, store.AgentScan)
			if err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}

// MessageDeliveries returns the deliveries that messages of a project caused, by
// the messages' ids; what an agent said itself has none.
func (s *Store) MessageDeliveries(ctx context.Context, projectID string, messages []phone.Message) (map[string]phone.Delivery, error) {
	out := map[string]phone.Delivery{}
	err := s.read(ctx, func(c *tx) error {
		for _, m := range messages {
			id := ""
			_, err := one(c, "deliveryOfMessage", func(r *row) { id = r.text() }, projectID, micros(m.At), m.ID)
			if err == nil && id != "" {
				q := "SELECT " + deliveryColumns + " WHERE d.project_id = ? AND d.id = ?"
				err = eachText(c, q, func(r *row) error { out[m.ID] = readDelivery(r); return nil }, projectID, id)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}

// RecentConversations returns a project's conversations, the latest first, of one
// agent or ("") of all. Where the project has more than store.ConversationScan,
// they are those that its latest deliveries are of, and exact is false.
func (s *Store) RecentConversations(ctx context.Context, projectID, agentID string, limit int) (out []phone.Conversation, exact bool, err error) {
	err = s.read(ctx, func(c *tx) error {
		if agentID != "" {
			if err := agentExists(c, projectID, agentID); err != nil {
				return err
			}
		}
		n, err := number(c, "conversationsUpTo", projectID, store.ConversationScan+1)
		if err != nil {
			return err
		}
		if exact = n <= store.ConversationScan; exact {
			return each(c, "conversationsPage", func(r *row) error { out = append(out, readConversation(r)); return nil }, projectID, agentID, limit, 0)
		}
		name, of := "conversationsOfLatest", []any{projectID}
		if agentID != "" {
			name, of = "conversationsOfAgentsLatest", []any{projectID, agentID}
		}
		var ids []string
		err = each(c, name, func(r *row) error { ids = append(ids, r.text()); return nil }, append(of, store.TroubleScan, limit)...)
		if err != nil || len(ids) == 0 {
			return err
		}
		return each(c, "conversationsByID", func(r *row) error { out = append(out, readConversation(r)); return nil }, projectID, ids)
	})
	return out, exact, err
}

// ConversationsWith returns a participant's conversations on all numbers of a
// project, the latest first.
func (s *Store) ConversationsWith(ctx context.Context, projectID, participant string, limit int) (out []phone.Conversation, err error) {
	err = s.readOne(ctx, func(c *tx) error {
		return each(c, "conversationsWith", func(r *row) error { out = append(out, readConversation(r)); return nil }, projectID, participant, limit)
	})
	return out, err
}

// lowerASCII is what lower does under the collation "C".
func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
