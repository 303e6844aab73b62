package switchboard

import (
	"context"
	"errors"
	"slices"
	"time"

	"switchhook.dev/switchhook/internal/deliver"
	"switchhook.dev/switchhook/internal/netguard"
	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/webhook"
)

// WebhookSettings is what a caller chooses about a webhook.
type WebhookSettings struct {
	URL          string
	ContextLimit int
	Timeout      time.Duration
	Ordering     phone.Ordering
	// RateLimit is in requests a second; 0 is no bound.
	RateLimit int
}

// TestResult is what came of testing a webhook.
type TestResult struct {
	DeliveryID string
	Success    bool
	// HTTPStatus is 0 where there was no answer; Error then says why.
	HTTPStatus int
	Error      string
	Response   time.Duration
}

// Webhook returns an agent's own webhook, or ("") the project's default; nil
// where none is set.
func (s *Switchboard) Webhook(ctx context.Context, projectID, agentID string) (*phone.Webhook, error) {
	return s.cfg.Store.Webhook(ctx, projectID, agentID)
}

// SetWebhook creates or updates a webhook, with a new secret either way. What is
// pending of it goes to the new URL, signed with the new secret.
func (s *Switchboard) SetWebhook(ctx context.Context, projectID, agentID string, set WebhookSettings) (phone.Webhook, error) {
	if err := s.CheckURL(set.URL); err != nil {
		return phone.Webhook{}, &phone.Error{Code: phone.Invalid, Faults: []phone.Fault{{Loc: []any{"body", "url"}, Msg: err.Reason, Type: err.Type}}}
	}
	s.settling.Lock()
	defer s.settling.Unlock()
	now := time.Now().UTC().Truncate(time.Millisecond)
	w, err := s.cfg.Store.SetWebhook(ctx, phone.Webhook{
		ID: phone.NewID(phone.PrefixWebhook), ProjectID: projectID, AgentID: agentID, URL: set.URL, Secret: webhook.NewSecret(),
		ContextLimit: set.ContextLimit, Timeout: set.Timeout, Ordering: set.Ordering, RateLimit: set.RateLimit, CreatedAt: now,
		PreviousUntil: now.Add(phone.PreviousSecretLife),
	})
	if err != nil {
		return w, err
	}
	s.cfg.Dispatcher.Refresh(w)
	return w, nil
}

// CheckURL says what is wrong with a webhook's URL, or nil.
func (s *Switchboard) CheckURL(raw string) *netguard.URLError {
	err := s.cfg.Policy.CheckURL(raw)
	if err == nil {
		return nil
	}
	if u, ok := errors.AsType[*netguard.URLError](err); ok {
		return u
	}
	return &netguard.URLError{Reason: err.Error(), Type: netguard.TypeParsing}
}

// SetWebhookStatus enables or disables a webhook without a new secret.
func (s *Switchboard) SetWebhookStatus(ctx context.Context, projectID, agentID string, status phone.WebhookStatus) (_ phone.Webhook, err error) {
	var gone *phone.Webhook
	defer func() { s.awaitOthers(ctx, err, gone) }() // once it is unlocked
	s.settling.Lock()
	defer s.settling.Unlock()
	old, err := s.cfg.Store.Webhook(ctx, projectID, agentID)
	if err != nil {
		return phone.Webhook{}, err
	}
	if old != nil && status == phone.WebhookDisabled {
		s.cfg.Dispatcher.Close(old.ID)
		gone = old
	}
	w, err := s.cfg.Store.SetWebhookStatus(ctx, projectID, agentID, status)
	switch {
	case err == nil:
		s.cfg.Dispatcher.Refresh(w)
	case old != nil:
		s.cfg.Dispatcher.Refresh(*old)
	}
	return w, err
}

// DeleteWebhook removes a webhook. What is pending of it is settled by the
// routing rule before this returns.
func (s *Switchboard) DeleteWebhook(ctx context.Context, projectID, agentID string) (err error) {
	var w *phone.Webhook
	defer func() { s.awaitOthers(ctx, err, w) }() // once it is unlocked
	s.settling.Lock()
	defer s.settling.Unlock()
	if w, err = s.cfg.Store.Webhook(ctx, projectID, agentID); err != nil {
		return err
	}
	return s.settle(projectID, []*phone.Webhook{w}, func(inFlight []string) error {
		return s.cfg.Store.DeleteWebhook(ctx, projectID, agentID, time.Now(), inFlight)
	})
}

// DeleteAgent removes an agent, its webhook and who listens for it; its numbers
// stay, unassigned. It answers the agent as it was.
func (s *Switchboard) DeleteAgent(ctx context.Context, projectID, id string) (a phone.Agent, err error) {
	var own, listener *phone.Webhook
	defer func() { s.awaitOthers(ctx, err, own, listener) }() // once it is unlocked
	s.settling.Lock()
	defer s.settling.Unlock()
	if own, err = s.cfg.Store.Webhook(ctx, projectID, id); err != nil {
		return a, err
	}
	if listener, err = s.cfg.Store.Listener(ctx, projectID, id); err != nil {
		return a, err
	}
	err = s.settle(projectID, []*phone.Webhook{own, listener}, func(inFlight []string) (err error) {
		a, err = s.cfg.Store.DeleteAgent(ctx, projectID, id, time.Now(), inFlight)
		return err
	})
	if err == nil && listener != nil && s.cfg.ListenerGone != nil {
		s.cfg.ListenerGone(listener.ID)
	}
	return a, err
}

