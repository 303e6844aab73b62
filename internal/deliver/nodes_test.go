package deliver

import (
	"bytes"
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"switchhook.dev/switchhook/internal/phone"
)

// bring is push for an event that was accepted with a webhook as another node left it.
func (l *ledger) bring(d *Dispatcher, n int, w phone.Webhook) {
	l.mu.Lock()
	l.hook[w.ID] = w
	l.mu.Unlock()
	j := l.accept(n, w.ID, "", d.Reserve(w.ID))
	j.Webhook = &w
	d.Push(j)
}

func TestAnEventBringsItsWebhookAsAnotherNodeLeftIt(t *testing.T) {
	l := newLedger(t)
	w := l.webhook("wh_1")
	var mu sync.Mutex
	hosts := map[string]int{}
	n := newNetwork(func(host, _ string) (int, time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		hosts[host]++
		return 200, time.Second
	})
	run(t, l, n, func(t *testing.T, d *Dispatcher) {
		synctest.Wait()
		for i := range 40 { // more than may be in flight at once
			l.push(d, i, "wh_1", "")
		}
		synctest.Wait()
		before := n.count()
		moved := w
		moved.URL, moved.Revision = "http://elsewhere/", w.Revision+1
		l.bring(d, 100, moved)
		elapse(time.Minute)
		if before == 40 || hosts["wh-1"] != before || hosts["elsewhere"] != 41-before {
			t.Errorf("%v: what had not started was to follow", hosts)
		}
		l.bring(d, 101, w) // an older look at it, late
		elapse(time.Minute)
		if hosts["wh-1"] != before {
			t.Errorf("%v: an older revision was obeyed", hosts)
		}
	})
}

func TestAWebhookMadeThroughAnotherNodeHasALane(t *testing.T) {
	l := newLedger(t)
	n := newNetwork(func(string, string) (int, time.Duration) { return 200, 0 })
	run(t, l, n, func(t *testing.T, d *Dispatcher) {
		synctest.Wait()
		l.bring(d, 1, l.webhook("wh_new"))
		l.bring(d, 2, l.hook["wh_new"])
		elapse(time.Second)
		if n.count() != 2 || l.left() != 0 {
			t.Errorf("%d requests, %d left", n.count(), l.left())
		}
		if revision, ok := d.Knows("wh_new"); !ok || revision != 1 {
			t.Errorf("the lane is at revision %d (open: %v)", revision, ok)
		}
	})
}

// A delivery in memory only, of a webhook that went between its accept and its
// hand-over, was settled by whoever took the webhook away.
func TestWhatWasSettledBeforeItWasHandedOverIsNotSent(t *testing.T) {
	l := newLedger(t)
	w := l.webhook("wh_1")
	n := newNetwork(func(string, string) (int, time.Duration) { return 200, 0 })
	run(t, l, n, func(t *testing.T, d *Dispatcher) {
		synctest.Wait()
		if !d.Reserve("wh_1") {
			t.Fatal("no room")
		}
		d.Close("wh_1")
		d.Forget("wh_1")
		d.Push(&phone.Job{DeliveryID: "del_1", WebhookID: "wh_1", Handed: true, Webhook: &w})
		elapse(time.Minute)
		if n.count() != 0 {
			t.Errorf("%d requests", n.count())
		}
	})
}

// leased runs a test as one of many nodes; may is what its lease says.
func leased(t *testing.T, l *ledger, n *network, test func(t *testing.T, d *Dispatcher, may *atomic.Bool)) {
	synctest.Test(t, func(t *testing.T) {
		var may atomic.Bool
		may.Store(true)
		d := New(Config{Store: l, Transport: n, MaySend: may.Load})
		if err := d.StartRun(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := d.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		}()
		synctest.Wait()
		test(t, d, &may)
	})
}

// give is push for a run.
func (l *ledger) give(d *Dispatcher, n int, hook string, run int64) {
	j := l.accept(n, hook, "", d.Reserve(hook))
	j.Run = run
	d.Push(j)
}

