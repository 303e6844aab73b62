package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Webhook is a webhook as the API shows it.
type Webhook struct {
	ID           string     `json:"id"`
	URL          string     `json:"url"`
	Secret       string     `json:"secret"`
	Status       string     `json:"status"`
	ContextLimit *int       `json:"contextLimit"`
	Timeout      *int       `json:"timeout"`
	CreatedAt    *time.Time `json:"createdAt"`
	Ordering     string     `json:"ordering"`
	RateLimit    *int       `json:"rateLimit"`
	FailingSince *time.Time `json:"failingSince"`
}

// TestResult is what came of a test of a webhook.
type TestResult struct {
	Success      bool    `json:"success"`
	HTTPStatus   *int    `json:"httpStatus"`
	ErrorMessage *string `json:"errorMessage"`
	ResponseMs   *int    `json:"responseMs"`
	DeliveryID   *string `json:"deliveryId"`
}

// WebhookCmd groups the commands on webhooks.
type WebhookCmd struct {
	ClientFlags
	Get     WebhookGetCmd     `cmd:"" help:"Show the webhook and its secret."`
	Set     WebhookSetCmd     `cmd:"" help:"Create or update the webhook. Each time, it gets a new secret."`
	Rm      WebhookRmCmd      `cmd:"" help:"Remove the webhook; events of an agent go to the project's default again."`
	Test    WebhookTestCmd    `cmd:"" help:"Send one signed test event now. Exits 1 where the endpoint does not take it."`
	Disable WebhookDisableCmd `cmd:"" help:"Stop deliveries; events are kept and can be retried."`
	Enable  WebhookEnableCmd  `cmd:"" help:"Start deliveries again."`
}

// WebhookTarget chooses between an agent's webhook and the project's default.
type WebhookTarget struct {
	Agent string `placeholder:"ID" help:"The webhook of this agent, instead of the project's default."`
}

// path is that of the webhook in the API, with further segments.
func (t WebhookTarget) path(further ...string) string {
	if t.Agent == "" {
		return Path(append([]string{"v1", "webhooks"}, further...)...)
	}
	return Path(append([]string{"v1", "agents", t.Agent, "webhook"}, further...)...)
}

// name is what to call it in a sentence.
func (t WebhookTarget) name() string {
	if t.Agent == "" {
		return "the project's default webhook"
	}
	return "the webhook of " + t.Agent
}

// WebhookGetCmd is `webhook get`.
type WebhookGetCmd struct{ WebhookTarget }

// Run shows the webhook.
func (cmd *WebhookGetCmd) Run(ctx context.Context, c *Client, out Output) error {
	answer, err := c.Do(ctx, Request{Method: http.MethodGet, Path: cmd.path()})
	if err != nil {
		return err
	}
	return show(out, answer, func(p *printer, v *Webhook) {
		switch {
		case v != nil:
			printWebhook(p, *v)
		case cmd.Agent != "":
			p.line("%s has no webhook of its own: its events go to the project's default.", cmd.Agent)
		default:
			p.line("The project has no default webhook: set one with `switchhook webhook set URL`.")
		}
	})
}

// WebhookSetCmd is `webhook set`.
type WebhookSetCmd struct {
	Endpoint string `arg:"" name:"url" help:"The https URL that gets the events."`
	WebhookTarget
	ContextLimit *int `placeholder:"N" help:"How many earlier messages to send along, 0 to 50; 10 by default."`
	Timeout      *int `placeholder:"SECONDS" help:"How long to wait for an answer, 5 to 120 seconds; 30 by default."`

	Ordering  string `enum:",relaxed,strict" default:"" placeholder:"ORDER" help:"Whether a message waits for an earlier one of its conversation that failed: relaxed (it does not) or strict."`
	RateLimit *int   `placeholder:"N" help:"How many requests a second at most, 1 to 10000; no bound by default."`
}

