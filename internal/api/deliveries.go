package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"switchhook.dev/switchhook/internal/deliver"
	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
	"switchhook.dev/switchhook/webhook"
)

// DeliveryView is a delivery as the API shows it.
type DeliveryView struct {
	ID            string  `json:"id"`
	MessageID     *string `json:"messageId"`
	EventType     string  `json:"eventType"`
	Channel       string  `json:"channel"`
	Status        string  `json:"status" enum:"pending,success,failed,unrouted" doc:"unrouted is shown only where it is asked for."`
	HTTPStatus    *int    `json:"httpStatus"`
	ErrorMessage  *string `json:"errorMessage"`
	ResponseBody  *string `json:"responseBody"`
	AttemptCount  int     `json:"attemptCount"`
	LastAttemptAt *string `json:"lastAttemptAt"`
	NextRetryAt   *string `json:"nextRetryAt"`
	CreatedAt     string  `json:"createdAt"`

	AgentID        string  `json:"agentId"`
	WebhookID      *string `json:"webhookId"`
	ConversationID *string `json:"conversationId"`
	EventID        string  `json:"eventId"`
	Test           bool    `json:"test" doc:"Made by testing a webhook."`
}

func (h *handlers) viewDelivery(d phone.Delivery) DeliveryView {
	d.NextAttemptAt = h.board.NextAttempt(d)
	v := DeliveryView{
		ID: d.ID, MessageID: orNull(d.MessageID), EventType: string(d.EventType), Channel: string(d.Channel), Status: string(d.Status),
		ErrorMessage: orNull(d.Error), AttemptCount: d.Attempts, LastAttemptAt: timeOrNull(d.LastAttemptAt),
		NextRetryAt: timeOrNull(d.NextAttemptAt), CreatedAt: deliver.FormatTime(d.CreatedAt),
		AgentID: d.AgentID, WebhookID: orNull(d.WebhookID), ConversationID: orNull(d.ConversationID), EventID: d.EventID, Test: d.Test,
	}
	if d.HTTPStatus != 0 {
		v.HTTPStatus, v.ResponseBody = &d.HTTPStatus, &d.ResponseBody
	}
	return v
}

func (h *handlers) viewDeliveries(ds []phone.Delivery) []DeliveryView {
	out := make([]DeliveryView, 0, len(ds))
	for _, d := range ds {
		out = append(out, h.viewDelivery(d))
	}
	return out
}

type attemptView struct {
	ID             string            `json:"id"`
	Number         int               `json:"number"`
	StartedAt      string            `json:"startedAt"`
	DurationMs     int64             `json:"durationMs"`
	URL            string            `json:"url"`
	HTTPStatus     *int              `json:"httpStatus"`
	ErrorMessage   *string           `json:"errorMessage"`
	ResponseBody   *string           `json:"responseBody" doc:"The first 4 KiB."`
	Timing         timingView        `json:"timing"`
	RequestHeaders map[string]string `json:"requestHeaders"`
}

// timingView says where an attempt's time went, in milliseconds.
type timingView struct {
	DNSMs       float64 `json:"dnsMs" doc:"0 where the connection was kept from before, as are the next two."`
	ConnectMs   float64 `json:"connectMs"`
	TLSMs       float64 `json:"tlsMs"`
	FirstByteMs float64 `json:"firstByteMs" doc:"From the start of the attempt to the answer's first byte; 0 where none came."`
}

func viewTiming(t phone.Timing) timingView {
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return timingView{ms(t.DNS), ms(t.Connect), ms(t.TLS), ms(t.FirstByte)}
}

func viewAttempt(d phone.Delivery, a phone.Attempt) attemptView {
	v := attemptView{
		ID: a.ID, Number: a.Number, StartedAt: deliver.FormatTime(a.SentAt), DurationMs: a.Duration.Milliseconds(), URL: a.URL,
		ErrorMessage: orNull(a.Error), Timing: viewTiming(a.Timing), RequestHeaders: requestHeaders(d),
	}
	ts := strconv.FormatInt(a.SentAt.Unix(), 10)
	v.RequestHeaders[webhook.HeaderTimestamp], v.RequestHeaders[webhook.HeaderStandardTimestamp] = ts, ts
	v.RequestHeaders[webhook.HeaderSignature], v.RequestHeaders[webhook.HeaderStandardSignature] = a.Legacy, a.Standard
	if a.HTTPStatus != 0 {
		v.HTTPStatus, v.ResponseBody = &a.HTTPStatus, &a.ResponseBody
	}
	return v
}

// requestHeaders are those that every attempt of a delivery has alike.
func requestHeaders(d phone.Delivery) map[string]string {
	return map[string]string{
		"Content-Type": "application/json", webhook.HeaderID: d.ID, webhook.HeaderStandardID: d.ID, webhook.HeaderEvent: string(d.EventType),
	}
}

type requestView struct {
	URL     *string           `json:"url" doc:"The bound webhook's, today."`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body" doc:"Byte for byte, the same on every attempt."`
}

type deliveryDetail struct {
	DeliveryView
	Request  requestView   `json:"request"`
	Attempts []attemptView `json:"attempts" doc:"Oldest first."`
}

