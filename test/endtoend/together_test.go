package endtoend

import (
	"context"
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
		Listen: "127.0.0.1:0", Database: database, APIKey: chosenKey, Version: "test", Lease: 3 * time.Second,
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
