package postgres

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"switchhook.dev/switchhook/internal/phone"
)

// Listener returns the webhook of whoever listens for an agent; nil where nobody
// does.
func (s *Store) Listener(ctx context.Context, projectID, agentID string) (w *phone.Webhook, err error) {
	err = s.read(ctx, func(c *tx) error {
		w, err = liveListener(c, projectID, agentID)
		return err
	})
	return w, err
}

func liveListener(c *tx, projectID, agentID string) (w *phone.Webhook, err error) {
	_, err = one(c, "listener", func(r *row) { v := readWebhook(r); w = &v }, projectID, agentID)
	return w, err
}

// A listener's webhook says in its owner which run has the connection, and by what
// who listens is known again at another node: "<run> <session>". What is bound to it
// is that run's to send, whoever accepts it. When the run is over, or leaves, whoever
// adopts from it removes the listener first (node.go).

// listenerRun is the run that has the connection of a listener; 0 for other webhooks.
func listenerRun(w *phone.Webhook) int64 {
	if w == nil || !w.Listener {
		return 0
	}
	run, _, _ := strings.Cut(w.Owner, " ")
	n, err := strconv.ParseInt(run, 10, 64)
	if err != nil {
		return 0 // an earlier version of the program wrote the node's name
	}
	return n
}

// Here says whether this run is the one that sends what is bound to a webhook, as
// far as the webhook decides that: a listener's connection is one run's.
func (s *Store) Here(w phone.Webhook) bool {
	at := listenerRun(&w)
	return at == 0 || at == s.run.Load()
}

// AddListener makes w the webhook of who listens for w.AgentID, from the next
// event on; this run has the connection. session is what they are known by from now
// on, before what they were known by; "" for neither. They take the place of their
// earlier self, on whichever node that was; where somebody else listens it is a
// Conflict. NotFound for an unknown agent.
func (s *Store) AddListener(ctx context.Context, add phone.Webhook, session, before string) (w phone.Webhook, err error) {
	err = s.write(ctx, func(t *tx) error {
		t.lockProject(add.ProjectID)
		w = add
		if err := agentExists(t, w.ProjectID, w.AgentID); err != nil {
			return err
		}
		old, err := liveListener(t, w.ProjectID, w.AgentID)
		if err != nil {
			return err
		}
		if old != nil {
			if _, known, _ := strings.Cut(old.Owner, " "); before == "" || known != before {
				return phone.Errorf(phone.Conflict, "somebody listens for this agent already: stop that `switchhook listen` first")
			}
			if err := deleteWebhook(ctx, t, *old, time.Now(), nil); err != nil {
				return err
			}
		}
		w.Owner = fmt.Sprint(t.run, " ", session)
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
	projectID, err := s.projectOf(ctx, id)
	if err != nil || projectID == "" {
		return err
	}
	err = s.write(ctx, func(t *tx) error {
		t.lockProject(projectID)
		w, err := webhookByID(t, projectID, id)
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

// RemoveListeners removes what is left of listeners: a node's whose connections an
// earlier version of the program had, and those of runs that are over. SettleAll then
// settles what is pending of them.
func (s *Store) RemoveListeners(ctx context.Context, owner string, at time.Time) error {
	return s.removeListeners(ctx, at, "listenersOf", owner)
}

// removeListenersOf removes the listeners of runs.
func (s *Store) removeListenersOf(ctx context.Context, runs []int64) error {
	return s.removeListeners(ctx, time.Now(), "listenersOfRuns", runs)
}

func (s *Store) removeListeners(ctx context.Context, at time.Time, name string, whose any) error {
	var left []phone.Webhook
	err := s.readOne(ctx, func(t *tx) error {
		left = nil
		return each(t, name, func(r *row) error { left = append(left, readWebhook(r)); return nil }, whose)
	})
	for _, w := range left {
		if err != nil {
			return err
		}
		err = s.write(ctx, func(t *tx) error {
			t.lockProject(w.ProjectID)
			now, err := webhookByID(t, w.ProjectID, w.ID)
			if err != nil || now == nil {
				return err
			}
			return deleteWebhook(ctx, t, *now, at, nil)
		})
	}
	return err
}
