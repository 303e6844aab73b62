package postgres

import (
	"context"
	"time"

	"switchhook.dev/switchhook/internal/phone"
)

// Webhook returns the live webhook of an agent, or ("") the project's default;
// nil where none is set, NotFound for an unknown agent.
func (s *Store) Webhook(ctx context.Context, projectID, agentID string) (w *phone.Webhook, err error) {
	err = s.read(ctx, func(c *tx) error {
		w, err = webhookOf(c, projectID, agentID)
		return err
	})
	return w, err
}

func webhookOf(c *tx, projectID, agentID string) (*phone.Webhook, error) {
	if agentID != "" {
		if err := agentExists(c, projectID, agentID); err != nil {
			return nil, err
		}
	}
	return liveWebhook(c, projectID, agentID)
}

func liveWebhook(c *tx, projectID, agentID string) (w *phone.Webhook, err error) {
	_, err = one(c, "webhook", func(r *row) { v := readWebhook(r); w = &v }, projectID, agentID)
	return w, err
}

// WebhookByID returns a live webhook, or nil.
func (s *Store) WebhookByID(ctx context.Context, id string) (w *phone.Webhook, err error) {
	projectID, err := s.projectOf(ctx, id)
	if err != nil || projectID == "" {
		return nil, err
	}
	err = s.readOne(ctx, func(t *tx) error {
		w, err = webhookByID(t, projectID, id)
		return err
	})
	return w, err
}

func webhookByID(c *tx, projectID, id string) (w *phone.Webhook, err error) {
	_, err = one(c, "webhookByID", func(r *row) { v := readWebhook(r); w = &v }, projectID, id)
	return w, err
}

// ActiveWebhooks returns every live webhook that this run sends to, of all projects.
func (s *Store) ActiveWebhooks(ctx context.Context) (out []phone.Webhook, err error) {
	err = s.read(ctx, func(c *tx) error {
		return each(c, "activeWebhooks", func(r *row) error {
			if w := readWebhook(r); s.Here(w) {
				out = append(out, w)
			}
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
		t.lockProject(set.ProjectID)
		w = set
		old, err := webhookOf(t, w.ProjectID, w.AgentID)
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
	t.poke(everybody)
	w.Status, w.Revision = phone.WebhookActive, 1
	if old == nil {
		w.PreviousUntil = time.Time{}
		w.Seal()
		return insertWebhook(t, *w)
	}
	w.ID, w.CreatedAt, w.Revision, w.PreviousSecret = old.ID, old.CreatedAt, old.Revision+1, old.Secret
	w.Seal()
	return exec(t, "updateWebhook", w.ProjectID, w.ID, w.URL, w.Secret, string(w.Status), w.ContextLimit, int64(w.Timeout/time.Second), w.Revision,
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
	return exec(t, "insertWebhook", w.ID, w.ProjectID, w.AgentID, w.URL, w.Secret, string(w.Status), w.ContextLimit,
		int64(w.Timeout/time.Second), micros(w.CreatedAt), w.Revision, string(w.Ordering), w.RateLimit, w.Listener, w.Owner)
}

// SetWebhookStatus enables or disables a webhook. Disabling ends what is pending
// of it as failed; it can be replayed.
func (s *Store) SetWebhookStatus(ctx context.Context, projectID, agentID string, status phone.WebhookStatus) (w phone.Webhook, err error) {
	err = s.write(ctx, func(t *tx) error {
		t.lockProject(projectID)
		old, err := webhookOf(t, projectID, agentID)
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
		t.poke(everybody)
		if err := exec(t, "setWebhookStatus", projectID, w.ID, string(status)); err != nil {
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
	projectID, err := s.projectOf(ctx, id)
	if err != nil {
		return err
	}
	return s.write(ctx, func(t *tx) error { return exec(t, "setFailing", projectID, id, micros(since)) })
}

// DisableFailing disables a webhook whose endpoint has failed since a time. It
// does nothing where the webhook was set anew, or has worked, meanwhile.
func (s *Store) DisableFailing(ctx context.Context, id string, since time.Time) error {
	projectID, err := s.projectOf(ctx, id)
	if err != nil {
		return err
	}
	err = s.write(ctx, func(t *tx) error {
		t.lockProject(projectID)
		w, err := webhookByID(t, projectID, id)
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

// disableWebhook stops a webhook. Settle ends what is pending of it. The caller has
// locked the project.
func disableWebhook(ctx context.Context, t *tx, w phone.Webhook, detail string) error {
	t.poke(everybody)
	exec(t, "setWebhookStatus", w.ProjectID, w.ID, string(phone.WebhookDisabled))
	t.unsettle(w, 0)
	return t.note(ctx, w.ProjectID, phone.WebhookDisabledBy, w.ID, detail)
}

// DeleteWebhook removes a webhook and settles what is pending of it by the
// routing rule. inFlight names its deliveries whose attempt is under way: the
// dispatcher knows, the store cannot.
func (s *Store) DeleteWebhook(ctx context.Context, projectID, agentID string, at time.Time, inFlight []string) error {
	var id string
	err := s.write(ctx, func(t *tx) error {
		t.lockProject(projectID)
		w, err := webhookOf(t, projectID, agentID)
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
// dispatcher held besides was surely not sent: it is settled with the rest. The
// caller has locked the project, so nothing is bound to the webhook any more.
func deleteWebhook(ctx context.Context, t *tx, w phone.Webhook, at time.Time, inFlight []string) error {
	exec(t, "deleteWebhook", w.ProjectID, w.ID, micros(at))
	t.unsettle(w, t.run)
	action, detail := phone.WebhookDeleted, w.URL
	if w.Listener {
		action, detail = phone.ListenerRemoved, "for agent "+w.AgentID
	}
	t.poke(everybody)
	if err := t.note(ctx, w.ProjectID, action, w.ID, detail); err != nil || len(inFlight) == 0 {
		return err
	}
	return settleInFlight(t, w.ProjectID, w.ID, inFlight)
}

// settleInFlight ends deliveries of a webhook that is gone whose attempts are under way.
func settleInFlight(t *tx, projectID, webhookID string, inFlight []string) error {
	flying, err := readPending(t, "pendingAmong", projectID, webhookID, inFlight, t.run)
	if err != nil {
		return err
	}
	exec(t, "mayBeSent", projectID, column(flying, func(p pending) string { return p.id }))
	for i := range flying {
		flying[i].binding = phone.AfterWebhookDeleted(true, nil, nil, nil)
	}
	return settleThese(t, projectID, webhookID, flying)
}

// candidates are the rows the routing rule looks at; nil where there is none, or
// where an earlier one decides already.
type candidates struct{ listener, own, def *phone.Webhook }

func candidatesFor(c *tx, projectID, agentID string) (out candidates, err error) {
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
