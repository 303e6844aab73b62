package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Delivery is a delivery as the API lists it.
type Delivery struct {
	ID            string     `json:"id"`
	MessageID     *string    `json:"messageId"`
	EventType     string     `json:"eventType"`
	Channel       *string    `json:"channel"`
	Status        string     `json:"status"`
	HTTPStatus    *int       `json:"httpStatus"`
	ErrorMessage  *string    `json:"errorMessage"`
	ResponseBody  *string    `json:"responseBody"`
	AttemptCount  int        `json:"attemptCount"`
	LastAttemptAt *time.Time `json:"lastAttemptAt"`
	NextRetryAt   *time.Time `json:"nextRetryAt"`
	CreatedAt     *time.Time `json:"createdAt"`
}

// DeliveryDetail is one delivery with all that is known of it.
type DeliveryDetail struct {
	Delivery
	AgentID        *string          `json:"agentId"`
	WebhookID      *string          `json:"webhookId"`
	ConversationID *string          `json:"conversationId"`
	EventID        *string          `json:"eventId"`
	Request        *DeliveryRequest `json:"request"`
	Attempts       []Attempt        `json:"attempts"`
}

// DeliveryRequest is what the endpoint gets.
type DeliveryRequest struct {
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
}

// Attempt is one request to the endpoint and what came of it.
type Attempt struct {
	ID             string            `json:"id"`
	Number         int               `json:"number"`
	StartedAt      *time.Time        `json:"startedAt"`
	DurationMs     *int              `json:"durationMs"`
	URL            string            `json:"url"`
	HTTPStatus     *int              `json:"httpStatus"`
	ErrorMessage   *string           `json:"errorMessage"`
	ResponseBody   *string           `json:"responseBody"`
	RequestHeaders map[string]string `json:"requestHeaders"`
}

// DeliveriesCmd groups the commands on deliveries.
type DeliveriesCmd struct {
	ClientFlags
	List  DeliveriesListCmd  `cmd:"" help:"List deliveries, newest first."`
	Show  DeliveriesShowCmd  `cmd:"" help:"Show a delivery, its request and every attempt."`
	Retry DeliveriesRetryCmd `cmd:"" help:"Retry one delivery now, or all of a span of time that match."`
}

// DeliveriesListCmd is `deliveries list`.
type DeliveriesListCmd struct {
	Agent   string `placeholder:"ID" help:"Only of this agent."`
	Webhook string `placeholder:"ID" help:"Only to this webhook."`
	Status  string `placeholder:"STATUS" help:"Only pending, success, failed or unrouted ones."`
	Hours   int    `placeholder:"N" help:"Only of the last N hours."`
	PageFlags
}

// deliveryPage is how the API answers the list of deliveries.
type deliveryPage struct {
	Items []Delivery `json:"items"`
	Total int        `json:"total"`
}

// Run lists deliveries.
func (cmd *DeliveriesListCmd) Run(ctx context.Context, c *Client, out Output) error {
	query := cmd.query()
	maps.Copy(query, map[string]string{
		"hours": intParam(cmd.Hours), "status": cmd.Status, "agentId": cmd.Agent, "webhookId": cmd.Webhook,
	})
	answer, err := c.Do(ctx, Request{Method: http.MethodGet, Path: "/v1/webhooks/deliveries", Query: query})
	if err != nil {
		return err
	}
	return show(out, answer, func(p *printer, v deliveryPage) {
		var rows [][]string
		for _, d := range v.Items {
			rows = append(rows, []string{d.ID, d.EventType, text(d.Channel), d.Status, number(d.HTTPStatus),
				strconv.Itoa(d.AttemptCount), when(d.CreatedAt), when(d.NextRetryAt), shorten(text(d.ErrorMessage), 60)})
		}
		p.table("ID EVENT CHANNEL STATUS HTTP ATTEMPTS CREATED NEXT ERROR", "No deliveries match.", rows)
		p.more(cmd.Offset+len(rows) < v.Total && len(rows) > 0, cmd.PageFlags, len(rows))
	})
}

// DeliveriesShowCmd is `deliveries show`.
type DeliveriesShowCmd struct {
	ID string `arg:"" help:"The id of the delivery, which receivers know as X-Webhook-ID."`
}

// Run shows a delivery.
func (cmd *DeliveriesShowCmd) Run(ctx context.Context, c *Client, out Output) error {
	answer, err := c.Do(ctx, Request{Method: http.MethodGet, Path: Path("v1", "deliveries", cmd.ID)})
	if err != nil {
		return err
	}
	return show(out, answer, printDeliveryDetail)
}

