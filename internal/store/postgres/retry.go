package postgres

import (
	"context"
	"maps"
	"slices"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
)

// Retry asks for a delivery to be sent again: a pending one now, a finished one
// in a fresh round of attempts, routed by today's rule. attempts is how many a
// round has; a delivery that succeeded gets one. It answers the job as it is now;
// Conflict where there is nothing to send it to.
func (s *Store) Retry(ctx context.Context, projectID, id string, now time.Time, attempts int) (j phone.Job, err error) {
	err = s.write(ctx, func(t *tx) error {
		r := retrying{tx: t, projectID: projectID, now: now, attempts: attempts, bindings: map[string]phone.Binding{}}
		rows, err := r.jobs([]string{id})
		if err := orNotFound(len(rows) == 1, err, "delivery", id); err != nil {
			return err
		}
		if j, err = r.retry(rows[0]); err != nil {
			return err
		}
		return r.replay()
	})
	return j, err
}

// RetryAll retries what a filter selects, in slices, and answers how many and
// which webhooks have work now. What cannot be sent anywhere is left alone.
func (s *Store) RetryAll(ctx context.Context, f store.DeliveryFilter, now time.Time, attempts int) (n int, webhooks []string, err error) {
	const slice = 200
	// Later deliveries are not the caller's: they came after the call.
	if f.Until.IsZero() || f.Until.After(now) {
		f.Until = now
	}
	statuses := []phone.DeliveryStatus{f.Status}
	if f.Status == "" {
		statuses = []phone.DeliveryStatus{phone.Failed, phone.Unrouted}
	}
	seen := map[string]bool{}
	for _, f.Status = range statuses {
		for after := (store.Place{}); ; {
			ids, last, err := s.deliveryIDs(ctx, f, after, slice)
			if err != nil {
				return n, webhooks, err
			}
			if len(ids) == 0 {
				break
			}
			after = last
			done, err := s.retrySlice(ctx, f, ids, now, attempts)
			if err != nil {
				return n, webhooks, err
			}
			for _, j := range done {
				n++
				if !seen[j.WebhookID] {
					seen[j.WebhookID] = true
					webhooks = append(webhooks, j.WebhookID)
				}
			}
			if f.Progress != nil {
				f.Progress(n)
			}
		}
	}
	return n, webhooks, nil
}

func (s *Store) retrySlice(ctx context.Context, f store.DeliveryFilter, ids []string, now time.Time, attempts int) (done []phone.Job, err error) {
	err = s.write(ctx, func(t *tx) error {
		done = nil
		r := retrying{tx: t, projectID: f.ProjectID, now: now, attempts: attempts, bindings: map[string]phone.Binding{}}
		rows, err := r.jobs(ids)
		if err != nil {
			return err
		}
		for _, row := range rows {
			if row.status != f.Status {
				continue
			}
			j, err := r.retry(row)
			if err != nil && phone.CodeOf(err) == "" {
				return err
			}
			if err == nil {
				done = append(done, j)
			}
		}
		return r.replay()
	})
	return done, err
}

// retrying is a transaction that has deliveries of a project sent again.
type retrying struct {
	*tx
	projectID string
	now       time.Time
	attempts  int
	bindings  map[string]phone.Binding // of today's rule, by agent
	replays   []replaying
}

// replaying is a delivery in a new round.
type replaying struct {
	phone.Job
	binding phone.Binding
}

// jobs reads deliveries, and keeps them and their project's routing from changing.
func (r *retrying) jobs(ids []string) (out []jobRow, err error) {
	r.shareProject(r.projectID)
	err = each(r.tx, "jobs", func(row *row) error { out = append(out, readJob(row)); return nil }, r.projectID, ids)
	return out, err
}

