package deliver

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/webhook"
)

// asker is a dispatcher at work for turns alone.
func asker(t *testing.T, l *ledger, transport http.RoundTripper, turns int) *Dispatcher {
	t.Helper()
	d := New(Config{Store: l, Transport: transport, TurnTransport: transport, Turns: turns, UserAgent: "test"})
	if err := d.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Stop(context.Background()) })
	return d
}

func question(w phone.Webhook) *phone.Job {
	e := &phone.Event{ID: phone.NewID(phone.PrefixEvent), Type: phone.EventMessage, Channel: phone.ChannelVoice, Data: []byte(`{"transcript":"hi"}`)}
	return &phone.Job{DeliveryID: phone.DeliveryID(e.ID), ProjectID: "p", WebhookID: w.ID, EventType: e.Type, Channel: e.Channel, Round: 1, Event: e, Handed: true}
}

// A real server with TLS that offers HTTP/2 is asked over it, and over one
// connection that stays; every request is signed.
func TestTurnsGoOverOneWarmHTTP2Connection(t *testing.T) {
	l := newLedger(t)
	w := l.webhook("wh_1")
	var protocols sync.Map
	var connections atomic.Int64
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if err := webhook.Verify(r.Header, body, []string{w.Secret}); err != nil {
			t.Error(err)
		}
		protocols.Store(r.Proto, true)
		rw.Header().Set("Content-Type", "application/x-ndjson")
		_, _ = io.WriteString(rw, `{"text":"hi"}`+"\n")
	}))
	srv.EnableHTTP2 = true
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections.Add(1)
		}
	}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	w.URL = srv.URL
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	d := asker(t, l, transport, 0)
	for range 20 {
		x, done, refused := d.Exchange(t.Context(), w, question(w))
		if refused != "" {
			t.Fatal(refused)
		}
		resp, err := x.Do(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if out, err := io.ReadAll(resp.Body); string(out) != `{"text":"hi"}`+"\n" || err != nil {
			t.Errorf("%s %v", out, err)
		}
		_ = resp.Body.Close()
		if n := len(x.Attempts()); n != 1 {
			t.Errorf("%d attempts", n)
		}
		done()
	}
	if _, two := protocols.Load("HTTP/2.0"); !two || connections.Load() != 1 {
		t.Errorf("%d connections; HTTP/2 %v", connections.Load(), two)
	}
}

// roundTrip is a transport made of a function.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Only where no connection was made is there a second try, and never a third.
func TestTheSecondTryOfATurn(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	// Listens and hangs up: there is a connection, so something may have been sent.
	rude, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rude.Close() })
	go func() {
		for {
			c, err := rude.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	real := &http.Transport{DisableKeepAlives: true}
	for _, c := range []struct {
		name     string
		answer   func(n int, r *http.Request) (*http.Response, error)
		attempts int
		ok       bool
	}{
		{"an answer", func(int, *http.Request) (*http.Response, error) { return &http.Response{StatusCode: 200}, nil }, 1, true},
		{"refused once", func(n int, _ *http.Request) (*http.Response, error) {
			if n == 1 {
				return nil, refused
			}
			return &http.Response{StatusCode: 200}, nil
		}, 2, true},
		{"refused twice", func(int, *http.Request) (*http.Response, error) { return nil, refused }, 2, false},
		{"connected and cut off", func(_ int, r *http.Request) (*http.Response, error) { return real.RoundTrip(r) }, 1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLedger(t)
			w := l.webhook("wh_1")
			w.URL = "http://" + rude.Addr().String()
			n := 0
			d := asker(t, l, roundTrip(func(r *http.Request) (*http.Response, error) { n++; return c.answer(n, r) }), 0)
			x, done, _ := d.Exchange(t.Context(), w, question(w))
			defer done()
			_, err := x.Do(t.Context())
			if (err == nil) != c.ok || len(x.Attempts()) != c.attempts || n != c.attempts {
				t.Errorf("%v after %d attempts, %d on record", err, n, len(x.Attempts()))
			}
			for _, a := range x.Attempts() {
				if (a.Error == "") != (err == nil && a == x.Attempts()[len(x.Attempts())-1]) {
					t.Errorf("%+v", a)
				}
			}
		})
	}
	t.Run("given up meanwhile", func(t *testing.T) {
		l := newLedger(t)
		w := l.webhook("wh_1")
		ctx, cancel := context.WithCancel(t.Context())
		d := asker(t, l, roundTrip(func(*http.Request) (*http.Response, error) { cancel(); return nil, errors.New("canceled") }), 0)
		x, done, _ := d.Exchange(ctx, w, question(w))
		defer done()
		if _, err := x.Do(ctx); err == nil || len(x.Attempts()) != 1 {
			t.Errorf("%v, %d attempts", err, len(x.Attempts()))
		}
	})
}

// Turns have slots of their own: ten endpoints that hang leave room for others, a
// failing endpoint's breaker holds no turn back, and what was closed is not asked.
func TestSlotsOfTurns(t *testing.T) {
	l := newLedger(t)
	hooks := make([]phone.Webhook, 12)
	for i := range hooks {
		hooks[i] = l.webhook("wh_" + string(rune('a'+i)))
	}
	const limit = 120
	d := asker(t, l, roundTrip(func(*http.Request) (*http.Response, error) { return nil, errors.New("never") }), limit)
	take := func(w phone.Webhook) (end func(), refused string) {
		release, err := d.BeginTurn()
		if err != nil {
			return nil, err.Error()
		}
		_, done, refused := d.Exchange(t.Context(), w, question(w))
		if refused != "" {
			release()
			return nil, refused
		}
		return func() { done(); release() }, ""
	}
	var ends []func()
	held := map[string]int{}
	for range limit {
		for _, w := range hooks[:10] {
			if end, refused := take(w); refused == "" {
				ends = append(ends, end)
				held[w.ID]++
			} else if refused != errorTurnsOfOne {
				t.Fatal(refused)
			}
		}
	}
	if total := len(ends); total < 90 || total > 115 || held["wh_a"] < 8 {
		t.Errorf("ten endpoints that hang hold %d of %d slots: %v", total, limit, held)
	}
	end, refused := take(hooks[10])
	if refused != "" {
		t.Fatal("another endpoint found no room:", refused)
	}
	end()
	for _, end := range ends {
		end()
	}
	if d.turns != 0 || len(d.turnsOf) != 0 {
		t.Errorf("%d slots were not given back: %v", d.turns, d.turnsOf)
	}
	d.mu.Lock()
	d.lanes["wh_a"].breaker = failingSince(time.Now())
	d.mu.Unlock()
	if end, refused := take(hooks[0]); refused != "" {
		t.Error("the breaker held a turn back:", refused)
	} else {
		end()
	}
	d.Close("wh_b")
	if _, refused := take(hooks[1]); refused != phone.ErrorWebhookDeleted {
		t.Errorf("a closed lane: %q", refused)
	}
	gone := hooks[11]
	gone.ID = "wh_unknown"
	l.forget(gone.ID)
	if _, refused := take(gone); refused != phone.ErrorWebhookDeleted {
		t.Errorf("a webhook that is gone: %q", refused)
	}
	for range limit {
		if _, err := d.BeginTurn(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.BeginTurn(); phone.CodeOf(err) != phone.Unavailable || !strings.Contains(err.Error(), "--max-turns") {
		t.Error(err)
	}
	for range limit {
		d.mu.Lock()
		d.turns--
		d.mu.Unlock()
		d.work.Done()
	}
	d.Halt()
	if _, err := d.BeginTurn(); phone.CodeOf(err) != phone.Unavailable {
		t.Error(err)
	}
}