func TestNothingStartsWhileTheLeaseIsInDoubt(t *testing.T) {
	l := newLedger(t)
	l.webhook("wh_1")
	n := newNetwork(func(string, string) (int, time.Duration) { return 200, 20 * time.Second })
	leased(t, l, n, func(t *testing.T, d *Dispatcher, may *atomic.Bool) {
		for i := range 4 {
			l.give(d, i, "wh_1", 1)
		}
		synctest.Wait()
		may.Store(false)
		for i := range 300 { // more than a lane holds
			l.give(d, 10+i, "wh_1", 1)
		}
		elapse(10 * time.Minute)
		if n.count() != 4 || l.left() != 300 {
			t.Fatalf("%d requests, %d left: what was in flight was to end, and nothing to start", n.count(), l.left())
		}
		may.Store(true)
		d.Resume()
		elapse(time.Hour)
		if n.count() != 304 || l.left() != 0 {
			t.Errorf("%d requests, %d left", n.count(), l.left())
		}
	})
}

func TestALostRunForgetsEverythingAndIsFollowedByAnother(t *testing.T) {
	l := newLedger(t)
	l.webhook("wh_1")
	var slow atomic.Bool
	slow.Store(true)
	n := newNetwork(func(string, string) (int, time.Duration) {
		if slow.Load() {
			return 200, 25 * time.Second
		}
		return 200, 0
	})
	leased(t, l, n, func(t *testing.T, d *Dispatcher, may *atomic.Bool) {
		for i := range 100 {
			l.give(d, i, "wh_1", 1)
		}
		elapse(time.Second)
		before := n.count()
		may.Store(false)
		d.Lose()
		if d.Held() != 0 {
			t.Errorf("%d held", d.Held())
		}
		l.mu.Lock()
		if len(l.results) != 0 {
			t.Errorf("%d results were written of what was cut off", len(l.results))
		}
		clear(l.held) // the store owns it all again, as another node's would
		l.mu.Unlock()
		l.give(d, 200, "wh_1", 1)
		slow.Store(false)
		elapse(time.Hour)
		if n.count() != before {
			t.Errorf("%d requests after the loss", n.count()-before)
		}
		may.Store(true)
		if err := d.Begin(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
		elapse(time.Minute)
		if n.count() != before+101 || l.left() != 0 {
			t.Errorf("%d requests as the next run, %d left", n.count()-before, l.left())
		}
		// What the lost run accepted, and hands over only now, is not this run's.
		if !d.Reserve("wh_1") {
			t.Fatal("no room")
		}
		d.Push(&phone.Job{DeliveryID: "del_late", WebhookID: "wh_1", Handed: true, Run: 1})
		elapse(time.Minute)
		if slices.Contains(n.all(), "del_late") || d.Held() != 0 {
			t.Error("a job of the lost run was taken")
		}
	})
}

func TestHandOverDoesNotWaitForWhatIsInFlight(t *testing.T) {
	l := newLedger(t)
	l.webhook("wh_1")
	n := newNetwork(func(string, string) (int, time.Duration) { return 200, 20 * time.Second })
	leased(t, l, n, func(t *testing.T, d *Dispatcher, _ *atomic.Bool) {
		for i := range 100 {
			l.give(d, i, "wh_1", 1)
		}
		elapse(time.Second)
		d.Halt()
		if err := d.HandOver(t.Context()); err != nil {
			t.Fatal(err)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		held := 0
		for _, h := range l.held {
			if h {
				held++
			}
		}
		if held != n.count() {
			t.Errorf("%d are held still, %d are in flight", held, n.count())
		}
	})
}

// A connection that took longer to make than the lease lasted carries nothing.
func TestGuard(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	defer far.Close()
	may := true
	dial := Guard(func(context.Context, string, string) (net.Conn, error) { return near, nil }, func() bool { return may })
	c, err := dial(t.Context(), "tcp", "")
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan []byte, 1)
	go func() {
		b := make([]byte, 10)
		n, _ := far.Read(b)
		got <- b[:n]
	}()
	if _, err := c.Write([]byte("within")); err != nil || !bytes.Equal(<-got, []byte("within")) {
		t.Error("within the lease nothing was sent:", err)
	}
	may = false
	if _, err := c.Write([]byte("late")); !errors.Is(err, errLease) {
		t.Error("after the lease:", err)
	}
}
