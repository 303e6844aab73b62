package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"switchhook.dev/switchhook/internal/deliver"
	"switchhook.dev/switchhook/internal/netguard"
	"switchhook.dev/switchhook/internal/server"
	"switchhook.dev/switchhook/webhook"
)

// DemoCmd shows the whole of it on one terminal, and leaves the server up.
type DemoCmd struct {
	Listen string `default:"127.0.0.1:0" help:"Address to serve the API on; port 0 takes a free one."`
	Exit   bool   `help:"Stop when the show is over instead of leaving the server up."`
}

// demoSchedule is short, so that nobody waits for a retry.
var demoSchedule = deliver.Schedule{time.Second, time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second}

// Numbers of the demo: 555-01xx is reserved for examples.
const (
	avasNumber = "+12025550101"
	bensNumber = "+12025550102"
	customer   = "+12025550199"
)

// Run plays the demo.
func (c *DemoCmd) Run(ctx context.Context, kctx *kong.Context) (err error) {
	ctx, release := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer release()
	dir, err := os.MkdirTemp("", "switchhook-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	srv, err := server.Start(ctx, server.Config{
		Listen: c.Listen, Database: "sqlite:" + filepath.Join(dir, "demo.db"), Version: Version,
		Policy: netguard.Policy{AllowHTTP: true, AllowPrivate: true}, Schedule: demoSchedule,
	})
	if err != nil {
		return err
	}
	defer func() {
		stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
		defer cancel()
		if stopErr := srv.Stop(stopCtx); err == nil {
			err = stopErr
		}
	}()
	d := &demo{out: kctx.Stdout, client: NewClient(srv.URL, srv.NewKey), names: map[string]string{}}
	if err := d.play(ctx); err != nil {
		return err
	}
	if c.Exit {
		return nil
	}
	d.say("\nThe server stays up. In another terminal:\n\n"+
		"  export SWITCHHOOK_URL=%s\n  export SWITCHHOOK_API_KEY=%s\n\n"+
		"  switchhook deliveries list\n  switchhook send --from %s --to %s \"Are you there?\"\n  switchhook webhook get\n\n"+
		"API reference: %s/docs/api    Ctrl-C ends the demo.", srv.URL, srv.NewKey, customer, bensNumber, srv.URL)
	<-ctx.Done()
	return nil
}

// demo is the state of one show.
type demo struct {
	out    io.Writer
	client *Client
	mu     sync.Mutex
	names  map[string]string // agents, by id
}

func (d *demo) say(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	fmt.Fprintf(d.out, format+"\n", args...)
}

// play is the script.
func (d *demo) play(ctx context.Context) error {
	own, err := d.receiver("Ava's own endpoint")
	if err != nil {
		return err
	}
	defer own.Close()
	def, err := d.receiver("the default endpoint")
	if err != nil {
		return err
	}
	defer def.Close()

	d.say("Two agents: Ava (%s) gets a webhook of her own, Ben (%s) has none.\n", avasNumber, bensNumber)
	ava, err := d.agent(ctx, "Ava", avasNumber)
	if err != nil {
		return err
	}
	if _, err := d.agent(ctx, "Ben", bensNumber); err != nil {
		return err
	}
	if err := d.setWebhook(ctx, "/v1/webhooks", def); err != nil {
		return err
	}
	if err := d.setWebhook(ctx, Path("v1", "agents", ava, "webhook"), own); err != nil {
		return err
	}
	d.say("Each event goes to exactly one endpoint: the agent's own, or else the default.\n")
	for _, t := range []struct{ from, to, text string }{
		{customer, avasNumber, "Hi Ava, where is my order?"},
		{avasNumber, customer, "Which order is it?"},
		{customer, avasNumber, "The blue one."},
		{customer, bensNumber, "Hello Ben!"},
	} {
		if err := d.text(ctx, t.from, t.to, t.text, own, def); err != nil {
			return err
		}
	}
	d.say("\nNow the default endpoint fails: it answers 500 twice, then recovers.\n")
	def.failures.Store(2)
	if err := d.text(ctx, customer, bensNumber, "Ben, are you all right?", own, def); err != nil {
		return err
	}
	d.say("\nNobody lost anything, and nothing went to the other endpoint: Ava's got %d, the default %d.", own.got.Load(), def.got.Load())
	return nil
}

