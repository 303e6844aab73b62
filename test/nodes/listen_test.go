package nodes

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"switchhook.dev/switchhook/internal/listen"
	"switchhook.dev/switchhook/internal/store/postgres/pgtest"
	"switchhook.dev/switchhook/test/world"
)

// balancer is the one address that who listens knows: it leads to a node.
type balancer struct {
	*httptest.Server
	to atomic.Pointer[node] // nil is nowhere
}

func newBalancer(t *testing.T) *balancer {
	b := &balancer{}
	b.Server = httptest.NewServer(world.Forward(func() *url.URL {
		n := b.to.Load()
		if n == nil || n.url.Load() == nil {
			return nil
		}
		target, _ := url.Parse(*n.url.Load())
		return target
	}))
	t.Cleanup(func() { b.CloseClientConnections(); b.Close() })
	return b
}

// inbox is a receiver that knows what arrived.
type inbox struct {
	*httptest.Server
	mu     sync.Mutex
	counts map[string]int
	hold   chan struct{} // answers wait for it; nil for none
	came   chan string
}

func newInbox(t *testing.T) *inbox {
	in := &inbox{counts: map[string]int{}, came: make(chan string, 10_000)}
	in.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		id := r.Header.Get("X-Webhook-ID")
		in.mu.Lock()
		in.counts[id]++
		hold := in.hold
		in.mu.Unlock()
		in.came <- id
		if hold != nil {
			select {
			case <-hold:
			case <-r.Context().Done():
			}
		}
	}))
	t.Cleanup(func() { in.CloseClientConnections(); in.Close() })
	return in
}

func (in *inbox) count(id string) int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.counts[id]
}

// ofDelivery waits until a delivery has ended, and says how, at which webhook.
func ofDelivery(t *testing.T, conn *pgx.Conn, id string) (status, ended, webhook string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if err := conn.QueryRow(t.Context(), "SELECT status, ended, webhook_id FROM deliveries WHERE id = $1", id).Scan(&status, &ended, &webhook); err != nil {
			t.Fatal(err)
		}
		if status != "pending" {
			return status, ended, webhook
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s stays pending at %s", id, webhook)
		}
	}
}

// TestListeningAcrossNodes: who listens gets what any node takes in, comes back
// through another node when theirs is killed, and leaves nothing behind.
func TestListeningAcrossNodes(t *testing.T) {
	database := pgtest.Start(t, pgtest.Options{}).Database(t)
	f := newFleetOf(t, database, 3, "6s")
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	own, local, front := newInbox(t), newInbox(t), newBalancer(t)
	agent := f.agent("+12025550000")
	if err := f.must("POST", "/v1/agents/"+agent+"/webhook", "", object{"url": own.URL}, nil); err != nil {
		t.Fatal(err)
	}
	// A node that was taken for dead, on a machine that stood still for that long, has
	// lost who listened there: what follows is not what this test is about.
	wrong := func(format string, args ...any) {
		t.Helper()
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.outlived > 0 {
			t.Logf("a node was declared dead that lived: "+format, args...)
		} else {
			t.Errorf(format, args...)
		}
	}
	sent := 0
	send := func(n *node) string {
		t.Helper()
		sent++
		return f.text(n, fmt.Sprintf("+1303555%04d", sent%20), "+12025550000")
	}
	expect := func(what string, ids []string, at *inbox, other *inbox, hook string) {
		t.Helper()
		for _, id := range ids {
			if status, ended, webhook := ofDelivery(t, conn, id); status != "success" || hook != "" && webhook != hook || at.count(id) != 1 || other.count(id) != 0 {
				wrong("%s: %s is %s %s of %s; %d and %d arrived", what, id, status, ended, webhook, at.count(id), other.count(id))
			}
		}
	}
	listening := func() (<-chan listen.Ready, context.CancelFunc, <-chan error) {
		ctx, cancel := context.WithCancel(t.Context())
		t.Cleanup(cancel)
		ready, done := make(chan listen.Ready, 100), make(chan error, 1)
		client := listen.NewClient(listen.ClientConfig{
			URL: front.URL + "/v1/agents/" + agent + "/listen", Key: apiKey, Settings: listen.Settings{Forward: local.URL}, Handle: listen.Forward(local.URL),
			Ready: func(r listen.Ready) { ready <- r },
		})
		go func() { done <- client.Run(ctx) }()
		return ready, cancel, done
	}
	next := func(ready <-chan listen.Ready, done <-chan error) string {
		t.Helper()
		select {
		case r := <-ready:
			return r.WebhookID
		case err := <-done:
			t.Fatal("listening ended:", err)
		case <-time.After(patience):
			t.Fatal("nobody listens")
		}
		return ""
	}
	a, b, c := f.nodes[0], f.nodes[1], f.nodes[2]

	front.to.Store(a)
	ready, stop, done := listening()
	hook := next(ready, done)
	var ids []string
	for i := range 30 {
		ids = append(ids, send(f.nodes[i%3]))
	}
	expect("through every node", ids, local, own, hook)

	// Its node is killed, with one request under way: it comes back through another,
	// as soon as it can, and is known there.
	held := make(chan struct{})
	local.mu.Lock()
	local.hold = held
	local.mu.Unlock()
	flying := send(a)
	for id := range local.came {
		if id == flying {
			break
		}
	}
	front.to.Store(b)
	a.end(syscall.SIGKILL)
	local.mu.Lock()
	local.hold = nil
	local.mu.Unlock()
	close(held)
	hook2 := next(ready, done)
	if hook2 == hook {
		wrong("it is the same webhook: what it had in flight would be sent by two nodes")
	}
	ids = nil
	for i := range 20 {
		ids = append(ids, send([]*node{b, c}[i%2]))
	}
	expect("after its node was killed", ids, local, own, hook2)
	if status, ended, webhook := ofDelivery(t, conn, flying); status != "failed" || ended != "webhook deleted" || webhook != hook || own.count(flying) != 0 {
		wrong("what may have been received is %s (%s) of %s", status, ended, webhook)
	}
	f.start(a)

	// It says goodbye: what comes now goes where it went before.
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	ids = nil
	for i := range 6 {
		ids = append(ids, send(f.nodes[i%3]))
	}
	expect("after it said goodbye", ids, own, local, "")

	// Its node is killed and it does not come back: what was never sent to it goes
	// where it would have gone, once the node is known to be dead.
	ready, stop, done = listening()
	next(ready, done)
	front.to.Store(nil)
	b.end(syscall.SIGKILL)
	ids = nil
	for i := range 10 {
		ids = append(ids, send([]*node{a, c}[i%2]))
	}
	expect("after its node was killed and it stayed away", ids, own, local, "")
	stop()
	<-done
	f.start(b)
}
