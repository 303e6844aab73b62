// Package endtoend tests a running server from outside: over its HTTP API, with
// real receivers, and for the crashes with the real program.
package endtoend

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"switchhook.dev/switchhook/internal/deliver"
	"switchhook.dev/switchhook/internal/netguard"
	"switchhook.dev/switchhook/internal/server"
)

const customer = "+12025550199"

// world is a running server and what a test does to it.
type world struct {
	t   *testing.T
	url string
	key string
	srv *server.Server
}

// newWorld starts a server on an empty database.
func newWorld(t *testing.T, schedule deliver.Schedule) *world {
	t.Helper()
	srv, err := server.Start(t.Context(), server.Config{
		Listen: "127.0.0.1:0", Database: "sqlite:" + filepath.Join(t.TempDir(), "test.db"), Version: "test",
		Policy: netguard.Policy{AllowHTTP: true, AllowPrivate: true}, Schedule: schedule,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Stop(context.Background()); err != nil {
			t.Error("stop:", err)
		}
	})
	return &world{t: t, url: srv.URL, key: srv.NewKey, srv: srv}
}

var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}

// do makes a request and returns its status and body.
func (w *world) do(method, path string, body any) (int, []byte, error) {
	var in io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		in = bytes.NewReader([]byte(b))
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			return 0, nil, err
		}
		in = bytes.NewReader(raw)
	}
	req, err := http.NewRequest(method, w.url+path, in)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+w.key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	return resp.StatusCode, out, err
}

// call is do for requests that must be answered, whatever with.
func (w *world) call(method, path string, body any) (int, []byte) {
	w.t.Helper()
	status, out, err := w.do(method, path, body)
	if err != nil {
		w.t.Errorf("%s %s: %v", method, path, err)
	}
	return status, out
}

// try is ok for requests that may fail.
func (w *world) try(method, path string, body, into any) error {
	status, out, err := w.do(method, path, body)
	if err != nil {
		return err
	}
	if status < 200 || status > 299 {
		return fmt.Errorf("%d %s", status, out)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(out, into)
}

// ok is try for requests that must succeed.
func (w *world) ok(method, path string, body, into any) {
	w.t.Helper()
	if err := w.try(method, path, body, into); err != nil {
		w.t.Errorf("%s %s: %v", method, path, err)
		runtime.Goexit()
	}
}

type object map[string]any

func (w *world) agent(number string) string {
	w.t.Helper()
	var a struct{ ID string }
	w.ok("POST", "/v1/agents", object{"name": "agent of " + number}, &a)
	w.ok("POST", "/v1/numbers", object{"phoneNumber": number, "agentId": a.ID}, nil)
	return a.ID
}

type webhookView struct{ ID, URL, Secret, Status string }

// hookPath is where the webhook of an agent, or ("") the default, is set.
func hookPath(agent string) string {
	if agent == "" {
		return "/v1/webhooks"
	}
	return "/v1/agents/" + agent + "/webhook"
}

func (w *world) set(agent, url string) webhookView {
	w.t.Helper()
	var h webhookView
	w.ok("POST", hookPath(agent), object{"url": url}, &h)
	return h
}

type accepted struct{ ID, AgentID, MessageID, ConversationID, DeliveryID, WebhookID string }

func textEvent(from, to, text string) object {
	return object{"event": "agent.message", "channel": "sms", "data": object{"from": from, "to": to, "message": text}}
}

func (w *world) send(from, to, text string) accepted {
	w.t.Helper()
	var a accepted
	w.ok("POST", "/v1/events", textEvent(from, to, text), &a)
	return a
}

type deliveryView struct {
	ID, Status, WebhookID, ErrorMessage, ResponseBody, NextRetryAt string
	AttemptCount                                                   int
	Request                                                        struct{ Body string }
	Attempts                                                       []struct {
		URL        string
		HTTPStatus int
	}
}

func (w *world) delivery(id string) deliveryView {
	w.t.Helper()
	var d deliveryView
	w.ok("GET", "/v1/deliveries/"+id, nil, &d)
	return d
}

// until waits for a delivery to be as it should: there is no signal over the
// API to wait on but the log itself.
func (w *world) until(id string, good func(deliveryView) bool) deliveryView {
	w.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		d := w.delivery(id)
		if good(d) {
			return d
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("delivery %s stays %+v", id, d)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (w *world) untilStatus(id, status string) deliveryView {
	w.t.Helper()
	return w.until(id, func(d deliveryView) bool { return d.Status == status })
}

// request is one that a receiver got.
type request struct {
	path, delivery string
	body           []byte
	header         http.Header
}

// receiver is an endpoint that keeps what it got.
type receiver struct {
	*httptest.Server
	mu   sync.Mutex
	got  []request
	came chan request
	// answer may be nil: everything is answered with 200.
	answer func(w http.ResponseWriter, r request)
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{came: make(chan request, 100_000)}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	in := request{req.URL.Path, req.Header.Get("X-Webhook-ID"), body, req.Header}
	r.mu.Lock()
	r.got = append(r.got, in)
	answer := r.answer
	r.mu.Unlock()
	r.came <- in
	if answer != nil {
		answer(w, in)
		return
	}
	fmt.Fprint(w, "ok")
}

func (r *receiver) respond(answer func(http.ResponseWriter, request)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

func (r *receiver) requests() []request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]request(nil), r.got...)
}

func status(code int) func(http.ResponseWriter, request) {
	return func(w http.ResponseWriter, _ request) { w.WriteHeader(code) }
}

// hold answers nothing until release is called.
func hold() (answer func(http.ResponseWriter, request), release func()) {
	c := make(chan struct{})
	return func(w http.ResponseWriter, _ request) { <-c }, sync.OnceFunc(func() { close(c) })
}