func (d *demo) agent(ctx context.Context, name, number string) (string, error) {
	var a Agent
	if err := d.call(ctx, "POST", "/v1/agents", map[string]any{"name": name}, &a); err != nil {
		return "", err
	}
	d.mu.Lock()
	d.names[a.ID] = name
	d.mu.Unlock()
	return a.ID, d.call(ctx, "POST", "/v1/numbers", map[string]any{"phoneNumber": number, "agentId": a.ID}, nil)
}

func (d *demo) setWebhook(ctx context.Context, path string, r *demoReceiver) error {
	var w Webhook
	if err := d.call(ctx, "POST", path, map[string]any{"url": r.url}, &w); err != nil {
		return err
	}
	r.secret.Store(&w.Secret)
	return nil
}

// text hands a message in and waits for its arrival, where it is to arrive.
func (d *demo) text(ctx context.Context, from, to, text string, receivers ...*demoReceiver) error {
	direction := "inbound"
	if from != customer {
		direction = "outbound"
	}
	d.say("%s → %s  %q", from, to, text)
	var sent SentEvent
	err := d.call(ctx, "POST", "/v1/events", map[string]any{
		"event": "agent.message", "channel": "sms",
		"data": map[string]any{"from": from, "to": to, "direction": direction, "message": text},
	}, &sent)
	if err != nil {
		return err
	}
	if direction == "outbound" {
		d.say("      kept in the history; what an agent says is delivered to no one")
		return nil
	}
	arrived := make(chan struct{})
	for _, r := range receivers {
		go func() {
			select {
			case <-r.accepted:
				close(arrived)
			case <-arrived:
			case <-ctx.Done():
			}
		}()
	}
	select {
	case <-arrived:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Minute):
		return fmt.Errorf("the text did not arrive within a minute: run the demo again, and report this if it stays so")
	}
}

func (d *demo) call(ctx context.Context, method, path string, body, into any) error {
	raw, err := d.client.Do(ctx, Request{Method: method, Path: path, Body: body})
	if err != nil || into == nil {
		return err
	}
	return json.Unmarshal(raw, into)
}

// demoReceiver is an endpoint as a user would write one: it verifies, then reads.
type demoReceiver struct {
	*http.Server
	demo     *demo
	name     string
	url      string
	secret   atomic.Pointer[string]
	failures atomic.Int32 // how many requests to answer with 500
	got      atomic.Int32
	accepted chan struct{}
}

func (d *demo) receiver(name string) (*demoReceiver, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &demoReceiver{demo: d, name: name, url: "http://" + l.Addr().String() + "/hook", accepted: make(chan struct{}, 16)}
	r.Server = &http.Server{Handler: r, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = r.Serve(l) }()
	return r, nil
}

func (r *demoReceiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, 1<<20))
	if err != nil {
		http.Error(w, "cannot read the body", http.StatusBadRequest)
		return
	}
	if err := webhook.Verify(req.Header, body, []string{*r.secret.Load()}); err != nil {
		r.demo.say("      %s: bad signature: %v", r.name, err)
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	}
	if r.failures.Add(-1) >= 0 {
		r.demo.say("      %s fails: answers 500; it is tried again, with the same X-Webhook-ID %s", r.name, req.Header.Get("X-Webhook-ID"))
		http.Error(w, "out of order", http.StatusInternalServerError)
		return
	}
	var event struct {
		AgentID string                   `json:"agentId"`
		Data    struct{ Message string } `json:"data"`
		History []json.RawMessage        `json:"recentHistory"`
	}
	if err := json.Unmarshal(body, &event); err != nil {
		http.Error(w, "cannot read the JSON", http.StatusBadRequest)
		return
	}
	r.demo.mu.Lock()
	agent := r.demo.names[event.AgentID]
	r.demo.mu.Unlock()
	why := agent + " has a webhook of their own"
	if r.name == "the default endpoint" {
		why = agent + " has none of their own"
	}
	r.demo.say("      %s got %q with %d messages of history, signature verified, because %s", r.name, event.Data.Message, len(event.History), why)
	r.got.Add(1)
	r.accepted <- struct{}{}
}
