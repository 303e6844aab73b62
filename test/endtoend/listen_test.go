package endtoend

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"switchhook.dev/switchhook/internal/listen"
	"switchhook.dev/switchhook/internal/netguard"
	"switchhook.dev/switchhook/internal/server"
	"switchhook.dev/switchhook/webhook"
)

// proxy is a network between two programs that can be cut.
type proxy struct {
	net.Listener
	mu     sync.Mutex
	target string // "" is nowhere
	conns  map[net.Conn]bool
	came   chan struct{} // one for each connection through
}

func newProxy(t *testing.T, url string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: l, target: strings.TrimPrefix(url, "http://"), conns: map[net.Conn]bool{}, came: make(chan struct{}, 10_000)}
	t.Cleanup(func() { p.point(""); _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.carry(c)
		}
	}()
	return p
}

func (p *proxy) url() string { return "http://" + p.Addr().String() }

func (p *proxy) carry(in net.Conn) {
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	out, err := net.Dial("tcp", target)
	if target == "" || err != nil {
		_ = in.Close()
		return
	}
	p.mu.Lock()
	if p.target != target {
		p.mu.Unlock()
		_ = in.Close()
		_ = out.Close()
		return
	}
	p.conns[in], p.conns[out] = true, true
	p.mu.Unlock()
	p.came <- struct{}{}
	var both sync.WaitGroup
	for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
		both.Go(func() {
			_, _ = io.Copy(pair[0], pair[1])
			_ = in.Close()
			_ = out.Close()
		})
	}
	both.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, in)
	delete(p.conns, out)
}

// cut cuts every connection; new ones go through.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

// point cuts every connection, and lets new ones go elsewhere.
func (p *proxy) point(url string) {
	p.mu.Lock()
	p.target = strings.TrimPrefix(url, "http://")
	p.mu.Unlock()
	p.cut()
}

// listener is a client that listens.
type listener struct {
	ready  chan listen.Ready
	lost   chan struct{}
	back   chan struct{}
	cancel context.CancelFunc
	done   chan error
}

func (w *world) listen(url, agent, forward, secret string) *listener {
	ctx, cancel := context.WithCancel(w.t.Context())
	l := &listener{ready: make(chan listen.Ready, 100), lost: make(chan struct{}, 10_000), back: make(chan struct{}, 10_000), cancel: cancel, done: make(chan error, 1)}
	go func() {
		l.done <- listen.NewClient(listen.ClientConfig{
			URL: url + "/v1/agents/" + agent + "/listen", Key: w.key,
			Settings: listen.Settings{Forward: forward, Secret: secret}, Handle: listen.Forward(forward),
			Ready: func(r listen.Ready) { l.ready <- r },
			Lost:  func(error) { l.lost <- struct{}{} }, Back: func() { l.back <- struct{}{} },
		}).Run(ctx)
	}()
	w.t.Cleanup(cancel)
	return l
}

// wait waits for a signal of something that is under way in other goroutines.
func wait[T any](t *testing.T, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(3 * time.Minute):
		t.Fatal("not within three minutes: " + what)
	}
	return v
}

func worldWith(t *testing.T, change func(*server.Config)) *world {
	t.Helper()
	cfg := server.Config{
		Listen: "127.0.0.1:0", Database: "sqlite:" + filepath.Join(t.TempDir(), "test.db"), Version: "test",
		Policy: netguard.Policy{AllowHTTP: true, AllowPrivate: true},
	}
	change(&cfg)
	srv, err := server.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Stop(context.Background()); err != nil {
			t.Error("stop:", err)
		}
	})
	return &world{t: t, url: srv.URL, key: srv.NewKey}
}

