// Package endtoend tests a running server from outside: over its HTTP API, with
// real receivers, and for the crashes with the real program.
package endtoend

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"switchhook.dev/switchhook/internal/deliver"
	"switchhook.dev/switchhook/test/trial"
)

const customer = "+12025550199"

// world is a running server and what a test does to it: trial.Server, in the
// words of these tests.
type world struct {
	t   *testing.T
	url string
	key string
	// stop ends the server, as a signal does.
	stop func(context.Context) error
}

// newWorld starts a server on an empty database.
func newWorld(t *testing.T, schedule deliver.Schedule) *world {
	t.Helper()
	s := trial.Start(t, schedule)
	return &world{t: t, url: s.URL, key: s.Key, stop: s.Stop}
}

var client = trial.Client

type (
	object       = trial.Object
	webhookView  = trial.Webhook
	accepted     = trial.Accepted
	deliveryView = trial.Delivery
)

func hookPath(agent string) string { return trial.HookPath(agent) }

func textEvent(from, to, text string) object { return trial.Text(from, to, text) }

func (w *world) server() *trial.Server {
	s := &trial.Server{URL: w.url, Key: w.key}
	if w.t != nil {
		s.T = w.t
	}
	return s
}

func (w *world) do(method, path string, body any) (int, []byte, error) {
	return w.server().Do(method, path, body)
}

func (w *world) call(method, path string, body any) (int, []byte) {
	w.t.Helper()
	return w.server().Call(method, path, body)
}

func (w *world) try(method, path string, body, into any) error {
	return w.server().Try(method, path, body, into)
}

func (w *world) ok(method, path string, body, into any) {
	w.t.Helper()
	w.server().OK(method, path, body, into)
}

func (w *world) agent(number string) string {
	w.t.Helper()
	return w.server().Agent("agent of "+number, number)
}

func (w *world) set(agent, url string) webhookView {
	w.t.Helper()
	return w.server().Set(agent, url)
}

func (w *world) send(from, to, text string) accepted {
	w.t.Helper()
	return w.server().Send(from, to, text)
}

func (w *world) delivery(id string) deliveryView {
	w.t.Helper()
	return w.server().Delivery(id)
}

func (w *world) until(id string, good func(deliveryView) bool) deliveryView {
	w.t.Helper()
	return w.server().Until(id, good)
}

func (w *world) untilStatus(id, status string) deliveryView {
	w.t.Helper()
	return w.server().UntilStatus(id, status)
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
