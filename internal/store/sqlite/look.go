package sqlite

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
	"zombiezen.com/go/sqlite"
)

const microsPerMinute = int64(time.Minute / time.Microsecond)

// SaveMinutes writes what one process counted, in place of what it wrote of the
// same minutes before, and drops what of these projects is older than keep.
func (s *Store) SaveMinutes(ctx context.Context, process string, minutes []store.Minute, keep time.Time) error {
	return s.writeHot(ctx, func(t *tx) error {
		for _, m := range minutes {
			err := exec(t.Conn, "saveMinute", m.ProjectID, micros(m.At)/microsPerMinute, process, m.Accepted, m.Attempts,
				m.Success, m.Failed, m.Pending, m.Latency.Bytes())
			if err == nil {
				err = exec(t.Conn, "dropMinutes", m.ProjectID, micros(keep)/microsPerMinute)
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
	err = s.readLoose(ctx, func(c *sqlite.Conn) error {
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

// lookSource is where a look reads from, and what is asked of at most
// store.LookScan deliveries there.
func lookSource(f store.LookFilter) (from source, rest where) {
	from = sourceOf(f.DeliveryFilter)
	if f.After.ID != "" {
		from.after(f.After)
	}
	rest.equal(f.DeliveryFilter)
	if f.Text != "" {
		rest.and("instr(lower(CAST(d.data AS TEXT)), ?) > 0", strings.ToLower(asWritten(f.Text)))
	}
	return from, rest
}

// asWritten is a text as it stands in an event's data, which is JSON.
func asWritten(text string) string {
	b, _ := json.Marshal(text) // a string always can be
	return string(b[1 : len(b)-1])
}

// Look returns a page of the log, newest first, without counting it. It goes
// through at most store.LookScan deliveries. Served as sourceOf says.
func (s *Store) Look(ctx context.Context, f store.LookFilter) (out store.Look, err error) {
	from, rest := lookSource(f)
	s.caughtUpFor(ctx, from)
	err = s.read(ctx, func(c *sqlite.Conn) error {
		q, values := lookQuery(from, rest, f)
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
		q = "SELECT d.created_at, d.id FROM " + from.from + from.sql() + from.order() + " LIMIT 1 OFFSET (? + 0)"
		return eachText(c, q, func(r *row) error {
			out.Next, out.Short = store.Place{At: fromMicros(r.int64()), ID: r.text()}, true
			return nil
		}, append(slices.Clone(from.values), store.LookScan-1)...)
	})
	return out, err
}

// lookQuery is the query of a page, and its parameters.
func lookQuery(from source, rest where, f store.LookFilter) (string, []any) {
	columns := from.by + `.id AS id, d.project_id, d.agent_id, d.conversation_id, d.message_id, d.webhook_id,
  d.event_type, d.channel, d.status, d.attempts, d.ended, d.last_attempt_at, d.next_attempt_at, ` + from.by + `.created_at AS created_at, d.test, d.round`
	if f.Text != "" {
		columns += ", d.data"
	}
	// The outer query takes no more from the inner one than it needs.
	q := "SELECT " + deliveryColumns + " FROM (SELECT " + columns + " FROM " + from.from + from.sql() + from.order() + " LIMIT (? + 0)) d" + lastAttempt
	values := append(slices.Clone(from.values), store.LookScan)
	if len(rest.terms) > 0 {
		q += rest.sql()
		values = append(values, rest.values...)
	}
	return q + " ORDER BY d.created_at DESC, d.id DESC LIMIT (? + 0)", append(values, f.Limit+1)
}

// CountDeliveries counts what a filter selects, at most store.MaxCounted. Where
// no status is asked for it counts the failed and the unrouted, as RetryAll does.
func (s *Store) CountDeliveries(ctx context.Context, f store.DeliveryFilter) (n int, err error) {
	s.caughtUpFor(ctx, selected(f))
	statuses := []phone.DeliveryStatus{f.Status}
	if f.Status == "" {
		statuses = []phone.DeliveryStatus{phone.Failed, phone.Unrouted}
	}
	err = s.read(ctx, func(c *sqlite.Conn) error {
		for _, f.Status = range statuses {
			from := selected(f)
			q := "SELECT count(*) FROM (SELECT 1 FROM " + from.from + from.sql() + " LIMIT (? + 0))"
			err := eachText(c, q, func(r *row) error { n += r.int(); return nil }, append(from.values, store.MaxCounted-n)...)
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
	err = s.read(ctx, func(c *sqlite.Conn) error {
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
			known, err := describe(c, found[key], key)
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
func describe(c *sqlite.Conn, t *store.Trouble, key string) (known bool, err error) {
	if t.Last.ID != "" {
		if err := eachText(c, deliveryByID, func(r *row) error { t.Last = readDelivery(r); return nil }, t.Last.ID); err != nil {
			return false, err
		}
	}
	if t.Unrouted > 0 {
		return true, nil
	}
	if t.Webhook, err = webhookByID(c, key); err != nil || t.Webhook == nil {
		return false, err
	}
	t.AgentID = t.Webhook.AgentID
	w, err := waiting(c, key)
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
	err = s.read(ctx, func(c *sqlite.Conn) error {
		hook, err := webhookByID(c, webhookID)
		if err != nil || hook == nil || hook.ProjectID != projectID {
			return err
		}
		w, err = waiting(c, webhookID)
		return err
	})
	return w, err
}

func waiting(c *sqlite.Conn, webhookID string) (w store.Waiting, err error) {
	err = each(c, "waiting", func(r *row) error {
		if r.bool() {
			w.Fresh = r.int()
		} else {
			w.Tried = r.int()
		}
		return nil
	}, webhookID, store.MaxWaiting)
	return w, err
}

// AgentLooks says of agents what became of the last store.AgentScan deliveries of
// each. Agents without any are left out.
func (s *Store) AgentLooks(ctx context.Context, projectID string, agentIDs []string) (map[string]store.AgentLook, error) {
	s.caughtUp(ctx)
	out := map[string]store.AgentLook{}
	err := s.read(ctx, func(c *sqlite.Conn) error {
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
	err := s.read(ctx, func(c *sqlite.Conn) error {
		for _, m := range messages {
			id := ""
			_, err := one(c, "deliveryOfMessage", func(r *row) { id = r.text() }, projectID, micros(m.At), m.ID)
			if err == nil && id != "" {
				err = eachText(c, deliveryByID, func(r *row) error { out[m.ID] = readDelivery(r); return nil }, id)
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
	s.caughtUp(ctx)
	err = s.read(ctx, func(c *sqlite.Conn) error {
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
		name, of := "conversationsOfLatest", projectID
		if agentID != "" {
			name, of = "conversationsOfAgentsLatest", agentID
		}
		return each(c, name, func(r *row) error {
			v, err := conversationByID(c, projectID, r.text())
			if phone.CodeOf(err) == phone.NotFound {
				return nil // a test's: it has no conversation
			}
			out = append(out, v)
			return err
		}, of, store.TroubleScan, limit)
	})
	return out, exact, err
}

// ConversationsWith returns a participant's conversations on all numbers of a
// project, the latest first.
func (s *Store) ConversationsWith(ctx context.Context, projectID, participant string, limit int) (out []phone.Conversation, err error) {
	s.caughtUp(ctx)
	err = s.readLoose(ctx, func(c *sqlite.Conn) error {
		return each(c, "conversationsWith", func(r *row) error { out = append(out, readConversation(r)); return nil }, projectID, participant, limit)
	})
	return out, err
}
