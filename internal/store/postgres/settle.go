package postgres

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"switchhook.dev/switchhook/internal/phone"
)

// Settling is what happens to the pending deliveries of a webhook that was deleted
// or disabled: each ends, or is bound anew. The change of the webhook marks it as
// settling, in its own transaction; then slices follow, and a crash in between
// leaves the mark for the next start. Each run settles what it owns itself: only
// it knows what it has sent.

// settleSlice is how many deliveries one transaction settles: others write in between.
const settleSlice = 1000

// unsettle takes everything pending of a webhook out of this run's dispatcher, and
// marks it as left to settle. What that run held is surely unsent; 0 where nobody
// knows what is under way.
func (t *tx) unsettle(w phone.Webhook, run int64) {
	exec(t, "lockWebhook", w.ID)
	exec(t, "takeBackFrom", w.ProjectID, w.ID, t.run, run, micros(time.Now()))
	exec(t, "setSettling", w.ProjectID, w.ID, true)
}

// Settle ends or binds anew what this run owns of a webhook that is gone or
// disabled. After a crash it is called again for what SettleAll finds.
func (s *Store) Settle(ctx context.Context, webhookID string) error {
	projectID, err := s.projectOf(ctx, webhookID)
	if err != nil || projectID == "" {
		return err
	}
	for {
		done := false
		err := s.write(ctx, func(t *tx) (err error) {
			done, err = settle(t, projectID, webhookID)
			return err
		})
		if err != nil || done {
			return err
		}
	}
}

// SettleAll finishes what earlier runs began to settle.
func (s *Store) SettleAll(ctx context.Context) error {
	var ids []string
	err := s.readOne(ctx, func(t *tx) error {
		return each(t, "allSettling", func(r *row) error { ids = append(ids, r.text()); return nil })
	})
	for _, id := range ids {
		if err == nil {
			err = s.Settle(ctx, id)
		}
	}
	return err
}

// settle settles one slice, and says whether it was the last.
func settle(t *tx, projectID, webhookID string) (done bool, err error) {
	t.shareProject(projectID)
	gone, listener := false, false
	found, err := one(t, "settling", func(r *row) { _, gone, listener = r.text(), r.bool(), r.bool() }, projectID, []string{webhookID})
	if err != nil || !found {
		return true, err
	}
	all, err := readPending(t, "pendingOf", projectID, webhookID, settleSlice, t.run)
	if err != nil {
		return false, err
	}
	// The rule depends on the agent alone.
	bindings := map[string]phone.Binding{}
	for i, p := range all {
		switch {
		case !gone:
			all[i].binding = phone.Binding{Status: phone.Failed, Error: phone.ErrorWebhookDisabled}
		case p.sent:
			all[i].binding = phone.AfterWebhookDeleted(true, nil, nil, nil)
		default:
			b, known := bindings[p.agentID]
			if !known {
				c, err := candidatesFor(t, projectID, p.agentID)
				if err != nil {
					return false, err
				}
				b = phone.AfterWebhookDeleted(false, c.listener, c.own, c.def)
				bindings[p.agentID] = b
			}
			all[i].binding = b
		}
	}
	if err := settleOwners(t, projectID, listener, all); err != nil {
		return false, err
	}
	if err := settleThese(t, projectID, webhookID, all); err != nil {
		return false, err
	}
	if len(all) == settleSlice {
		return false, nil
	}
	// The mark stays while others have something left.
	elsewhere, err := one(t, "ownedElsewhere", func(*row) {}, projectID, webhookID, t.run)
	if err == nil && !elsewhere {
		exec(t, "setSettling", projectID, webhookID, false)
	}
	return true, err
}

// settleOwners finds out who is to send what was bound anew, where that is not this
// run: what a listener is to have, the run that has its connection; what a listener
// was to have, whoever has the rest of its conversation.
func settleOwners(t *tx, projectID string, listener bool, all []pending) error {
	conversations := map[string]bool{}
	for i, p := range all {
		if p.binding.Status != phone.Pending {
			continue
		}
		if all[i].owner = listenerRun(p.binding.Webhook); all[i].owner == 0 && listener && p.conversationID != "" {
			conversations[p.conversationID] = true
		}
	}
	owners := map[string]int64{}
	if len(conversations) > 0 {
		var err error
		if owners, err = t.ownersOf(projectID, slices.Sorted(maps.Keys(conversations))); err != nil {
			return err
		}
	}
	to := map[given]bool{}
	for i, p := range all {
		if p.binding.Status != phone.Pending {
			continue
		}
		if all[i].owner = cmp.Or(p.owner, owners[p.conversationID], t.run); all[i].owner != t.run {
			to[given{all[i].owner, p.binding.Webhook.ID}] = true
		}
	}
	t.give(projectID, to)
	return nil
}

// pending is what settling looks at of a delivery.
type pending struct {
	id, agentID, eventType string
	createdAt              int64
	conversationID         string
	sent                   bool // it may have been
	binding                phone.Binding
	owner                  int64 // where it is bound anew
}

func readPending(t *tx, name string, values ...any) (out []pending, err error) {
	err = each(t, name, func(r *row) error {
		out = append(out, pending{id: r.text(), agentID: r.text(), eventType: r.text(), createdAt: r.int64(), conversationID: r.text(), sent: r.int() > 0 || r.int64() != 0})
		return nil
	}, values...)
	return out, err
}

// settleThese ends pending deliveries where they were bound, or binds them anew.
func settleThese(t *tx, projectID, webhookID string, all []pending) error {
	if len(all) == 0 {
		return nil
	}
	now := micros(time.Now())
	for i, p := range all {
		if p.binding.Status == phone.Failed && p.binding.Webhook == nil {
			all[i].binding.Webhook = &phone.Webhook{ID: webhookID}
		}
		t.count(projectID, p.createdAt, p.eventType, phone.Pending, p.binding.Status, 1)
	}
	return exec(t, "settle", projectID,
		column(all, func(p pending) string { return p.id }),
		column(all, func(p pending) string { id, _ := target(p.binding); return id }),
		column(all, func(p pending) int { _, limit := target(p.binding); return limit }),
		column(all, func(p pending) string { return string(p.binding.Status) }),
		column(all, func(p pending) string { return p.binding.Error }),
		column(all, func(p pending) int64 {
			if p.binding.Status == phone.Pending {
				return min(p.createdAt, now)
			}
			return 0
		}),
		column(all, func(p pending) bool { return isStrict(p.binding) }),
		column(all, func(p pending) int64 { return p.owner }))
}