// settle takes webhooks away: first the dispatcher stops starting anything for
// it and tells what is under way, then the store moves the rest, then whoever
// got it is woken. A crash in between loses nothing: the store alone decides.
// The caller holds settling; those that are nil are passed over.
func (s *Switchboard) settle(projectID string, webhooks []*phone.Webhook, remove func(inFlight []string) error) error {
	webhooks = slices.DeleteFunc(webhooks, func(w *phone.Webhook) bool { return w == nil })
	var inFlight []string
	for _, w := range webhooks {
		inFlight = append(inFlight, s.cfg.Dispatcher.Close(w.ID)...)
	}
	if err := remove(inFlight); err != nil {
		for _, w := range webhooks {
			s.cfg.Dispatcher.Refresh(*w)
		}
		return err
	}
	for _, w := range webhooks {
		s.cfg.Dispatcher.Forget(w.ID)
	}
	if len(webhooks) > 0 {
		s.cfg.Dispatcher.WakeProject(projectID)
	}
	return nil
}

// testSlack is how long past its timeout a test stays out of the lanes' sight:
// only a crash leaves one pending that long.
const testSlack = time.Minute

// TestWebhook makes one signed attempt at a webhook, now, disabled or not. The
// payload names an agent: the webhook's own, the one asked for, or the project's
// first.
func (s *Switchboard) TestWebhook(ctx context.Context, projectID, agentID, namedAgentID string) (TestResult, error) {
	w, err := s.cfg.Store.Webhook(ctx, projectID, agentID)
	if err != nil {
		return TestResult{}, err
	}
	if w == nil {
		return TestResult{}, phone.Errorf(phone.NotFound, "no webhook is set here to test: set one first")
	}
	agent, err := s.namedAgent(ctx, projectID, agentID, namedAgentID)
	if err != nil {
		return TestResult{}, err
	}
	now := time.Now().UTC().Truncate(time.Millisecond)
	e := testEvent(agent, now)
	j := &phone.Job{
		DeliveryID: phone.DeliveryID(e.ID), ProjectID: projectID, AgentID: agent.ID, WebhookID: w.ID, MessageID: e.MessageID,
		EventType: e.Type, Channel: e.Channel, Round: 1, CreatedAt: now, Handed: true,
		// As if every attempt but the last were spent.
		RoundAttempts: s.cfg.Dispatcher.Attempts() - 1,
	}
	if err := s.cfg.Store.CreateTest(ctx, e, *w, j, now.Add(w.Timeout+testSlack)); err != nil {
		return TestResult{}, err
	}
	res, err := s.cfg.Dispatcher.Now(ctx, *w, j)
	if err != nil {
		return TestResult{}, err
	}
	return TestResult{
		DeliveryID: j.DeliveryID, Success: res.Status == phone.Success,
		HTTPStatus: res.Attempt.HTTPStatus, Error: res.Attempt.Error, Response: res.Attempt.Duration,
	}, nil
}

func (s *Switchboard) namedAgent(ctx context.Context, projectID, own, named string) (phone.Agent, error) {
	if own != "" {
		named = own
	}
	if named != "" {
		return s.cfg.Store.Agent(ctx, projectID, named)
	}
	agents, _, err := s.cfg.Store.Agents(ctx, projectID, 1, 0)
	if err == nil && len(agents) == 0 {
		err = phone.Errorf(phone.NotFound, "this project has no agent for the payload to name: create one with POST /v1/agents")
	}
	if err != nil {
		return phone.Agent{}, err
	}
	return agents[0], nil
}

// testEvent is a text that nobody wrote. It joins no conversation.
func testEvent(a phone.Agent, now time.Time) phone.Event {
	e := phone.Event{
		ID: phone.NewID(phone.PrefixEvent), ProjectID: a.ProjectID, AgentID: a.ID,
		Type: phone.EventMessage, Channel: phone.ChannelSMS, Direction: phone.Inbound,
		MessageID: phone.NewID(phone.PrefixMessage), At: now,
	}
	d := messageData{
		MessageID: e.MessageID, ConversationID: phone.NewID(phone.PrefixConversation), NumberID: phone.NewID(phone.PrefixNumber),
		// 555-0100 to 555-0199 are reserved for examples (NANPA).
		From: "+12025550100", To: "+12025550101", Contact: nullable(nil),
		Message: "This is a test of your webhook.", MediaURLs: []string{},
		Direction: phone.Inbound, ReceivedAt: deliver.FormatTime(now),
	}
	if len(a.Numbers) > 0 {
		d.NumberID, d.To = a.Numbers[0].ID, a.Numbers[0].PhoneNumber
	}
	e.Data = encode(d)
	return e
}
