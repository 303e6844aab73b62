package endtoend

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"switchhook.dev/switchhook/internal/deliver"
	"switchhook.dev/switchhook/internal/netguard"
	"switchhook.dev/switchhook/internal/seal"
	"switchhook.dev/switchhook/internal/server"
	"switchhook.dev/switchhook/internal/store/postgres/pgtest"
)

// together starts servers on one PostgreSQL database, all at once. They stop with
// the test.
func together(t *testing.T, n int, database string, change func(*server.Config)) []*world {
	t.Helper()
	cfg := server.Config{
		Listen: "127.0.0.1:0", Database: database, APIKey: chosenKey, Version: "test",
		Lease:    time.Minute, // no node is to be taken for dead here, however slow the machine
		Policy:   netguard.Policy{AllowHTTP: true, AllowPrivate: true},
		Doors:    server.Doors{SecretKeys: seal.NewKey()},
		Schedule: deliver.Schedule{50 * time.Millisecond, 50 * time.Millisecond, time.Second, time.Second, time.Second},
	}
	if change != nil {
		change(&cfg)
	}
	worlds := make([]*world, n)
	var starting sync.WaitGroup
	for i := range n {
		starting.Go(func() {
			cfg := cfg
			cfg.NodeName = string(rune('a' + i))
			srv, err := server.Start(t.Context(), cfg)
			if err != nil {
				t.Error(err)
				return
			}
			key := cfg.APIKey
			if key == "" {
				key = srv.NewKey
			}
			worlds[i] = &world{t: t, url: srv.URL, key: key}
			t.Cleanup(func() {
				if err := srv.Stop(context.Background()); err != nil {
					t.Error("stop:", err)
				}
			})
		})
	}
	starting.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return worlds
}

// Nodes that start at once on an empty database make one project, with one key.
func TestNodesThatStartAtOnce(t *testing.T) {
	for _, given := range []string{chosenKey, ""} {
		nodes := together(t, 4, pgtest.URL(t), func(c *server.Config) { c.APIKey = given })
		key, keys := "", 0
		for _, w := range nodes {
			if w.key != "" {
				key = w.key
				keys++
			}
		}
		if given == "" && keys != 1 {
			t.Errorf("%d nodes tell of a new key", keys)
		}
		r := newReceiver(t)
		for i, w := range nodes {
			w.key = key
			if i == 0 {
				w.agent(avasNumber)
				w.set("", r.URL)
			}
			w.untilStatus(w.send(customer, avasNumber, "hello").DeliveryID, "success")
		}
		if n := len(r.requests()); n != len(nodes) {
			t.Errorf("%d arrived", n)
		}
	}
}

// What nodes tell each other gets through without notifications too: behind PgBouncer
// in transaction mode, where they look every second.
func TestNodesBehindPgBouncer(t *testing.T) {
	database := pgtest.URL(t)
	through := pgtest.Shared(t).Bouncer(t, database, map[string]string{"default_pool_size": "6"})
	log := &logged{t: t, seen: make(chan struct{})}
	nodes := together(t, 2, through+"&default_query_exec_mode=cache_describe", func(c *server.Config) {
		c.Logger = slog.New(slog.NewTextHandler(log, nil))
		c.Schedule = deliver.Schedule{time.Hour}
	})
	a, b := nodes[0], nodes[1]
	agent := a.agent(avasNumber)
	failing, good, other := newReceiver(t), newReceiver(t), newReceiver(t)
	failing.respond(status(500))
	a.set(agent, failing.URL)
	waits := b.send(customer, avasNumber, "waits for another attempt, at b")
	b.until(waits.DeliveryID, func(d deliveryView) bool { return d.AttemptCount == 1 })

	// A change, a retry by hand and another event of its conversation, all by a.
	a.set(agent, good.URL)
	second := a.send(customer, avasNumber, "in the same conversation, and so b's")
	a.untilStatus(second.DeliveryID, "success")
	a.ok("POST", "/v1/deliveries/"+waits.DeliveryID+"/retry", nil, nil)
	a.untilStatus(waits.DeliveryID, "success")
	if n := len(good.requests()); n != 2 {
		t.Errorf("%d arrived at the webhook as it is now", n)
	}

	// What b has of a webhook that a removes goes where the rule says.
	good.respond(status(500))
	a.set("", other.URL)
	tried := b.send("+13035550001", avasNumber, "tried once")
	b.until(tried.DeliveryID, func(d deliveryView) bool { return d.AttemptCount == 1 })
	a.ok("DELETE", "/v1/agents/"+agent+"/webhook", nil, nil)
	if d := a.untilStatus(tried.DeliveryID, "failed"); d.ErrorMessage != "webhook deleted" {
		t.Errorf("%+v", d)
	}
	b.untilStatus(b.send(customer, avasNumber, "to the default").DeliveryID, "success")
	if n := len(other.requests()); n != 1 {
		t.Errorf("%d at the default", n)
	}
	wait(t, log.seen, "word in the log that notifications are not heard")
}

// logged is a server's log, and a look at it.
type logged struct {
	t    *testing.T
	once sync.Once
	seen chan struct{}
}

func (l *logged) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("notifications are not heard")) {
		l.once.Do(func() { close(l.seen) })
	}
	return l.t.Output().Write(b)
}

// A file's projects move into a database while nodes run on it: they come to life
// there at the end, without a restart, and nobody else's are disturbed.
func TestMoveWhileNodesRun(t *testing.T) {
	target := pgtest.URL(t)
	nodes := together(t, 2, target, func(c *server.Config) {
		c.APIKey, c.SecretKeys = "a-key-of-the-first-project-there", moveSecretKey
	})
	there := newReceiver(t)
	nodes[0].agent(avasNumber)
	nodes[0].set("", there.URL)
	file := filepath.Join(t.TempDir(), "move.db")
	r := newReceiver(t)
	_, _, sent := fillForMove(t, file, r)
	sent.server.kill()
	sent.release()

	ctx, stop := context.WithCancel(t.Context())
	var sending sync.WaitGroup
	var ids []string
	sending.Go(func() {
		for i := 0; ctx.Err() == nil && len(ids) < 150; i++ {
			ids = append(ids, nodes[i%2].send(customer, avasNumber, "meanwhile").DeliveryID)
		}
	})
	out, err := migrateStore(t, "--from=sqlite:"+file, "--to="+target, "--rows=3")
	stop()
	sending.Wait()
	if err != nil {
		t.Fatal(err, out)
	}
	for _, id := range ids {
		nodes[0].untilStatus(id, "success")
	}
	moved := &world{t: t, url: nodes[1].url, key: chosenKey}
	for id, before := range sent.held {
		moved.untilStatus(id, "success")
		times := 0
		for _, q := range r.requests() {
			if q.delivery == id {
				times++
				if string(q.body) != string(before.body) {
					t.Errorf("%s came with other bytes", id)
				}
			}
		}
		if times < 2 {
			t.Errorf("%s was in flight when the server was killed, and came %d times", id, times)
		}
	}
	moved.untilStatus(moved.send(customer, "+12025550101", "after the move").DeliveryID, "success")
}