// TestListenerWhoseConnectionIsCut cuts a listener's connection ten times while
// requests are under way. Each delivery arrives once, is recorded once, and goes
// nowhere else.
func TestListenerWhoseConnectionIsCut(t *testing.T) {
	const cuts, each = 10, 20
	w := worldWith(t, func(c *server.Config) { c.ListenGrace = 10 * time.Minute })
	agent := w.agent(avasNumber)
	elsewhere, local := newReceiver(t), newReceiver(t)
	w.set("", elsewhere.URL)
	w.set(agent, elsewhere.URL)
	p := newProxy(t, w.url)
	secret := webhook.NewSecret()
	l := w.listen(p.url(), agent, local.URL+"/hook", secret)
	wait(t, l.ready, "listening")

	var ids []string
	for round := range cuts {
		answer, release := hold()
		t.Cleanup(release)
		local.respond(answer)
		for i := range each {
			ids = append(ids, w.send(fmt.Sprintf("+1303555%04d", i), avasNumber, fmt.Sprintf("%d.%d", round, i)).DeliveryID)
		}
		wait(t, local.came, "requests under way") // of each round at least one is, when it is cut
		p.cut()
		release()
		wait(t, l.back, "the connection")
		local.respond(nil)
	}
	for _, id := range ids {
		if d := w.untilStatus(id, "success"); d.AttemptCount != 1 || len(d.Attempts) != 1 || !strings.HasPrefix(d.Attempts[0].URL, "listen://") {
			t.Errorf("%s: %+v", id, d)
		}
	}
	got := map[string]int{}
	for _, r := range local.requests() {
		got[r.delivery]++
		if err := webhook.Verify(r.header, r.body, []string{secret}); err != nil {
			t.Error(err)
		}
	}
	for _, id := range ids {
		if got[id] != 1 {
			t.Errorf("%s arrived %d times", id, got[id])
		}
	}
	if n := len(elsewhere.requests()); n != 0 || len(got) != cuts*each {
		t.Errorf("%d went elsewhere, %d arrived", n, len(got))
	}
	l.cancel()
	if err := wait(t, l.done, "the end"); err != nil {
		t.Error(err)
	}
}

const bensNumber = "+12025550102"

type listenerView struct {
	WebhookID, Forward string
	Connected          bool
}

// While somebody listens for an agent its events come there, and no other's;
// before and after they go where they went.
func TestListenerIsTheAgentsOwn(t *testing.T) {
	w := newWorld(t, later)
	ava, _ := w.agent(avasNumber), w.agent(bensNumber)
	own, def, local := newReceiver(t), newReceiver(t), newReceiver(t)
	w.set(ava, own.URL)
	w.set("", def.URL)
	l := w.listen(w.url, ava, local.URL, "")
	r := wait(t, l.ready, "listening")

	a := w.send(customer, avasNumber, "to who listens")
	b := w.send(customer, bensNumber, "to the default")
	if d := w.untilStatus(a.DeliveryID, "success"); d.WebhookID != r.WebhookID || d.ResponseBody != "ok" {
		t.Errorf("%+v", d)
	}
	w.untilStatus(b.DeliveryID, "success")
	if len(local.requests()) != 1 || len(own.requests()) != 0 || len(def.requests()) != 1 {
		t.Error(len(local.requests()), len(own.requests()), len(def.requests()))
	}
	if err := webhook.Verify(local.requests()[0].header, local.requests()[0].body, []string{r.Secret}); err != nil {
		t.Error(err)
	}
	var v *listenerView
	w.ok("GET", "/v1/agents/"+ava+"/listener", nil, &v)
	if v == nil || v.WebhookID != r.WebhookID || v.Forward != local.URL || !v.Connected {
		t.Errorf("%+v", v)
	}

	second := w.listen(w.url, ava, local.URL, "")
	if err := wait(t, second.done, "a refusal"); err == nil || !strings.Contains(err.Error(), "somebody listens for this agent already") {
		t.Error(err)
	}
	unknown := w.listen(w.url, "agt_none", local.URL, "")
	if err := wait(t, unknown.done, "a refusal"); err == nil || !strings.Contains(err.Error(), "agt_none") {
		t.Error(err)
	}
	bad := w.listen(w.url, ava, local.URL, "no secret")
	if err := wait(t, bad.done, "a refusal"); err == nil {
		t.Error("a bad secret was taken")
	}

	// The local server's refusals are on record like any endpoint's.
	local.respond(status(500))
	failed := w.send(customer, avasNumber, "refused")
	if d := w.until(failed.DeliveryID, func(d deliveryView) bool { return d.AttemptCount == 1 }); d.Attempts[0].HTTPStatus != 500 {
		t.Errorf("%+v", d)
	}
	local.respond(nil)

	// Whoever says goodbye may first finish what is under way.
	answer, release := hold()
	t.Cleanup(release)
	local.respond(answer)
	last := w.send(customer, avasNumber, "under way")
	for got := 0; got < 3; got++ {
		wait(t, local.came, "the request under way")
	}
	l.cancel()
	release()
	if err := wait(t, l.done, "the end"); err != nil {
		t.Error(err)
	}
	if d := w.untilStatus(last.DeliveryID, "success"); d.WebhookID != r.WebhookID {
		t.Errorf("%+v", d)
	}
	v = nil
	if w.ok("GET", "/v1/agents/"+ava+"/listener", nil, &v); v != nil {
		t.Errorf("%+v", v)
	}
	after := w.send(customer, avasNumber, "to her own again")
	w.untilStatus(after.DeliveryID, "success")
	if len(own.requests()) != 1 {
		t.Error(len(own.requests()))
	}
	// What was attempted once ends there: its receiver may have it.
	if d := w.untilStatus(failed.DeliveryID, "failed"); d.ErrorMessage != "webhook deleted" {
		t.Errorf("%+v", d)
	}
}