type deliveryPath struct {
	ID string `path:"delivery_id"`
}

func (h *handlers) registerDeliveries(a huma.API) {
	operation(a, http.MethodGet, "/v1/agents/{agent_id}/webhook/deliveries", "list-agent-deliveries", "Deliveries", "Deliveries to the agent's own webhook, newest first", h.agentDeliveries)
	operation(a, http.MethodGet, "/v1/webhooks/deliveries", "list-deliveries", "Deliveries", "All deliveries of the project, newest first", h.listDeliveries)
	operation(a, http.MethodGet, "/v1/webhooks/deliveries/stats", "delivery-stats", "Deliveries", "Counts of the last hours", h.stats)
	operation(a, http.MethodGet, "/v1/webhooks/deliveries/all-time", "delivery-totals", "Deliveries", "Counts since the beginning", h.totals)
	operation(a, http.MethodGet, "/v1/deliveries/{delivery_id}", "get-delivery", "Deliveries", "One delivery with its request and every attempt", h.getDelivery)
	operation(a, http.MethodPost, "/v1/deliveries/{delivery_id}/retry", "retry-delivery", "Deliveries", "Send a delivery again", h.retryDelivery)
	operation(a, http.MethodPost, "/v1/deliveries/retry", "retry-deliveries", "Deliveries", "Send again all that match", h.retryDeliveries)
	operation(a, http.MethodGet, "/v1/deliveries/stream", "stream-deliveries", "Deliveries", "Each delivery as it changes, as server-sent events", h.streamDeliveries)
}

func (h *handlers) agentDeliveries(ctx context.Context, in *struct {
	AgentPath
	Limit int `query:"limit" minimum:"1" maximum:"100" default:"50"`
}) (*body[[]DeliveryView], error) {
	if _, err := h.store.Agent(ctx, project(ctx), in.AgentID); err != nil {
		return nil, err
	}
	ds, _, err := h.store.Deliveries(ctx, store.DeliveryFilter{ProjectID: project(ctx), AgentID: in.AgentID, OwnWebhook: true, Limit: in.Limit})
	return answer(h.viewDeliveries(ds), err)
}

type deliveriesQuery struct {
	Limit     int       `query:"limit" minimum:"1" maximum:"100" default:"50"`
	Offset    int       `query:"offset" minimum:"0" maximum:"10000000" default:"0"`
	Hours     int       `query:"hours" minimum:"1" maximum:"87600" doc:"This hour and the ones before it, so many in all."`
	Status    string    `query:"status" enum:"pending,success,failed,unrouted"`
	AgentID   string    `query:"agentId"`
	WebhookID string    `query:"webhookId"`
	EventType string    `query:"eventType"`
	Channel   string    `query:"channel"`
	Since     time.Time `query:"since" doc:"RFC 3339, inclusive."`
	Until     time.Time `query:"until" doc:"RFC 3339, exclusive."`
}

// startOf is when the first of the last n hours, this one included, began.
func startOf(n int) time.Time {
	return time.Now().UTC().Truncate(time.Hour).Add(-time.Duration(n-1) * time.Hour)
}

func (q deliveriesQuery) filter(projectID string) store.DeliveryFilter {
	f := store.DeliveryFilter{
		ProjectID: projectID, AgentID: q.AgentID, WebhookID: q.WebhookID, Status: phone.DeliveryStatus(q.Status),
		EventType: phone.EventType(q.EventType), Channel: phone.Channel(q.Channel),
		Since: q.Since, Until: q.Until, Limit: q.Limit, Offset: q.Offset,
	}
	if q.Hours > 0 && startOf(q.Hours).After(f.Since) {
		f.Since = startOf(q.Hours)
	}
	return f
}

type deliveryPage struct {
	Items  []DeliveryView `json:"items"`
	Total  int            `json:"total" doc:"Filters by anything but hours are counted up to 10,000."`
	Offset int            `json:"offset"`
	Limit  int            `json:"limit"`
}

func (h *handlers) listDeliveries(ctx context.Context, in *deliveriesQuery) (*body[deliveryPage], error) {
	ds, total, err := h.store.Deliveries(ctx, in.filter(project(ctx)))
	return answer(deliveryPage{h.viewDeliveries(ds), total, in.Offset, in.Limit}, err)
}

// CountsView is counts of deliveries by state.
type CountsView struct {
	Total   int `json:"total"`
	Success int `json:"success"`
	Failed  int `json:"failed"`
	Pending int `json:"pending"`
}

func (v *CountsView) add(c store.Counts) {
	v.Total += c.Total()
	v.Success += c.Success
	v.Failed += c.Failed
	v.Pending += c.Pending
}

// rate is the share of the finished that succeeded, in percent; 0 where nothing
// is finished.
func rate(success, failed int) float64 {
	if success+failed == 0 {
		return 0
	}
	return math.Round(float64(success)/float64(success+failed)*10000) / 100
}

type hourView struct {
	Hour string `json:"hour"`
	CountsView
}