func printDeliveryDetail(p *printer, v DeliveryDetail) {
	printDelivery(p, v.Delivery)
	p.fields("event id", text(v.EventID), "agent", text(v.AgentID), "webhook", text(v.WebhookID),
		"message", text(v.MessageID), "conversation", text(v.ConversationID))
	if v.Request != nil {
		p.line("\nRequest")
		p.line("    POST %s", v.Request.URL)
		p.headers(v.Request.Headers)
		p.line("")
		p.block(prettyBody(v.Request.Body))
	}
	for _, a := range v.Attempts {
		p.line("\nAttempt %d", a.Number)
		p.fields("    id", a.ID, "    at", when(a.StartedAt), "    took", milliseconds(a.DurationMs),
			"    url", a.URL, "    http status", number(a.HTTPStatus), "    error", text(a.ErrorMessage))
		p.headers(a.RequestHeaders)
		if body := text(a.ResponseBody); body != "" {
			p.line("    answer:")
			p.block(body)
		}
	}
}

func printDelivery(p *printer, v Delivery) {
	p.fields("delivery", v.ID, "event", v.EventType, "channel", text(v.Channel), "status", v.Status,
		"http status", number(v.HTTPStatus), "error", text(v.ErrorMessage), "attempts", strconv.Itoa(v.AttemptCount),
		"created", when(v.CreatedAt), "last attempt", when(v.LastAttemptAt), "next retry", when(v.NextRetryAt))
}

// headers prints request headers in the order of their names.
func (p *printer) headers(h map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(h)) {
		p.line("    %s: %s", name, h[name])
	}
}

// prettyBody indents a JSON body for reading; --json keeps it byte for byte.
func prettyBody(body string) string {
	var buf bytes.Buffer
	if json.Indent(&buf, []byte(body), "", "  ") != nil {
		return body
	}
	return buf.String()
}

// DeliveriesRetryCmd is `deliveries retry`.
type DeliveriesRetryCmd struct {
	ID      string `arg:"" optional:"" help:"The id of the delivery; without it, --since chooses."`
	Since   string `placeholder:"TIME" help:"Retry what was created since: a duration ago such as 2h or 3d, or a time such as 2025-01-15T11:00:00Z."`
	Until   string `placeholder:"TIME" help:"And until then, in the same forms; until now by default."`
	Status  string `placeholder:"STATUS" help:"Only those of this status: failed or unrouted."`
	Agent   string `placeholder:"ID" help:"Only those of this agent."`
	Webhook string `placeholder:"ID" help:"Only those to this webhook."`
}

// Run retries one delivery, or many.
func (cmd *DeliveriesRetryCmd) Run(ctx context.Context, c *Client, out Output) error {
	filtered := cmd.Since+cmd.Until+cmd.Status+cmd.Agent+cmd.Webhook != ""
	switch {
	case cmd.ID != "" && filtered:
		return errors.New("a delivery's id leaves nothing to choose: give either the id, or --since and the other flags")
	case cmd.ID != "":
		return cmd.retryOne(ctx, c, out)
	case cmd.Since == "":
		return errors.New("it is not clear what to retry: give a delivery's id, or --since, such as --since 2h")
	default:
		return cmd.retryMany(ctx, c, out, time.Now())
	}
}

func (cmd *DeliveriesRetryCmd) retryOne(ctx context.Context, c *Client, out Output) error {
	answer, err := c.Do(ctx, Request{Method: http.MethodPost, Path: Path("v1", "deliveries", cmd.ID, "retry")})
	if err != nil {
		return err
	}
	return show(out, answer, printDelivery)
}

// retryFilter chooses what to retry.
type retryFilter struct {
	Status    string     `json:"status,omitempty"`
	AgentID   string     `json:"agentId,omitempty"`
	WebhookID string     `json:"webhookId,omitempty"`
	Since     time.Time  `json:"since"`
	Until     *time.Time `json:"until,omitempty"`
}

func (cmd *DeliveriesRetryCmd) retryMany(ctx context.Context, c *Client, out Output, now time.Time) error {
	filter := retryFilter{Status: cmd.Status, AgentID: cmd.Agent, WebhookID: cmd.Webhook}
	var err error
	if filter.Since, err = parseWhen("--since", cmd.Since, now); err != nil {
		return err
	}
	if cmd.Until != "" {
		until, err := parseWhen("--until", cmd.Until, now)
		if err != nil {
			return err
		}
		if !until.After(filter.Since) {
			return errors.New("--until is not after --since: swap them")
		}
		filter.Until = &until
	}
	answer, err := c.Do(ctx, Request{Method: http.MethodPost, Path: "/v1/deliveries/retry", Body: filter})
	if err != nil {
		return err
	}
	return show(out, answer, func(p *printer, v struct {
		Count int `json:"count"`
	}) {
		if v.Count == 1 {
			p.line("Retrying 1 delivery.")
			return
		}
		p.line("Retrying %d deliveries.", v.Count)
	})
}

// parseWhen reads a duration before now, in days too, or an RFC 3339 time.
func parseWhen(flag, s string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t.UTC(), nil
	}
	ago, err := time.ParseDuration(s)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		var n int
		n, err = strconv.Atoi(days)
		ago = time.Duration(n) * 24 * time.Hour
	}
	if err != nil || ago < 0 {
		return time.Time{}, fmt.Errorf("%s %q is not a time: give a duration ago such as 2h or 3d, or a time such as 2025-01-15T11:00:00Z", flag, s)
	}
	return now.Add(-ago).UTC(), nil
}
