package sqlite

import (
	"context"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"zombiezen.com/go/sqlite"
)

// Webhook returns the live webhook of an agent, or ("") the project's default;
// nil where none is set, NotFound for an unknown agent.
func (s *Store) Webhook(ctx context.Context, projectID, agentID string) (w *phone.Webhook, err error) {
	err = s.read(ctx, func(c *sqlite.Conn) error {
		w, err = webhookOf(c, projectID, agentID)
		return err
	})
	return w, err
}

func webhookOf(c *sqlite.Conn, projectID, agentID string) (*phone.Webhook, error) {
	if agentID != "" {
		if err := agentExists(c, projectID, agentID); err != nil {
			return nil, err
		}
	}
	return liveWebhook(c, projectID, agentID)
}

func liveWebhook(c *sqlite.Conn, projectID, agentID string) (w *phone.Webhook, err error) {
	_, err = one(c, "webhook", func(r *row) { v := readWebhook(r); w = &v }, projectID, agentID)
	return w, err
}

// WebhookByID returns a live webhook, or nil.
func (s *Store) WebhookByID(ctx context.Context, id string) (w *phone.Webhook, err error) {
	err = s.read(ctx, func(c *sqlite.Conn) error {
		w, err = webhookByID(c, id)
		return err
	})
	return w, err
}

func webhookByID(c *sqlite.Conn, id string) (w *phone.Webhook, err error) {
	_, err = one(c, "webhookByID", func(r *row) { v := readWebhook(r); w = &v }, id)
	return w, err
}

// ActiveWebhooks returns every live webhook that is sent to, of all projects.
func (s *Store) ActiveWebhooks(ctx context.Context) (out []phone.Webhook, err error) {
	err = s.read(ctx, func(c *sqlite.Conn) error {
		return each(c, "activeWebhooks", func(r *row) error {
			out = append(out, readWebhook(r))
			return nil
		})
	})
	return out, err
}

// SetWebhook creates the webhook of w.AgentID, or updates it: id and creation
// time then stay, everything else is w's, and it is active again. The secret it
// had is the previous one from then on, until w.PreviousUntil.
func (s *Store) SetWebhook(ctx context.Context, set phone.Webhook) (w phone.Webhook, err error) {
	err = s.write(ctx, func(t *tx) error {
		w = set
		old, err := webhookOf(t.Conn, w.ProjectID, w.AgentID)
		if err != nil {
			return err
		}
		if err := setWebhook(t, &w, old); err != nil {
			return err
		}
		return t.note(ctx, w.ProjectID, phone.WebhookSet, w.ID, setDetail(w, old))
	})
	return w, err
}

func setWebhook(t *tx, w, old *phone.Webhook) error {
	w.Status, w.Revision = phone.WebhookActive, 1
	if old == nil {
		w.PreviousUntil = time.Time{}
		w.Seal()
		return insertWebhook(t, *w)
	}
	w.ID, w.CreatedAt, w.Revision, w.PreviousSecret = old.ID, old.CreatedAt, old.Revision+1, old.Secret
	w.Seal()
	return exec(t.Conn, "updateWebhook", w.ID, w.URL, w.Secret, string(w.Status), w.ContextLimit, int64(w.Timeout/time.Second), w.Revision,
		string(w.Ordering), w.RateLimit, w.PreviousSecret, micros(w.PreviousUntil))
}

// setDetail says for the audit log what was set.
func setDetail(w phone.Webhook, old *phone.Webhook) string {
	whose := "the project's default"
	if w.AgentID != "" {
		whose = "of agent " + w.AgentID
	}
	if old == nil {
		return whose + ": " + w.URL
	}
	if w.URL == old.URL {
		return whose + ": " + w.URL + " as before, with a new secret"
	}
	return whose + ": " + w.URL + ", was " + old.URL
}

func insertWebhook(t *tx, w phone.Webhook) error {
	return exec(t.Conn, "insertWebhook", w.ID, w.ProjectID, w.AgentID, w.URL, w.Secret, string(w.Status), w.ContextLimit,
		int64(w.Timeout/time.Second), micros(w.CreatedAt), w.Revision, string(w.Ordering), w.RateLimit, w.Listener, w.Owner)
}

