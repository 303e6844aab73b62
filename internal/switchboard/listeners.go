package switchboard

import (
	"context"
	"net/url"
	"time"

	"switchhook.dev/switchhook/internal/listen"
	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/webhook"
)

// maxForward bounds what a listener says about where it forwards to.
const maxForward = 2048

// Listener returns the webhook of whoever listens for an agent; nil where nobody
// does.
func (s *Switchboard) Listener(ctx context.Context, projectID, agentID string) (*phone.Webhook, error) {
	if _, err := s.cfg.Store.Agent(ctx, projectID, agentID); err != nil {
		return nil, err
	}
	return s.cfg.Store.Listener(ctx, projectID, agentID)
}

// Here says whether what is bound to a webhook is this node's to send, as far as the
// webhook decides that: a listener's connection is at one node.
func (s *Switchboard) Here(w phone.Webhook) bool { return s.cfg.Shared == nil || s.cfg.Shared.Here(w) }

// AddListener makes the webhook of who listens for an agent, and starts sending to
// it. What is not chosen is as with the agent's own webhook. session is what they are
// known by from now on, before what they were known by, at whichever node.
func (s *Switchboard) AddListener(ctx context.Context, projectID, agentID string, set listen.Settings, session, before string) (phone.Webhook, error) {
	w := phone.Webhook{
		ID: phone.NewID(phone.PrefixWebhook), ProjectID: projectID, AgentID: agentID, Secret: set.Secret, Owner: s.cfg.Owner,
		ContextLimit: phone.DefaultContextLimit, Timeout: phone.DefaultTimeout, Ordering: phone.OrderRelaxed,
		CreatedAt: time.Now().UTC().Truncate(time.Millisecond),
	}
	w.URL = listen.Scheme + "://" + w.ID + "/" + set.Forward
	if w.Secret == "" {
		w.Secret = webhook.NewSecret()
	}
	if err := checkListener(set, w); err != nil {
		return phone.Webhook{}, err
	}
	s.settling.Lock()
	defer s.settling.Unlock()
	own, err := s.cfg.Store.Webhook(ctx, projectID, agentID)
	if err != nil {
		return phone.Webhook{}, err
	}
	if own != nil {
		w.ContextLimit, w.Timeout, w.Ordering, w.RateLimit = own.ContextLimit, own.Timeout, own.Ordering, own.RateLimit
	}
	if set.ContextLimit != nil {
		w.ContextLimit = *set.ContextLimit
	}
	if set.TimeoutSeconds != nil {
		w.Timeout = time.Duration(*set.TimeoutSeconds) * time.Second
	}
	w, err = s.cfg.Store.AddListener(ctx, w, session, before)
	if err == nil {
		s.cfg.Dispatcher.Refresh(w)
	}
	return w, err
}

func checkListener(set listen.Settings, w phone.Webhook) error {
	if _, err := webhook.NewSigner(w.Secret); err != nil {
		return phone.Errorf(phone.BadRequest, "the secret to sign with is not of the form whsec_ and base64: leave it out, and one is made")
	}
	if _, err := url.Parse(w.URL); err != nil || len(set.Forward) > maxForward {
		return phone.Errorf(phone.BadRequest, "the address to forward to cannot be written as part of a URL")
	}
	if l := set.ContextLimit; l != nil && (*l < 0 || *l > phone.MaxContextLimit) {
		return phone.Errorf(phone.BadRequest, "the context limit must be 0 to %d", phone.MaxContextLimit)
	}
	if t := set.TimeoutSeconds; t != nil && (*t < int(phone.MinTimeout/time.Second) || *t > int(phone.MaxTimeout/time.Second)) {
		return phone.Errorf(phone.BadRequest, "the timeout must be 5 to 120 seconds")
	}
	return nil
}

// RemoveListener removes a listener's webhook. What is pending of it is settled by
// the routing rule before this returns.
func (s *Switchboard) RemoveListener(ctx context.Context, w phone.Webhook) error {
	s.settling.Lock()
	defer s.settling.Unlock()
	inFlight := s.cfg.Dispatcher.Close(w.ID)
	if err := s.cfg.Store.RemoveListener(ctx, w.ID, time.Now(), inFlight); err != nil {
		return err
	}
	s.cfg.Dispatcher.Forget(w.ID)
	s.cfg.Dispatcher.WakeProject(w.ProjectID)
	return nil
}

// ListenerStands says whether a listener's webhook is still there.
func (s *Switchboard) ListenerStands(ctx context.Context, w phone.Webhook) (bool, error) {
	now, err := s.cfg.Store.WebhookByID(ctx, w.ID)
	return now != nil, err
}

// PauseListener starts nothing more for a listener, whose connection is lost.
func (s *Switchboard) PauseListener(_ context.Context, w phone.Webhook) {
	s.settling.Lock()
	defer s.settling.Unlock()
	s.cfg.Dispatcher.Close(w.ID)
}

// ResumeListener goes on with a listener that is connected again.
func (s *Switchboard) ResumeListener(ctx context.Context, w phone.Webhook) error {
	s.settling.Lock()
	defer s.settling.Unlock()
	now, err := s.cfg.Store.Listener(ctx, w.ProjectID, w.AgentID)
	if err == nil && now != nil && now.ID == w.ID {
		s.cfg.Dispatcher.Refresh(*now)
	}
	return err
}