// Run creates or updates the webhook.
func (cmd *WebhookSetCmd) Run(ctx context.Context, c *Client, out Output) error {
	body := struct {
		URL          string `json:"url"`
		ContextLimit *int   `json:"contextLimit,omitempty"`
		Timeout      *int   `json:"timeout,omitempty"`
		Ordering     string `json:"ordering,omitempty"`
		RateLimit    *int   `json:"rateLimit,omitempty"`
	}{cmd.Endpoint, cmd.ContextLimit, cmd.Timeout, cmd.Ordering, cmd.RateLimit}
	answer, err := c.Do(ctx, Request{Method: http.MethodPost, Path: cmd.path(), Body: body})
	if err != nil {
		return err
	}
	return show(out, answer, func(p *printer, v Webhook) {
		printWebhook(p, v)
		p.line("The secret is new: give it to the endpoint.")
	})
}

// WebhookRmCmd is `webhook rm`.
type WebhookRmCmd struct{ WebhookTarget }

// Run removes the webhook.
func (cmd *WebhookRmCmd) Run(ctx context.Context, c *Client, out Output) error {
	answer, err := c.Do(ctx, Request{Method: http.MethodDelete, Path: cmd.path()})
	if err != nil {
		return err
	}
	return show(out, answer, done("Removed %s.", cmd.name()))
}

// WebhookTestCmd is `webhook test`.
type WebhookTestCmd struct{ WebhookTarget }

// Run tests the webhook. A test that fails is an error, so that scripts notice.
func (cmd *WebhookTestCmd) Run(ctx context.Context, c *Client, out Output) error {
	answer, err := c.Do(ctx, Request{Method: http.MethodPost, Path: cmd.path("test")})
	if err != nil {
		return err
	}
	if err := show(out, answer, func(p *printer, v TestResult) {
		if v.Success {
			p.line("It works: %s answered %s in %s.", cmd.name(), number(v.HTTPStatus), milliseconds(v.ResponseMs))
		}
	}); err != nil {
		return err
	}
	var result TestResult
	if err := json.Unmarshal(answer, &result); err != nil {
		return fmt.Errorf("the answer is not of the form this version knows: %w", err)
	}
	if !result.Success {
		return testError(result)
	}
	return nil
}

// testError says why a test failed.
func testError(r TestResult) error {
	why := clean(text(r.ErrorMessage))
	if r.HTTPStatus != nil {
		answered := "the endpoint answered " + statusText(*r.HTTPStatus)
		if why == "" {
			why = answered
		} else {
			why = answered + ", " + why
		}
	}
	if why == "" {
		why = "the endpoint did not answer"
	}
	if id := clean(text(r.DeliveryID)); id != "" {
		why += "; see `switchhook deliveries show " + id + "`"
	}
	return errors.New("the test failed: " + why)
}

// WebhookDisableCmd is `webhook disable`.
type WebhookDisableCmd struct{ WebhookTarget }

// Run disables the webhook.
func (cmd *WebhookDisableCmd) Run(ctx context.Context, c *Client, out Output) error {
	return cmd.setStatus(ctx, c, out, "disabled")
}

// WebhookEnableCmd is `webhook enable`.
type WebhookEnableCmd struct{ WebhookTarget }

// Run enables the webhook.
func (cmd *WebhookEnableCmd) Run(ctx context.Context, c *Client, out Output) error {
	return cmd.setStatus(ctx, c, out, "active")
}

func (t WebhookTarget) setStatus(ctx context.Context, c *Client, out Output, status string) error {
	answer, err := c.Do(ctx, Request{Method: http.MethodPatch, Path: t.path(), Body: map[string]string{"status": status}})
	if err != nil {
		return err
	}
	return show(out, answer, func(p *printer, v Webhook) {
		p.fields("webhook", v.ID, "url", v.URL, "status", v.Status)
	})
}

func printWebhook(p *printer, v Webhook) {
	p.fields("webhook", v.ID, "url", v.URL, "status", v.Status, "secret", v.Secret,
		"context limit", number(v.ContextLimit), "timeout", seconds(v.Timeout),
		"ordering", v.Ordering, "rate limit", perSecond(v.RateLimit), "created", when(v.CreatedAt), "failing since", when(v.FailingSince))
}

func seconds(n *int) string {
	if n == nil {
		return ""
	}
	return strconv.Itoa(*n) + " s"
}

func perSecond(n *int) string {
	if n == nil {
		return "none"
	}
	return strconv.Itoa(*n) + " a second"
}

func milliseconds(n *int) string {
	if n == nil {
		return "an unknown time"
	}
	return strconv.Itoa(*n) + " ms"
}