type statsView struct {
	CountsView
	SuccessRate float64                `json:"successRate" doc:"Percent of the finished deliveries."`
	ByEventType map[string]*CountsView `json:"byEventType"`
	ByHour      []hourView             `json:"byHour" doc:"Oldest first, empty hours too."`
}

func (h *handlers) stats(ctx context.Context, in *struct {
	Hours int `query:"hours" minimum:"1" maximum:"8760" default:"24" doc:"This hour and the ones before it, so many in all."`
}) (*body[statsView], error) {
	since := startOf(in.Hours)
	hours, err := h.store.Stats(ctx, project(ctx), since)
	if err != nil {
		return nil, err
	}
	v := statsView{ByEventType: map[string]*CountsView{}, ByHour: make([]hourView, in.Hours)}
	for i := range v.ByHour {
		v.ByHour[i].Hour = deliver.FormatTime(since.Add(time.Duration(i) * time.Hour))
	}
	for _, c := range hours {
		v.add(c.Counts)
		if v.ByEventType[string(c.EventType)] == nil {
			v.ByEventType[string(c.EventType)] = &CountsView{}
		}
		v.ByEventType[string(c.EventType)].add(c.Counts)
		if i := int(c.Hour.Sub(since) / time.Hour); i >= 0 && i < in.Hours {
			v.ByHour[i].add(c.Counts)
		}
	}
	v.SuccessRate = rate(v.Success, v.Failed)
	return answer(v, nil)
}

type totalsView struct {
	Total       int     `json:"total"`
	Success     int     `json:"success"`
	Failed      int     `json:"failed"`
	SuccessRate float64 `json:"successRate" doc:"Percent of the finished deliveries."`
}

func (h *handlers) totals(ctx context.Context, _ *struct{}) (*body[totalsView], error) {
	c, err := h.store.Totals(ctx, project(ctx))
	return answer(totalsView{c.Total(), c.Success, c.Failed, rate(c.Success, c.Failed)}, err)
}

func (h *handlers) getDelivery(ctx context.Context, in *deliveryPath) (*body[deliveryDetail], error) {
	d, err := h.board.Delivery(ctx, project(ctx), in.ID)
	if err != nil {
		return nil, err
	}
	v := deliveryDetail{
		DeliveryView: h.viewDelivery(d.Delivery), Attempts: make([]attemptView, 0, len(d.Log)),
		Request: requestView{URL: orNull(d.WebhookURL), Headers: requestHeaders(d.Delivery), Body: string(d.Body)},
	}
	for _, a := range d.Log {
		v.Attempts = append(v.Attempts, viewAttempt(d.Delivery, a))
	}
	return answer(v, nil)
}

func (h *handlers) retryDelivery(ctx context.Context, in *deliveryPath) (*body[DeliveryView], error) {
	d, err := h.board.RetryDelivery(ctx, project(ctx), in.ID)
	return answer(h.viewDelivery(d), err)
}

type counted struct {
	Count int `json:"count"`
}

func (h *handlers) retryDeliveries(ctx context.Context, in *struct {
	Body struct {
		Status    string     `json:"status,omitempty" enum:"pending,success,failed,unrouted" doc:"Default: failed and unrouted."`
		AgentID   string     `json:"agentId,omitempty"`
		WebhookID string     `json:"webhookId,omitempty"`
		Since     time.Time  `json:"since" doc:"RFC 3339, inclusive."`
		Until     *time.Time `json:"until,omitempty" doc:"RFC 3339, exclusive; default now."`
	}
}) (*body[counted], error) {
	f := store.DeliveryFilter{
		ProjectID: project(ctx), Status: phone.DeliveryStatus(in.Body.Status), AgentID: in.Body.AgentID,
		WebhookID: in.Body.WebhookID, Since: in.Body.Since,
	}
	if in.Body.Until != nil {
		f.Until = *in.Body.Until
	}
	n, err := h.board.RetryDeliveries(ctx, f)
	return answer(counted{n}, err)
}

// pingEvery keeps proxies from closing a stream on which nothing happens.
const pingEvery = 15 * time.Second

func (h *handlers) streamDeliveries(ctx context.Context, _ *struct{}) (*huma.StreamResponse, error) {
	changes := h.board.Watch(ctx, project(ctx))
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		hc.SetHeader("Content-Type", "text/event-stream")
		hc.SetHeader("Cache-Control", "no-store")
		w := hc.BodyWriter()
		_, _ = io.WriteString(w, ": deliveries as they change\n\n")
		flush(w)
		ping := time.NewTicker(pingEvery)
		defer ping.Stop()
		for {
			var err error
			select {
			case d, open := <-changes:
				if !open {
					return
				}
				var b []byte
				if b, err = json.Marshal(h.viewDelivery(d)); err == nil {
					_, err = fmt.Fprintf(w, "event: delivery\nid: %s\ndata: %s\n\n", d.ID, b)
				}
			case <-ping.C:
				if h.revoked(ctx, caller(ctx)) {
					return
				}
				_, err = io.WriteString(w, ": ping\n\n")
			}
			if err != nil {
				return
			}
			flush(w)
		}
	}}, nil
}

func flush(w io.Writer) {
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
}
