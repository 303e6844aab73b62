package tracing_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
	"switchhook.dev/switchhook/internal/netguard"
	"switchhook.dev/switchhook/internal/server"
	"switchhook.dev/switchhook/internal/tracing"
)

// receiver takes spans in as a collector does.
type receiver struct {
	*httptest.Server
	mu    sync.Mutex
	spans []*otlp.Span
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		raw, err := io.ReadAll(req.Body)
		var in collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(raw, &in)
		}
		if err != nil || req.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", req.URL.Path, err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, rs := range in.ResourceSpans {
			for _, ss := range rs.ScopeSpans {
				r.spans = append(r.spans, ss.Spans...)
			}
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) named(name string) (out []*otlp.Span) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.spans {
		if s.Name == name {
			out = append(out, s)
		}
	}
	return out
}

// A trace goes from the caller through accept, store and attempt to the receiver.
func TestTrace(t *testing.T) {
	spans := newReceiver(t)
	srv, err := server.Start(t.Context(), server.Config{
		Listen: "127.0.0.1:0", Database: "sqlite:" + filepath.Join(t.TempDir(), "test.db"), Version: "test",
		Policy: netguard.Policy{AllowHTTP: true, AllowPrivate: true}, Traces: spans.URL,
	})
	if err != nil {
		t.Fatal(err)
	}
	stop := sync.OnceValue(func() error { return srv.Stop(context.Background()) })
	t.Cleanup(func() { _ = stop() })
	got := make(chan string, 10)
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { got <- r.Header.Get("Traceparent") }))
	t.Cleanup(endpoint.Close)

	call := func(path, body, traceparent string) (out struct{ ID string }) {
		t.Helper()
		req, err := http.NewRequest("POST", srv.URL+path, bytes.NewReader([]byte(body)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+srv.NewKey)
		if traceparent != "" {
			req.Header.Set("Traceparent", traceparent)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if err := json.NewDecoder(resp.Body).Decode(&out); err != nil || resp.StatusCode > 299 {
			t.Fatal(resp.Status, err)
		}
		return out
	}
	agent := call("/v1/agents", `{"name": "Ava"}`, "").ID
	call("/v1/numbers", `{"phoneNumber": "+12025550101", "agentId": "`+agent+`"}`, "")
	call("/v1/webhooks", `{"url": "`+endpoint.URL+`/hook?secret=1"}`, "")
	receive := func() []string {
		t.Helper()
		select {
		case h := <-got:
			parts := strings.Split(h, "-")
			if len(parts) != 4 {
				t.Fatalf("the receiver got traceparent %q", h)
			}
			return parts
		case <-time.After(time.Minute):
			t.Fatal("nothing arrived")
		}
		return nil
	}
	const text = `{"event": "agent.message", "channel": "sms", "data": {"from": "+12025550199", "to": "+12025550101", "message": "Hi"}}`
	const callers = "0af7651916cd43dd8448eb211c80319c"
	call("/v1/events", text, "00-"+callers+"-b7ad6b7169203331-01")
	with := receive()
	call("/v1/events", text, "")
	without := receive()
	if with[1] != callers || without[1] == callers {
		t.Errorf("the receivers got %v and %v", with, without)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	accepts, stores, attempts := spans.named("accept agent.message"), spans.named("store"), spans.named("attempt")
	if len(accepts) != 2 || len(stores) != 2 || len(attempts) != 2 {
		t.Fatalf("%d accepted, %d stored, %d attempted", len(accepts), len(stores), len(attempts))
	}
	for i, trace := range []string{with[1], without[1]} {
		a := accepts[i]
		if hex.EncodeToString(a.TraceId) != trace {
			t.Errorf("trace %x of accept, %s at the receiver", a.TraceId, trace)
		}
		for _, child := range []*otlp.Span{stores[i], attempts[i]} {
			if !bytes.Equal(child.TraceId, a.TraceId) || !bytes.Equal(child.ParentSpanId, a.SpanId) {
				t.Errorf("%s is not in the trace of its accept", child.Name)
			}
		}
		for _, attribute := range attempts[i].Attributes {
			if strings.Contains(attribute.Value.GetStringValue(), "secret") {
				t.Errorf("the query is in %v", attribute)
			}
		}
	}
	if hex.EncodeToString(accepts[0].ParentSpanId) != "b7ad6b7169203331" || len(accepts[1].ParentSpanId) != 0 {
		t.Errorf("parents %x and %x", accepts[0].ParentSpanId, accepts[1].ParentSpanId)
	}
	if hex.EncodeToString(attempts[0].SpanId) != with[2] {
		t.Errorf("the receiver got span %s, not the attempt's %x", with[2], attempts[0].SpanId)
	}
}

// Off, nothing of it is in the path of a request.
func TestOff(t *testing.T) {
	var off *tracing.Tracer
	if next := http.DefaultTransport; off.Transport(next) != next {
		t.Error("there is something in the way")
	}
	if err := off.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}