// A listener that does not come back is removed, and what was never sent to it
// goes where it would have gone.
func TestListenerThatDoesNotComeBack(t *testing.T) {
	w := worldWith(t, func(c *server.Config) { c.ListenGrace = 300 * time.Millisecond })
	agent := w.agent(avasNumber)
	own, local := newReceiver(t), newReceiver(t)
	w.set(agent, own.URL)
	p := newProxy(t, w.url)
	l := w.listen(p.url(), agent, local.URL, "")
	r := wait(t, l.ready, "listening")
	p.point("")
	wait(t, l.lost, "the loss")
	var ids []string
	send := func(what string) {
		for i := range 5 {
			ids = append(ids, w.send(customer, avasNumber, fmt.Sprint(what, i)).DeliveryID)
		}
	}
	send("on the way while the loss is noticed ")
	var v *listenerView
	for v = (&listenerView{Connected: true}); v != nil && v.Connected; {
		v = nil
		w.ok("GET", "/v1/agents/"+agent+"/listener", nil, &v)
	}
	send("after it ")
	for _, id := range ids {
		w.until(id, func(d deliveryView) bool {
			return d.Status == "success" && d.WebhookID != r.WebhookID || d.Status == "failed" && d.ErrorMessage == "webhook deleted"
		})
	}
	// Those that were accepted while the server had not noticed the loss may have
	// been sent; the later ones were not.
	for _, id := range ids[5:] {
		if d := w.delivery(id); d.Status != "success" {
			t.Errorf("%+v", d)
		}
	}
	// It comes back as somebody new.
	p.point(w.url)
	again := wait(t, l.ready, "listening anew")
	if again.WebhookID == r.WebhookID {
		t.Error("the old session went on")
	}
	a := w.send(customer, avasNumber, "here again")
	if d := w.untilStatus(a.DeliveryID, "success"); d.WebhookID != again.WebhookID {
		t.Errorf("%+v", d)
	}
	// With the agent the listener goes.
	w.ok("DELETE", "/v1/agents/"+agent, nil, nil)
	if err := wait(t, l.done, "the end"); err == nil || err.Error() != "the agent was deleted" {
		t.Error(err)
	}
}

// A server that was killed knows no sessions: it removes what is left of them
// when it starts, and who listens begins anew.
func TestListenerOverACrash(t *testing.T) {
	database := filepath.Join(t.TempDir(), "test.db")
	server := start(t, "sqlite:"+database)
	w := &world{t: t, url: server.url, key: chosenKey}
	agent := w.agent(avasNumber)
	local := newReceiver(t)
	p := newProxy(t, server.url)
	l := w.listen(p.url(), agent, local.URL, "")
	first := wait(t, l.ready, "listening")
	w.untilStatus(w.send(customer, avasNumber, "one").DeliveryID, "success")
	if err := server.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = server.Wait()
	server = start(t, "sqlite:"+database)
	w.url = server.url
	var v *listenerView
	if w.ok("GET", "/v1/agents/"+agent+"/listener", nil, &v); v != nil {
		t.Errorf("left over: %+v", v)
	}
	p.point(server.url)
	if again := wait(t, l.ready, "listening anew"); again.WebhookID == first.WebhookID {
		t.Error("the old session went on")
	}
	w.untilStatus(w.send(customer, avasNumber, "two").DeliveryID, "success")
}

// A key that is revoked listens no longer.
func TestListenerWhoseKeyIsRevoked(t *testing.T) {
	w := worldWith(t, func(c *server.Config) { c.ListenPing = 50 * time.Millisecond })
	agent := w.agent(avasNumber)
	own, local := newReceiver(t), newReceiver(t)
	w.set(agent, own.URL)
	var key struct{ ID, Key string }
	w.ok("POST", "/v1/keys", object{"name": "developer", "scopes": []string{"write"}}, &key)
	developer := &world{t: t, url: w.url, key: key.Key}
	l := developer.listen(w.url, agent, local.URL, "")
	wait(t, l.ready, "listening")
	w.untilStatus(w.send(customer, avasNumber, "one").DeliveryID, "success")
	w.ok("DELETE", "/v1/keys/"+key.ID, nil, nil)
	if err := wait(t, l.done, "the end"); err == nil || err.Error() != "the API key was revoked" {
		t.Error(err)
	}
	w.untilStatus(w.send(customer, avasNumber, "two").DeliveryID, "success")
	if len(local.requests()) != 1 || len(own.requests()) != 1 {
		t.Error(len(local.requests()), len(own.requests()))
	}
}

