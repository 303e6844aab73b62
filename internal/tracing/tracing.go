// Package tracing makes OpenTelemetry traces of events: what took them in, the
// write they shared, and each attempt to deliver them. The trace goes on at both
// ends: it joins the caller's (traceparent), and is handed on to the receiver.
//
//	caller ─ traceparent ─▶ accept ─▶ store
//	                          └─────▶ attempt ─ traceparent ─▶ receiver
//
// It is off unless somebody asks for it, and then costs nothing: a nil *Tracer is
// nowhere in the path of an event. Spans of an event whose caller sent no
// traceparent have a trace id made from the event's own id, so that attempts after
// a restart, or by another node, belong to the same trace.
package tracing

import (
	"context"
	"encoding/base32"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/webhook"
)

// remembered bounds of how many events, of each of two generations, the span that
// took them in is known; of others an attempt begins with the event's trace id.
const remembered = 50_000

// Tracer makes spans and sends them to a collector. A nil Tracer makes none.
type Tracer struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
	headers  propagation.TraceContext

	mu           sync.Mutex
	young, older map[string]trace.SpanContext // by delivery
}

// Start returns a tracer that sends to the collector at endpoint (OTLP over HTTP).
// Everything else, and the endpoint where it is "", is read from the standard
// OTEL_ variables by OpenTelemetry itself.
func Start(ctx context.Context, endpoint, version string) (*Tracer, error) {
	var options []otlptracehttp.Option
	if endpoint != "" {
		u, err := url.Parse(endpoint)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, errors.New("the collector for traces has no URL of the form http://localhost:4318")
		}
		if strings.Trim(u.Path, "/") == "" {
			u.Path = "/v1/traces"
		}
		options = append(options, otlptracehttp.WithEndpointURL(u.String()))
	}
	exporter, err := otlptracehttp.New(ctx, options...)
	if err != nil {
		return nil, err
	}
	about, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "switchhook"), attribute.String("service.version", version)),
		resource.WithTelemetrySDK(), resource.WithHost(), resource.WithFromEnv())
	if err != nil {
		return nil, err
	}
	provider := sdk.NewTracerProvider(sdk.WithBatcher(exporter), sdk.WithResource(about), sdk.WithIDGenerator(ids{}))
	return &Tracer{provider: provider, tracer: provider.Tracer("switchhook.dev/switchhook"), young: map[string]trace.SpanContext{}}, nil
}

// Stop sends what is left.
func (t *Tracer) Stop(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.provider.Shutdown(ctx)
}

// Hook is Accepted, or nil where there is no Tracer.
func (t *Tracer) Hook() func(events []*phone.NewEvent, out []phone.Accepted, begin, end time.Time) {
	if t == nil {
		return nil
	}
	return t.Accepted
}

// Accepted makes the spans of events that were written together, from begin to end.
// It is called before their deliveries are sent.
func (t *Tracer) Accepted(events []*phone.NewEvent, out []phone.Accepted, begin, end time.Time) {
	for i, e := range events {
		if out[i].Err != nil || out[i].Duplicate {
			continue
		}
		start := e.At
		if start.After(begin) {
			start = begin
		}
		ctx := t.headers.Extract(context.Background(), propagation.MapCarrier{"traceparent": e.Traceparent})
		if !trace.SpanContextFromContext(ctx).IsValid() {
			ctx = context.WithValue(ctx, eventID{}, e.ID)
		}
		ctx, accept := t.tracer.Start(ctx, "accept "+string(e.Type), trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(start), trace.WithAttributes(
			attribute.String("switchhook.event", e.ID), attribute.String("switchhook.agent", out[i].AgentID),
			attribute.String("switchhook.delivery", out[i].DeliveryID), attribute.String("switchhook.webhook", out[i].WebhookID),
			attribute.String("switchhook.channel", string(e.Channel))))
		_, store := t.tracer.Start(ctx, "store", trace.WithTimestamp(begin), trace.WithAttributes(attribute.Int("switchhook.batch", len(events))))
		store.End(trace.WithTimestamp(end))
		accept.End(trace.WithTimestamp(end))
		if out[i].DeliveryID != "" {
			t.remember(out[i].DeliveryID, accept.SpanContext())
		}
	}
}

func (t *Tracer) remember(delivery string, s trace.SpanContext) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.young) >= remembered {
		t.older, t.young = t.young, make(map[string]trace.SpanContext, remembered)
	}
	t.young[delivery] = s
}

// parent is a context from which the attempts of a delivery begin.
func (t *Tracer) parent(ctx context.Context, delivery string) context.Context {
	t.mu.Lock()
	s, ok := t.young[delivery]
	if !ok {
		s, ok = t.older[delivery]
	}
	t.mu.Unlock()
	if ok {
		return trace.ContextWithSpanContext(ctx, s)
	}
	return context.WithValue(ctx, eventID{}, phone.EventID(delivery))
}

// Transport returns a RoundTripper that makes a span of each attempt and hands the
// trace on to the receiver. With a nil Tracer it is next itself.
func (t *Tracer) Transport(next http.RoundTripper) http.RoundTripper {
	if t == nil {
		return next
	}
	return &transport{t, next}
}

type transport struct {
	*Tracer
	next http.RoundTripper
}

// RoundTrip sends one request; see http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	delivery := r.Header.Get(webhook.HeaderID)
	ctx, span := t.tracer.Start(t.parent(r.Context(), delivery), "attempt", trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("switchhook.delivery", delivery), attribute.String("switchhook.event", phone.EventID(delivery)),
		attribute.String("http.request.method", r.Method), attribute.String("server.address", r.URL.Hostname()),
		// Without its query, which may hold what is secret.
		attribute.String("url.full", (&url.URL{Scheme: r.URL.Scheme, Host: r.URL.Host, Path: r.URL.Path}).String())))
	r = r.WithContext(ctx)
	r.Header = maps.Clone(r.Header)
	t.headers.Inject(ctx, propagation.HeaderCarrier(r.Header))
	resp, err := t.next.RoundTrip(r)
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
		span.End()
		return nil, err
	}
	span.SetAttributes(attribute.Int("http.response.status_code", resp.StatusCode))
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		span.SetStatus(codes.Error, resp.Status)
	}
	resp.Body = &body{ReadCloser: resp.Body, span: span}
	return resp, nil
}

// body ends its attempt's span when it is closed.
type body struct {
	io.ReadCloser
	span trace.Span
}

func (b *body) Close() error {
	b.span.End()
	return b.ReadCloser.Close()
}

// eventID is, in a context, the event whose id the next trace is to have.
type eventID struct{}

// ids makes random ids, but the trace id of an event from its own.
type ids struct{}

var encoding = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// NewIDs is sdk.IDGenerator's.
func (g ids) NewIDs(ctx context.Context) (id trace.TraceID, span trace.SpanID) {
	event, _ := ctx.Value(eventID{}).(string)
	_, opaque, _ := strings.Cut(event, "_")
	if raw, err := encoding.DecodeString(opaque); err != nil || copy(id[:], raw) != len(id) {
		for i := range id {
			id[i] = byte(rand.Uint32())
		}
	}
	return id, g.NewSpanID(ctx, id)
}

// NewSpanID is sdk.IDGenerator's.
func (ids) NewSpanID(context.Context, trace.TraceID) (id trace.SpanID) {
	for !id.IsValid() {
		for i := range id {
			id[i] = byte(rand.Uint32())
		}
	}
	return id
}
