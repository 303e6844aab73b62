package endtoend

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"switchhook.dev/switchhook/internal/deliver"
)

// TestEveryEventReachesAtMostOneEndpoint hands in 10,000 events while webhooks
// are created, updated and deleted at random, and then compares the log with what
// the receivers saw.
func TestEveryEventReachesAtMostOneEndpoint(t *testing.T) {
	const (
		events  = 10_000
		agents  = 20
		senders = 16
		movers  = 2
	)
	w := newWorld(t, deliver.Schedule{time.Millisecond, time.Millisecond, time.Millisecond, time.Millisecond})
	r := newReceiver(t)
	r.respond(func(rw http.ResponseWriter, _ request) {
		if rand.IntN(10) == 0 {
			rw.WriteHeader(http.StatusInternalServerError)
		}
	})
	ids := make([]string, agents)
	for i := range ids {
		ids[i] = w.agent(fmt.Sprintf("+1202555%04d", i))
	}

	accepted := sendAll(w, events, agents, senders, movers, ids, r.URL)
	settleAll(w)
	if t.Failed() {
		return
	}
	got := map[string][]string{} // by delivery: the paths that were asked
	for _, in := range r.requests() {
		got[in.delivery] = append(got[in.delivery], in.path)
	}
	check(t, w, accepted, got)
}

// sendAll sends the events from many connections at once while others move the
// webhooks about, and returns the ids of the deliveries that were accepted.
func sendAll(w *world, events, agents, senders, movers int, ids []string, base string) map[string]bool {
	var sending, moving sync.WaitGroup
	var next atomic.Int64
	var mu sync.Mutex
	accepted := map[string]bool{}
	for range senders {
		sending.Go(func() {
			for i := next.Add(1); i <= int64(events); i = next.Add(1) {
				from := fmt.Sprintf("+1303555%04d", i%500)
				a := w.send(from, fmt.Sprintf("+1202555%04d", i%int64(agents)), fmt.Sprint("message ", i))
				mu.Lock()
				accepted["del"+strings.TrimPrefix(a.ID, "evt")] = true
				mu.Unlock()
			}
		})
	}
	done := make(chan struct{})
	for m := range movers {
		moving.Go(func() {
			// Each mover has its own agents (and one of them the default), so that
			// it knows which webhook it makes: the path names it.
			mine := []string{}
			for i, id := range ids {
				if i%movers == m {
					mine = append(mine, id)
				}
			}
			if m == 0 {
				mine = append(mine, "")
			}
			move(w, mine, base, done)
		})
	}
	sending.Wait()
	close(done)
	moving.Wait()
	return accepted
}

// move sets and deletes webhooks at random. A webhook's path names it; an update
// changes only the query.
func move(w *world, agents []string, base string, done chan struct{}) {
	life := map[string]int{}
	exists := map[string]bool{}
	for n := 0; ; n++ {
		select {
		case <-done:
			return
		default:
		}
		agent := agents[rand.IntN(len(agents))]
		if exists[agent] && rand.IntN(2) == 0 {
			w.ok("DELETE", hookPath(agent), nil, nil)
			exists[agent] = false
			continue
		}
		if !exists[agent] {
			life[agent]++
		}
		w.set(agent, fmt.Sprintf("%s/%s/%d?update=%d", base, agent, life[agent], n))
		exists[agent] = true
	}
}

// settleAll waits until nothing is pending.
func settleAll(w *world) {
	w.t.Helper()
	deadline := time.Now().Add(5 * time.Minute)
	for {
		var list struct{ Total int }
		w.ok("GET", "/v1/webhooks/deliveries?limit=1&status=pending", nil, &list)
		if list.Total == 0 {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%d deliveries stay pending", list.Total)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func check(t *testing.T, w *world, accepted map[string]bool, got map[string][]string) {
	counts := map[string]int{}
	for id := range accepted {
		d := w.delivery(id)
		counts[d.Status]++
		paths := got[id]
		for _, p := range paths {
			if p != paths[0] {
				t.Errorf("%s reached %s and %s", id, paths[0], p)
			}
		}
		if len(d.Attempts) != len(paths) {
			t.Errorf("%s: the log has %d attempts, the receiver saw %d", id, len(d.Attempts), len(paths))
		}
		if d.Status == "success" && len(paths) == 0 {
			t.Errorf("%s is a success that nobody saw", id)
		}
		if d.Status == "unrouted" && len(paths) > 0 {
			t.Errorf("%s is unrouted, and reached %s", id, paths[0])
		}
	}
	for id := range got {
		if !accepted[id] {
			t.Errorf("%s was never accepted", id)
		}
	}
	var all struct{ Total, Success, Failed int }
	w.ok("GET", "/v1/webhooks/deliveries/all-time", nil, &all)
	if all.Success != counts["success"] || all.Failed != counts["failed"] || all.Total != counts["success"]+counts["failed"] {
		t.Errorf("the counters say %+v, the log %v", all, counts)
	}
	t.Logf("%d accepted: %v", len(accepted), counts)
}
