package switchboard

import (
	"context"
	"time"

	"switchhook.dev/switchhook/internal/phone"
)

// Shared is what the switchboard needs of a store that other nodes work on too.
// Each node settles what it owns of a webhook that is gone or disabled: it alone
// knows what is under way.
type Shared interface {
	// SettleOwned ends or binds anew what this run owns of a webhook, where that is
	// deleted or disabled. inFlight names those whose attempt is under way. It
	// answers the webhook's project.
	SettleOwned(ctx context.Context, webhookID string, inFlight []string) (projectID string, err error)
	// Unsettled says whether runs that are alive own pending deliveries of a webhook.
	Unsettled(ctx context.Context, webhookID string) (bool, error)
	// Superseded returns those of turns, given by their calls and their deliveries,
	// whose call has been asked another question since, through whichever node.
	Superseded(ctx context.Context, projectID string, calls, deliveries []string) ([]string, error)
	// Changing returns what may have changed of a project's deliveries, through whichever
	// node: what was made since a time, what is pending, and those of ids; each up to some
	// number, the newest of what was made.
	Changing(ctx context.Context, projectID string, since time.Time, ids []string) ([]phone.Delivery, error)
	// Here says whether this node sends what is bound to a webhook, as far as the
	// webhook decides that.
	Here(w phone.Webhook) bool
}

// How long the call that takes a webhook away waits for the other nodes, and how
// often it looks.
const (
	obeyWithin = 3 * time.Second
	obeyLook   = 20 * time.Millisecond
)

// Obey makes this node treat a webhook as the store has it: it may have been made,
// changed or taken away through another. What the node owns of it goes the new
// way, or is settled.
func (s *Switchboard) Obey(ctx context.Context, id string) error {
	gone, err := s.obey(ctx, id)
	if gone && err == nil && s.cfg.ListenerLost != nil {
		s.cfg.ListenerLost(id)
	}
	return err
}

func (s *Switchboard) obey(ctx context.Context, id string) (gone bool, err error) {
	s.settling.Lock()
	defer s.settling.Unlock()
	w, err := s.cfg.Store.WebhookByID(ctx, id)
	if err != nil {
		return false, err
	}
	d := s.cfg.Dispatcher
	if w == nil || w.Status != phone.WebhookActive {
		projectID, err := s.cfg.Shared.SettleOwned(ctx, id, d.Close(id))
		if err == nil && w == nil {
			d.Forget(id)
			d.WakeProject(projectID)
		}
		return w == nil, err
	}
	if !s.Here(*w) {
		return false, nil
	}
	switch revision, open := d.Knows(id); {
	case open && revision >= w.Revision:
		d.Wake(id)
	case revision < w.Revision:
		d.Refresh(*w)
	}
	return false, nil
}

// StopSuperseded cancels the turns under way here whose call has been asked another
// question since, through another node.
func (s *Switchboard) StopSuperseded(ctx context.Context) error {
	for projectID, open := range s.turns.underWayHere() {
		ids, err := s.cfg.Shared.Superseded(ctx, projectID, open.calls, open.deliveries)
		if err != nil {
			return err
		}
		s.turns.supersede(ids)
	}
	return nil
}

// awaitOthers waits until no other node sends to webhooks that were taken away, so
// that this holds when the call is answered. A node that does not obey within
// obeyWithin has other troubles; it will. Those that are nil are passed over.
func (s *Switchboard) awaitOthers(ctx context.Context, failed error, webhooks ...*phone.Webhook) {
	if s.cfg.Shared == nil || failed != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, obeyWithin)
	defer cancel()
	for _, w := range webhooks {
		for w != nil {
			unsettled, err := s.cfg.Shared.Unsettled(ctx, w.ID)
			if err != nil || !unsettled {
				break
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(obeyLook):
			}
		}
	}
}
