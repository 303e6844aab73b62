package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"switchhook.dev/switchhook/internal/deliver"
	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/switchboard"
)

type webhookView struct {
	ID           string `json:"id"`
	URL          string `json:"url"`
	Secret       string `json:"secret" doc:"Shown to keys that may write."`
	Status       string `json:"status" enum:"active,disabled"`
	ContextLimit int    `json:"contextLimit" doc:"How many messages of history a delivery carries."`
	Timeout      int    `json:"timeout" doc:"Seconds that one attempt may take."`
	CreatedAt    string `json:"createdAt"`

	Ordering     string  `json:"ordering" enum:"relaxed,strict"`
	RateLimit    *int    `json:"rateLimit" doc:"Requests a second; null is no bound."`
	FailingSince *string `json:"failingSince" doc:"Since when the endpoint fails: its deliveries wait, and it is probed. null while it works."`
}

func viewWebhook(w phone.Webhook) webhookView {
	v := webhookView{
		ID: w.ID, URL: w.URL, Secret: w.Secret, Status: string(w.Status), ContextLimit: w.ContextLimit, Timeout: int(w.Timeout / time.Second),
		CreatedAt: deliver.FormatTime(w.CreatedAt), Ordering: string(w.Ordering), FailingSince: timeOrNull(w.FailingSince),
	}
	if w.RateLimit != 0 {
		v.RateLimit = &w.RateLimit
	}
	return v
}

// hiddenSecret is what a key that may only read sees of a secret: whoever knows
// one can send in our name.
const hiddenSecret = "whsec_****"

// showWebhook is viewWebhook for the key that asks.
func (h *handlers) showWebhook(ctx context.Context, w phone.Webhook) webhookView {
	v := viewWebhook(w)
	if !caller(ctx).Scopes.Allow(phone.ScopeWrite) {
		v.Secret = hiddenSecret
	}
	return v
}

type webhookBody struct {
	URL          string  `json:"url" doc:"Absolute, https, without user info, at most 2,048 characters."`
	ContextLimit *int    `json:"contextLimit,omitempty" nullable:"true" minimum:"0" maximum:"50" doc:"Messages of history; null is 10."`
	Timeout      *int    `json:"timeout,omitempty" nullable:"true" minimum:"5" maximum:"120" doc:"Seconds; null is 30."`
	Ordering     *string `json:"ordering,omitempty" nullable:"true" enum:"relaxed,strict" doc:"Whether a message waits for an earlier one of its conversation that failed (strict) or may pass it (relaxed); null is relaxed."`
	RateLimit    *int    `json:"rateLimit,omitempty" nullable:"true" minimum:"1" maximum:"10000" doc:"Requests a second at most; null is no bound."`
}

// Resolve adds what only the server's policy knows to be wrong, so that one
// answer lists every fault.
func (b *webhookBody) Resolve(ctx huma.Context, at *huma.PathBuffer) []error {
	if b.URL == "" {
		return nil
	}
	err := boardOf(ctx.Context()).CheckURL(b.URL)
	if err == nil {
		return nil
	}
	return []error{&faultDetail{huma.ErrorDetail{Location: at.With("url"), Message: err.Reason, Value: b.URL}, err.Type}}
}

func (b webhookBody) settings() switchboard.WebhookSettings {
	s := switchboard.WebhookSettings{URL: b.URL, ContextLimit: phone.DefaultContextLimit, Timeout: phone.DefaultTimeout, Ordering: phone.OrderRelaxed}
	if b.ContextLimit != nil {
		s.ContextLimit = *b.ContextLimit
	}
	if b.Timeout != nil {
		s.Timeout = time.Duration(*b.Timeout) * time.Second
	}
	if b.Ordering != nil {
		s.Ordering = phone.Ordering(*b.Ordering)
	}
	if b.RateLimit != nil {
		s.RateLimit = *b.RateLimit
	}
	return s
}

type statusBody struct {
	Status string `json:"status" enum:"active,disabled"`
}

type testView struct {
	Success      bool    `json:"success"`
	HTTPStatus   *int    `json:"httpStatus"`
	ErrorMessage *string `json:"errorMessage"`
	ResponseMs   int64   `json:"responseMs"`
	DeliveryID   string  `json:"deliveryId"`
}