// A turn of a call goes over the connection too, and its answer comes back line by
// line: the second is written only when the caller has heard the first.
func TestTurnOverAListener(t *testing.T) {
	w := newWorld(t, later)
	agent := w.agent(avasNumber)
	local := newReceiver(t)
	secret := webhook.NewSecret()
	l := w.listen(w.url, agent, local.URL, secret)
	ready := wait(t, l.ready, "listening")
	heard := make(chan struct{})
	local.respond(func(rw http.ResponseWriter, _ request) {
		speak(rw, `{"text":"One moment.","interim":true}`)
		<-heard
		speak(rw, `{"text":"It is on its way."}`)
	})
	resp := w.turn(t.Context(), turnBody("call_1", "Where is my order?"), "Accept", acceptStream)
	answer := bufio.NewReader(resp.Body)
	first, err := answer.ReadString('\n')
	close(heard)
	rest, _ := io.ReadAll(answer)
	if err != nil || !strings.Contains(first, "One moment.") || !strings.Contains(string(rest), "It is on its way.") {
		t.Errorf("heard %q, then %q (%v)", first, rest, err)
	}
	got := local.requests()
	if len(got) != 1 {
		t.Fatal(len(got))
	}
	verify(t, secret, got[0])
	if d := w.untilStatus(got[0].delivery, "success"); d.WebhookID != ready.WebhookID || d.AttemptCount != 1 {
		t.Errorf("%+v", d)
	}
}

// The program: a line for each delivery, r for the last one again, Ctrl-C to end.
func TestListenCommand(t *testing.T) {
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, later)
	agent := w.agent(avasNumber)
	local := newReceiver(t)
	secret := webhook.NewSecret()
	run := func(more ...string) (*exec.Cmd, io.WriteCloser, *bufio.Scanner, *bufio.Scanner) {
		cmd := exec.Command(bin, append([]string{"listen", "--url", w.url, "--api-key", w.key, "--agent", agent, "--forward", local.URL, "--secret", secret}, more...)...)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		notes, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		return cmd, in, bufio.NewScanner(out), bufio.NewScanner(notes)
	}
	expect := func(lines *bufio.Scanner, parts ...string) string {
		t.Helper()
		more := make(chan bool, 1)
		go func() { more <- lines.Scan() }()
		if !wait(t, more, "a line") {
			t.Fatal("it ended")
		}
		for _, part := range parts {
			if !strings.Contains(lines.Text(), part) {
				t.Errorf("printed %q, want %q in it", lines.Text(), part)
			}
		}
		return lines.Text()
	}

	cmd, keys, lines, _ := run()
	expect(lines, "Listening for", agent, local.URL)
	expect(lines, "Ctrl-C ends")
	a := w.send(customer, avasNumber, "Hi")
	expect(lines, "agent.message sms", a.DeliveryID, "  200  ", " ms")
	w.untilStatus(a.DeliveryID, "success") // one that is on its way would not be sent again
	if _, err := io.WriteString(keys, "r"); err != nil {
		t.Fatal(err)
	}
	// Both are said by different goroutines.
	if both := expect(lines) + "\n" + expect(lines); !strings.Contains(both, "Sending "+a.DeliveryID+" again.") || !strings.Contains(both, "  200  ") {
		t.Errorf("printed %q", both)
	}
	w.until(a.DeliveryID, func(d deliveryView) bool { return d.AttemptCount == 2 && d.Status == "success" })
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	expect(lines, "The listener was removed")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	var v *listenerView
	if w.ok("GET", "/v1/agents/"+agent+"/listener", nil, &v); v != nil {
		t.Errorf("left over: %+v", v)
	}

	cmd, _, lines, notes := run("--print-json")
	expect(notes, "Listening for")
	sent := w.send(customer, avasNumber, "Hi again")
	var line struct {
		DeliveryID, Event, Channel string
		Status                     int
		Body                       struct{ Data struct{ Message string } }
	}
	if err := json.Unmarshal([]byte(expect(lines)), &line); err != nil {
		t.Fatal(err)
	}
	if line.DeliveryID != sent.DeliveryID || line.Status != http.StatusOK || line.Body.Data.Message != "Hi again" || line.Channel != "sms" {
		t.Errorf("%+v", line)
	}
	_ = cmd.Process.Signal(os.Interrupt)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
