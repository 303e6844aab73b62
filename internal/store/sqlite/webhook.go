package sqlite

import (
	"context"
	"encoding/json"
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
// time then stay, everything else is w's, and it is active again.
func (s *Store) SetWebhook(ctx context.Context, w phone.Webhook) (phone.Webhook, error) {
	err := s.write(ctx, func(t *tx) error {
		old, err := webhookOf(t.Conn, w.ProjectID, w.AgentID)
		if err != nil {
			return err
		}
		w.Status, w.Revision = phone.WebhookActive, 1
		timeout := int64(w.Timeout / time.Second)
		if old == nil {
			return exec(t.Conn, "insertWebhook", w.ID, w.ProjectID, w.AgentID, w.URL, w.Secret,
				string(w.Status), w.ContextLimit, timeout, micros(w.CreatedAt), w.Revision)
		}
		w.ID, w.CreatedAt, w.Revision = old.ID, old.CreatedAt, old.Revision+1
		return exec(t.Conn, "updateWebhook", w.ID, w.URL, w.Secret, string(w.Status), w.ContextLimit, timeout, w.Revision)
	})
	return w, err
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
		w.Status, w.Revision = status, w.Revision+1
		if status == phone.WebhookDisabled {
			return disableWebhook(t, w.ProjectID, w.ID)
		}
		return exec(t.Conn, "setWebhookStatus", w.ID, string(status))
	})
	return w, err
}

// disableWebhook stops a webhook and ends what is pending of it.
func disableWebhook(t *tx, projectID, id string) error {
	if err := exec(t.Conn, "setWebhookStatus", id, string(phone.WebhookDisabled)); err != nil {
		return err
	}
	if err := t.countMoved(projectID, phone.Failed, "countPending", id, ""); err != nil {
		return err
	}
	return exec(t.Conn, "failPending", id, phone.ErrorWebhookDisabled)
}

// countMoved counts the pending deliveries that a query groups as moved to another state.
func (t *tx) countMoved(projectID string, to phone.DeliveryStatus, name string, values ...any) error {
	return each(t.Conn, name, func(r *row) error {
		event, hour := r.text(), r.int64()
		t.count(projectID, hour*microsPerHour, event, phone.Pending, to, r.int())
		return nil
	}, values...)
}

// DeleteWebhook removes a webhook and settles what is pending of it by the
// routing rule. inFlight names its deliveries whose first attempt is under way:
// the dispatcher knows, the store cannot.
func (s *Store) DeleteWebhook(ctx context.Context, projectID, agentID string, at time.Time, inFlight []string) error {
	return s.write(ctx, func(t *tx) error {
		w, err := webhookOf(t.Conn, projectID, agentID)
		if err != nil {
			return err
		}
		if w == nil {
			return phone.Errorf(phone.NotFound, "no webhook is set here, so there is none to delete")
		}
		return deleteWebhook(t, *w, at, inFlight)
	})
}

func deleteWebhook(t *tx, w phone.Webhook, at time.Time, inFlight []string) error {
	if err := exec(t.Conn, "deleteWebhook", w.ID, micros(at)); err != nil {
		return err
	}
	ids, err := json.Marshal(append([]string{}, inFlight...))
	if err != nil {
		return err
	}
	if err := t.countMoved(w.ProjectID, phone.Failed, "countSent", w.ID, t.run, string(ids)); err != nil {
		return err
	}
	sent := phone.AfterWebhookDeleted(true, nil, nil)
	if err := exec(t.Conn, "failSent", w.ID, t.run, string(ids), sent.Error); err != nil {
		return err
	}
	return rebind(t, w)
}

// rebind gives what is still pending of a deleted webhook, and was never sent,
// to where the rule says today. The rule depends on the agent alone.
func rebind(t *tx, w phone.Webhook) error {
	var agents []string
	err := each(t.Conn, "agentsPending", func(r *row) error {
		agents = append(agents, r.text())
		return nil
	}, w.ID)
	if err != nil {
		return err
	}
	for _, agentID := range agents {
		own, def, err := candidates(t.Conn, w.ProjectID, agentID)
		if err != nil {
			return err
		}
		b := phone.AfterWebhookDeleted(false, own, def)
		if err := t.countMoved(w.ProjectID, b.Status, "countPending", w.ID, agentID); err != nil {
			return err
		}
		to, limit := target(b)
		if err := exec(t.Conn, "bindPending", w.ID, agentID, to, limit, string(b.Status), b.Error); err != nil {
			return err
		}
	}
	return nil
}

// candidates reads the two rows the routing rule looks at.
func candidates(c *sqlite.Conn, projectID, agentID string) (own, def *phone.Webhook, err error) {
	if own, err = liveWebhook(c, projectID, agentID); err != nil || own != nil {
		return own, nil, err
	}
	def, err = liveWebhook(c, projectID, "")
	return nil, def, err
}

// target is a binding as columns.
func target(b phone.Binding) (webhookID string, contextLimit int) {
	if b.Webhook == nil {
		return "", phone.DefaultContextLimit
	}
	return b.Webhook.ID, b.Webhook.ContextLimit
}