func (r *retrying) retry(j jobRow) (phone.Job, error) {
	if j.Channel == phone.ChannelVoice && j.EventType == phone.EventMessage {
		return j.Job, phone.Errorf(phone.Conflict, "a turn of a call is asked once, while the caller waits: it cannot be sent again")
	}
	if j.status == phone.Pending {
		later(r.tx, "hurry", func(row *row) error {
			if owner := row.int64(); owner != r.run {
				r.give(j.ProjectID, map[given]bool{{owner, j.WebhookID}: true})
			}
			return nil
		}, j.ProjectID, j.DeliveryID, micros(r.now))
		return j.Job, r.flush()
	}
	b, known := r.bindings[j.AgentID]
	if !known {
		c, err := candidatesFor(r.tx, j.ProjectID, j.AgentID)
		if err != nil {
			return j.Job, err
		}
		b = phone.Route(c.listener, c.own, c.def)
		r.bindings[j.AgentID] = b
	}
	switch b.Status {
	case phone.Unrouted:
		return j.Job, phone.Errorf(phone.Conflict, "there is no webhook to send this to: set one for the agent or for the project first")
	case phone.Failed:
		return j.Job, phone.Errorf(phone.Conflict, "its webhook is disabled: enable it, or set it anew, first")
	}
	spent := 0
	if j.status == phone.Success {
		spent = r.attempts - 1
	}
	r.count(j.ProjectID, micros(j.CreatedAt), string(j.EventType), j.status, phone.Pending, 1)
	j.WebhookID, j.Round, j.RoundAttempts = b.Webhook.ID, j.Round+1, spent
	r.replays = append(r.replays, replaying{j.Job, b})
	return j.Job, nil
}

// replay writes the new rounds. This run is their owner, since it was asked, but
// where another owns something that is pending of the conversation.
func (r *retrying) replay() error {
	if len(r.replays) == 0 {
		return nil
	}
	owners, err := r.owners()
	if err != nil {
		return err
	}
	to := map[given]bool{}
	owner := func(p replaying) int64 {
		if at := listenerRun(p.binding.Webhook); at != 0 {
			if at != r.run {
				to[given{at, p.WebhookID}] = true
			}
			return at
		}
		if o, ok := owners[p.ConversationID]; ok && o != r.run {
			to[given{o, p.WebhookID}] = true
			return o
		}
		return r.run
	}
	exec(r.tx, "replay", r.projectID, column(r.replays, func(p replaying) string { return p.DeliveryID }),
		column(r.replays, func(p replaying) string { return p.WebhookID }),
		column(r.replays, func(p replaying) int { return p.binding.Webhook.ContextLimit }),
		column(r.replays, func(p replaying) int { return p.RoundAttempts }),
		column(r.replays, func(p replaying) bool { return isStrict(p.binding) }), micros(r.now), column(r.replays, owner))
	r.give(r.projectID, to)
	return nil
}

// owners locks the conversations of what is replayed, and returns which runs own
// what is pending of them. Those of which nothing is are this run's from now on.
func (r *retrying) owners() (map[string]int64, error) {
	ids := map[string]bool{}
	for _, p := range r.replays {
		if p.ConversationID != "" {
			ids[p.ConversationID] = true
		}
	}
	return r.ownersOf(r.projectID, slices.Sorted(maps.Keys(ids)))
}

// ownersOf locks conversations, and returns which runs own what is pending of them,
// leaving out what a listener is to have. Those of which nothing is are this run's
// from now on.
func (t *tx) ownersOf(projectID string, sorted []string) (map[string]int64, error) {
	owners := map[string]int64{}
	later(t, "conversationOwners", func(row *row) error { owners[row.text()] = row.int64(); return nil }, projectID, sorted)
	taken := map[string]bool{}
	later(t, "pendingOwners", func(row *row) error {
		if id, owner := row.text(), row.int64(); owners[id] == 0 || owners[id] == owner {
			owners[id], taken[id] = owner, true
		}
		return nil
	}, projectID, sorted)
	if err := t.flush(); err != nil {
		return nil, err
	}
	var free []string
	for _, id := range sorted {
		if owners[id] != t.run && !taken[id] {
			owners[id] = t.run
			free = append(free, id)
		}
	}
	if len(free) > 0 {
		exec(t, "ownConversations", projectID, free, t.run)
	}
	return owners, nil
}