// SetWebhookStatus enables or disables a webhook. Disabling ends what is pending
// of it as failed; it can be replayed.
func (s *Store) SetWebhookStatus(ctx context.Context, projectID, agentID string, status phone.WebhookStatus) (w phone.Webhook, err error) {
	err = s.write(ctx, func(t *tx) error {
		old, err := webhookOf(t.Conn, projectID, agentID)
		if err != nil {
			return err
		}
		if old == nil {
			return phone.Errorf(phone.NotFound, "no webhook is set here: set one first")
		}
		w = *old
		if w.Status == status {
			return nil
		}
		w.Status, w.Revision, w.FailingSince = status, w.Revision+1, time.Time{}
		if status == phone.WebhookDisabled {
			return disableWebhook(ctx, t, w, w.URL)
		}
		if err := exec(t.Conn, "setWebhookStatus", w.ID, string(status)); err != nil {
			return err
		}
		return t.note(ctx, projectID, phone.WebhookEnabled, w.ID, w.URL)
	})
	if err == nil && status == phone.WebhookDisabled {
		err = s.Settle(ctx, w.ID)
	}
	return w, err
}

// SetFailing notes since when a webhook's endpoint has failed; zero for "it does
// not". A start of the server begins with that knowledge.
func (s *Store) SetFailing(ctx context.Context, id string, since time.Time) error {
	return s.writeHot(ctx, func(t *tx) error { return exec(t.Conn, "setFailing", id, micros(since)) })
}

// DisableFailing disables a webhook whose endpoint has failed since a time. It
// does nothing where the webhook was set anew, or has worked, meanwhile.
func (s *Store) DisableFailing(ctx context.Context, id string, since time.Time) error {
	err := s.write(ctx, func(t *tx) error {
		w, err := webhookByID(t.Conn, id)
		if err != nil || w == nil || w.Status == phone.WebhookDisabled || micros(w.FailingSince) != micros(since) {
			return err
		}
		return disableWebhook(ctx, t, *w, w.URL+" has failed since "+since.UTC().Format(time.RFC3339))
	})
	if err == nil {
		err = s.Settle(ctx, id)
	}
	return err
}

// disableWebhook stops a webhook. Settle ends what is pending of it.
func disableWebhook(ctx context.Context, t *tx, w phone.Webhook, detail string) error {
	if err := exec(t.Conn, "setWebhookStatus", w.ID, string(phone.WebhookDisabled)); err != nil {
		return err
	}
	if err := t.note(ctx, w.ProjectID, phone.WebhookDisabledBy, w.ID, detail); err != nil {
		return err
	}
	return unsettle(t, w.ID, 0)
}

// unsettle takes everything pending of a webhook out of the dispatcher's hands,
// and marks it as left to settle. What that run of the server held is surely
// unsent; 0 where nobody knows what is under way.
func unsettle(t *tx, id string, run int64) error {
	if err := exec(t.Conn, "takeBackFrom", id, run, micros(time.Now())); err != nil {
		return err
	}
	return exec(t.Conn, "setSettling", id, 1)
}

// DeleteWebhook removes a webhook and settles what is pending of it by the
// routing rule. inFlight names its deliveries whose attempt is under way: the
// dispatcher knows, the store cannot.
func (s *Store) DeleteWebhook(ctx context.Context, projectID, agentID string, at time.Time, inFlight []string) error {
	var id string
	err := s.write(ctx, func(t *tx) error {
		w, err := webhookOf(t.Conn, projectID, agentID)
		if err != nil {
			return err
		}
		if w == nil {
			return phone.Errorf(phone.NotFound, "no webhook is set here, so there is none to delete")
		}
		id = w.ID
		return deleteWebhook(ctx, t, *w, at, inFlight)
	})
	if err != nil {
		return err
	}
	return s.Settle(ctx, id)
}

// deleteWebhook removes a webhook, and ends what is under way of it. What the
// dispatcher held besides was surely not sent: it is settled with the rest.
func deleteWebhook(ctx context.Context, t *tx, w phone.Webhook, at time.Time, inFlight []string) error {
	if err := exec(t.Conn, "deleteWebhook", w.ID, micros(at)); err != nil {
		return err
	}
	action, detail := phone.WebhookDeleted, w.URL
	if w.Listener {
		action, detail = phone.ListenerRemoved, "for agent "+w.AgentID
	}
	if err := t.note(ctx, w.ProjectID, action, w.ID, detail); err != nil {
		return err
	}
	if err := unsettle(t, w.ID, t.run); err != nil {
		return err
	}
	for _, id := range inFlight {
		j, err := jobByID(t.Conn, w.ProjectID, id)
		if phone.CodeOf(err) == phone.NotFound || err == nil && (j.status != phone.Pending || j.WebhookID != w.ID) {
			continue
		}
		if err != nil {
			return err
		}
		if err := exec(t.Conn, "mayBeSent", j.DeliveryID); err != nil {
			return err
		}
		p := pending{id: j.DeliveryID, agentID: j.AgentID, eventType: string(j.EventType), createdAt: micros(j.CreatedAt)}
		if err := p.settle(t, w.ProjectID, w.ID, phone.AfterWebhookDeleted(true, nil, nil, nil)); err != nil {
			return err
		}
	}
	return nil
}

