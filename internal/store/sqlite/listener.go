package sqlite

import (
	"context"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"zombiezen.com/go/sqlite"
)

// Listener returns the webhook of whoever listens for an agent; nil where nobody
// does.
func (s *Store) Listener(ctx context.Context, projectID, agentID string) (w *phone.Webhook, err error) {
	err = s.read(ctx, func(c *sqlite.Conn) error {
		w, err = liveListener(c, projectID, agentID)
		return err
	})
	return w, err
}

func liveListener(c *sqlite.Conn, projectID, agentID string) (w *phone.Webhook, err error) {
	_, err = one(c, "listener", func(r *row) { v := readWebhook(r); w = &v }, projectID, agentID)
	return w, err
}

// AddListener makes w the webhook of who listens for w.AgentID, from the next
// event on. Conflict where somebody listens already, NotFound for an unknown agent.
// There is one server: what they are known by at another need not be kept.
func (s *Store) AddListener(ctx context.Context, add phone.Webhook, _, _ string) (w phone.Webhook, err error) {
	err = s.write(ctx, func(t *tx) error {
		w = add
		if err := agentExists(t.Conn, w.ProjectID, w.AgentID); err != nil {
			return err
		}
		if old, err := liveListener(t.Conn, w.ProjectID, w.AgentID); err != nil {
			return err
		} else if old != nil {
			return phone.Errorf(phone.Conflict, "somebody listens for this agent already: stop that `switchhook listen` first")
		}
		w.Status, w.Revision, w.Listener = phone.WebhookActive, 1, true
		w.Seal()
		if err := insertWebhook(t, w); err != nil {
			return err
		}
		return t.note(ctx, w.ProjectID, phone.ListenerAdded, w.ID, "for agent "+w.AgentID)
	})
	return w, err
}

// RemoveListener removes a listener's webhook and settles what is pending of it by
// the routing rule, as DeleteWebhook does. One that is gone already is no error.
func (s *Store) RemoveListener(ctx context.Context, id string, at time.Time, inFlight []string) error {
	err := s.write(ctx, func(t *tx) error {
		w, err := webhookByID(t.Conn, id)
		if err != nil || w == nil || !w.Listener {
			return err
		}
		return deleteWebhook(ctx, t, *w, at, inFlight)
	})
	if err != nil {
		return err
	}
	return s.Settle(ctx, id)
}

// RemoveListeners removes all that is left of a node's listeners: their
// connections ended with it. SettleAll then settles what is pending of them.
func (s *Store) RemoveListeners(ctx context.Context, owner string, at time.Time) error {
	return s.write(ctx, func(t *tx) error {
		var left []phone.Webhook
		err := each(t.Conn, "listenersOf", func(r *row) error { left = append(left, readWebhook(r)); return nil }, owner)
		for _, w := range left {
			if err == nil {
				err = deleteWebhook(ctx, t, w, at, nil)
			}
		}
		return err
	})
}