// Inputs of the operations that both kinds of webhook have. Huma reads path
// parameters from embedded structs, so each kind has its own.
type (
	OnDefault            struct{}
	onAgent              struct{ AgentPath }
	onDefaultWith[B any] struct {
		OnDefault
		Body B
	}
	onAgentWith[B any] struct {
		AgentPath
		Body B
	}
)

func (OnDefault) agent() string        { return "" }
func (p AgentPath) agent() string      { return p.AgentID }
func (in onDefaultWith[B]) content() B { return in.Body }
func (in onAgentWith[B]) content() B   { return in.Body }

// target says whose webhook an operation is on.
type target interface{ agent() string }

// targetWith is a target with a body.
type targetWith[B any] interface {
	target
	content() B
}

func (h *handlers) registerWebhooks(a huma.API) {
	registerWebhook[OnDefault, onDefaultWith[webhookBody], onDefaultWith[statusBody]](h, a, "/v1/webhooks", "default", "the project's default webhook")
	registerWebhook[onAgent, onAgentWith[webhookBody], onAgentWith[statusBody]](h, a, "/v1/agents/{agent_id}/webhook", "agent", "the agent's own webhook")
	operation(a, http.MethodPost, "/v1/webhooks/test", "test-default-webhook", "Webhooks", "Send one signed test to the project's default webhook, now", func(ctx context.Context, in *struct {
		AgentID string `query:"agentId" doc:"The agent that the payload names; default the project's first."`
	}) (*body[testView], error) {
		return h.testWebhook(ctx, "", in.AgentID)
	})
	operation(a, http.MethodPost, "/v1/agents/{agent_id}/webhook/test", "test-agent-webhook", "Webhooks", "Send one signed test to the agent's own webhook, now", func(ctx context.Context, in *AgentPath) (*body[testView], error) {
		return h.testWebhook(ctx, in.AgentID, "")
	})
}

// registerWebhook registers the operations that both kinds of webhook have.
func registerWebhook[T target, S targetWith[webhookBody], P targetWith[statusBody]](h *handlers, a huma.API, path, kind, what string) {
	operation(a, http.MethodPost, path, "set-"+kind+"-webhook", "Webhooks", "Create or update "+what+", with a new secret", func(ctx context.Context, in *S) (*body[webhookView], error) {
		w, err := h.board.SetWebhook(ctx, project(ctx), (*in).agent(), (*in).content().settings())
		return answer(h.showWebhook(ctx, w), err)
	})
	operation(a, http.MethodGet, path, "get-"+kind+"-webhook", "Webhooks", "Read "+what+"; null where none is set", func(ctx context.Context, in *T) (*body[*webhookView], error) {
		w, err := h.board.Webhook(ctx, project(ctx), (*in).agent())
		if err != nil || w == nil {
			return answer[*webhookView](nil, err)
		}
		v := h.showWebhook(ctx, *w)
		return answer(&v, nil)
	})
	operation(a, http.MethodPatch, path, "patch-"+kind+"-webhook", "Webhooks", "Enable or disable "+what+"; its secret stays", func(ctx context.Context, in *P) (*body[webhookView], error) {
		w, err := h.board.SetWebhookStatus(ctx, project(ctx), (*in).agent(), phone.WebhookStatus((*in).content().Status))
		return answer(h.showWebhook(ctx, w), err)
	})
	operation(a, http.MethodDelete, path, "delete-"+kind+"-webhook", "Webhooks", "Remove "+what, func(ctx context.Context, in *T) (*body[Success], error) {
		return answer(Success{true}, h.board.DeleteWebhook(ctx, project(ctx), (*in).agent()))
	})
}

func (h *handlers) testWebhook(ctx context.Context, agentID, named string) (*body[testView], error) {
	r, err := h.board.TestWebhook(ctx, project(ctx), agentID, named)
	v := testView{Success: r.Success, ErrorMessage: orNull(r.Error), ResponseMs: r.Response.Milliseconds(), DeliveryID: r.DeliveryID}
	if r.HTTPStatus != 0 {
		v.HTTPStatus = &r.HTTPStatus
	}
	return answer(v, err)
}