// settleSlice is how many deliveries one transaction settles: others write in between.
const settleSlice = 1000

// Settle ends or binds anew what is pending of a webhook that is gone or
// disabled. After a crash it is called again for what SettleAll finds.
func (s *Store) Settle(ctx context.Context, webhookID string) error {
	for {
		done := false
		err := s.writeHot(ctx, func(t *tx) error {
			var err error
			done, err = settle(t, webhookID)
			return err
		})
		if err != nil || done {
			return err
		}
	}
}

// SettleAll finishes what an earlier run of the server began to settle.
func (s *Store) SettleAll(ctx context.Context) error {
	var ids []string
	err := s.read(ctx, func(c *sqlite.Conn) error {
		return each(c, "allSettling", func(r *row) error { ids = append(ids, r.text()); return nil })
	})
	for _, id := range ids {
		if err == nil {
			err = s.Settle(ctx, id)
		}
	}
	return err
}

// settle settles one slice, and says whether it was the last.
func settle(t *tx, webhookID string) (done bool, err error) {
	var projectID string
	var gone bool
	found, err := one(t.Conn, "settling", func(r *row) { projectID, gone = r.text(), r.bool() }, webhookID)
	if err != nil || !found {
		return true, err
	}
	var all []pending
	err = each(t.Conn, "pendingOf", func(r *row) error {
		all = append(all, pending{id: r.text(), agentID: r.text(), eventType: r.text(), createdAt: r.int64(), sent: r.int() > 0 || r.int64() != 0})
		return nil
	}, webhookID, settleSlice)
	if err != nil {
		return false, err
	}
	// The rule depends on the agent alone.
	bindings := map[string]phone.Binding{}
	for _, p := range all {
		b := phone.Binding{Status: phone.Failed, Error: phone.ErrorWebhookDisabled}
		if gone && p.sent {
			b = phone.AfterWebhookDeleted(true, nil, nil, nil)
		} else if gone {
			known := false
			if b, known = bindings[p.agentID]; !known {
				c, err := candidatesFor(t.Conn, projectID, p.agentID)
				if err != nil {
					return false, err
				}
				b = phone.AfterWebhookDeleted(false, c.listener, c.own, c.def)
				bindings[p.agentID] = b
			}
		}
		if err := p.settle(t, projectID, webhookID, b); err != nil {
			return false, err
		}
	}
	if len(all) == settleSlice {
		return false, nil
	}
	return true, exec(t.Conn, "setSettling", webhookID, 0)
}

// pending is what settling looks at of a delivery.
type pending struct {
	id, agentID, eventType string
	createdAt              int64
	sent                   bool // it may have been
}

// settle ends a pending delivery where it was bound, or binds it anew.
func (p pending) settle(t *tx, projectID, webhookID string, b phone.Binding) error {
	next := int64(0)
	if b.Status == phone.Pending {
		next = min(p.createdAt, micros(time.Now()))
	}
	if b.Status == phone.Failed && b.Webhook == nil {
		b.Webhook = &phone.Webhook{ID: webhookID}
	}
	to, limit := target(b)
	t.count(projectID, p.createdAt, p.eventType, phone.Pending, b.Status, 1)
	return exec(t.Conn, "settle", p.id, to, limit, string(b.Status), b.Error, next, isStrict(b))
}

// candidates are the rows the routing rule looks at; nil where there is none, or
// where an earlier one decides already.
type candidates struct{ listener, own, def *phone.Webhook }

func candidatesFor(c *sqlite.Conn, projectID, agentID string) (out candidates, err error) {
	if out.listener, err = liveListener(c, projectID, agentID); err != nil || out.listener != nil {
		return out, err
	}
	if out.own, err = liveWebhook(c, projectID, agentID); err != nil || out.own != nil {
		return out, err
	}
	out.def, err = liveWebhook(c, projectID, "")
	return out, err
}

// target is a binding as columns.
func target(b phone.Binding) (webhookID string, contextLimit int) {
	if b.Webhook == nil {
		return "", phone.DefaultContextLimit
	}
	return b.Webhook.ID, b.Webhook.ContextLimit
}
