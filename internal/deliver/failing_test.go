package deliver

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"switchhook.dev/switchhook/internal/phone"
)

// down answers 503 until it is told otherwise.
func down() (*network, *atomic.Bool) {
	var up atomic.Bool
	return newNetwork(func(string, string) (int, time.Duration) {
		if up.Load() {
			return 200, time.Millisecond
		}
		return 503, time.Millisecond
	}), &up
}

// asks are the requests since the n-th, by id, with the seconds since a time.
func (n *network) asks(from int, since time.Time) (ids []string, at []float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, id := range n.asked[from:] {
		ids, at = append(ids, id), append(at, n.times[from+i].Sub(since).Seconds())
	}
	return ids, at
}

// What a test reads between two stretches of time is read under the lock: what
// comes after it is not ordered behind it otherwise.

func (n *network) all() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.asked)
}

func (n *network) count() int { return len(n.all()) }

// first says whether a delivery was asked for once only so far: others may be
// under way at the same moment.
func (n *network) first(id string) bool {
	times := 0
	for _, asked := range n.all() {
		if asked == id {
			times++
		}
	}
	return times == 1
}

func (l *ledger) left() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.jobs)
}

func (l *ledger) failingSince(id string) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failing[id]
}

func (l *ledger) status(id string) phone.WebhookStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.hook[id].Status
}

func TestAnEndpointThatFailsIsProbedAndItsBacklogWaits(t *testing.T) {
	l := newLedger(t)
	l.webhook("wh_1")
	n, up := down()
	run(t, l, n, func(t *testing.T, d *Dispatcher) {
		synctest.Wait()
		for i := range 5 * laneLength {
			l.push(d, i, "wh_1", fmt.Sprint("c", i%50))
		}
		elapse(29 * time.Second)
		if !d.WaitsUntil("wh_1").IsZero() {
			t.Fatal("open before 30 s are over")
		}
		elapse(3 * time.Second)
		opened := d.WaitsUntil("wh_1").Add(-probeEvery)
		if opened.IsZero() || l.failingSince("wh_1").IsZero() {
			t.Fatal("not open after 30 s, or not on record")
		}
		spent, before := attempts(l), n.count()
		if before > 200 {
			t.Errorf("%d attempts were spent on an endpoint in doubt", before)
		}
		d.mu.Lock()
		if held := len(d.lanes["wh_1"].held); held != 0 {
			t.Errorf("%d deliveries of an endpoint that is out stay in memory", held)
		}
		d.mu.Unlock()
		elapse(10 * time.Minute)
		ids, at := n.asks(before, opened)
		want := []float64{15, 45, 105, 225, 345, 465, 585}
		for i := range want {
			if i >= len(at) || at[i] < want[i]-0.1 || at[i] > want[i]+0.1 {
				t.Fatalf("probes went at %v, want %v", at, want)
			}
		}
		if len(slices.Compact(ids)) != 1 {
			t.Errorf("probed with several deliveries: %v", ids)
		}
		if attempts(l) != spent {
			t.Errorf("probes spent %d attempts", attempts(l)-spent)
		}
		up.Store(true)
		elapse(time.Until(d.WaitsUntil("wh_1")) + 2*time.Second)
		if l.left() != 0 || !l.failingSince("wh_1").IsZero() {
			t.Errorf("%d are left two seconds after it was back", l.left())
		}
		// What is sent for the first time now is so in the order written.
		last := map[string]string{}
		asked := n.all()
		for k, id := range asked {
			if k < before+len(at) || slices.Contains(asked[:k], id) {
				continue
			}
			var i int
			fmt.Sscanf(id, "del_%d", &i)
			c := fmt.Sprint("c", i%50)
			if id < last[c] {
				t.Fatalf("%s came after %s", id, last[c])
			}
			last[c] = id
		}
	})
}

// attempts is how many attempts the pending deliveries have spent.
func attempts(l *ledger) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, j := range l.jobs {
		n += j.RoundAttempts
	}
	return n
}

func TestAnUnreachableEndpointIsProbedAsSoonAsItTakesAConnection(t *testing.T) {
	l := newLedger(t)
	l.webhook("wh_1")
	n, up := down()
	n.refuse = func() bool { return !up.Load() }
	synctest.Test(t, func(t *testing.T) {
		d := New(Config{Store: l, Transport: n, Knock: func(context.Context, *url.URL) error {
			if up.Load() {
				return nil
			}
			return errors.New("refused")
		}})
		if err := d.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for i := range 100 {
			l.push(d, i, "wh_1", fmt.Sprint("c", i))
		}
		elapse(20 * time.Minute)
		up.Store(true)
		elapse(knockEvery + 2*time.Second)
		if l.left() != 0 {
			t.Errorf("%d of 100 are left %s after it was back", l.left(), knockEvery+2*time.Second)
		}
		if err := d.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestAnEndpointThatFailsForDaysIsDisabled(t *testing.T) {
	l := newLedger(t)
	l.webhook("wh_1")
	n, _ := down()
	run(t, l, n, func(t *testing.T, d *Dispatcher) {
		synctest.Wait()
		for i := range 50 {
			l.push(d, i, "wh_1", fmt.Sprint("c", i))
		}
		elapse(DefaultDisableAfter - time.Minute)
		if l.status("wh_1") != phone.WebhookActive {
			t.Fatal("disabled too early")
		}
		elapse(4 * time.Minute)
		if l.status("wh_1") != phone.WebhookDisabled {
			t.Fatal("not disabled")
		}
		asked := n.count()
		elapse(time.Hour)
		if n.count() != asked {
			t.Error("a disabled webhook is sent to")
		}
	})
}

func TestAnEndpointKnownToFailIsProbedAtTheStart(t *testing.T) {
	l := newLedger(t)
	w := l.webhook("wh_1")
	synctest.Test(t, func(t *testing.T) {
		w.FailingSince = time.Now().Add(-time.Hour)
		l.hook["wh_1"] = w
		for i := range 500 {
			l.add(i, "wh_1", fmt.Sprint("c", i))
		}
		n, _ := down()
		d := New(Config{Store: l, Transport: n})
		if err := d.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		elapse(10 * time.Second)
		if n.count() != 1 {
			t.Errorf("%d requests", n.count())
		}
		w.Revision++
		w.FailingSince = time.Time{}
		d.Refresh(w) // set anew: it is given a chance at once
		elapse(100 * time.Millisecond)
		if n.count() < breakerFailures {
			t.Errorf("%d requests after it was set anew", n.count())
		}
		if err := d.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestStrictOrderWaitsForRetriesAndRelaxedDoesNot(t *testing.T) {
	for _, order := range []phone.Ordering{phone.OrderRelaxed, phone.OrderStrict} {
		l := newLedger(t)
		w := l.webhook("wh_1")
		w.Ordering = order
		l.hook["wh_1"] = w
		var n *network
		n = newNetwork(func(_, id string) (int, time.Duration) {
			if id == "del_000000" && n.first(id) {
				return 500, time.Millisecond // its first attempt fails
			}
			return 200, time.Millisecond
		})
		run(t, l, n, func(t *testing.T, d *Dispatcher) {
			synctest.Wait()
			for i := range 4 {
				l.push(d, i, "wh_1", "the same")
				synctest.Wait()
			}
			l.push(d, 4, "wh_1", "another")
			elapse(time.Second)
			l.push(d, 5, "wh_1", "the same")
			elapse(time.Minute)
			want := []string{"del_000000", "del_000004", "del_000001", "del_000002", "del_000003", "del_000005", "del_000000"}
			if order == phone.OrderStrict {
				want = []string{"del_000000", "del_000004", "del_000000", "del_000001", "del_000002", "del_000003", "del_000005"}
			}
			if !slices.Equal(n.all(), want) {
				t.Errorf("%s: %v, want %v", order, n.all(), want)
			}
		})
	}
}

func TestARateIsKept(t *testing.T) {
	l := newLedger(t)
	w := l.webhook("wh_1")
	w.RateLimit = 20
	l.hook["wh_1"] = w
	n := newNetwork(func(string, string) (int, time.Duration) { return 200, time.Millisecond })
	run(t, l, n, func(t *testing.T, d *Dispatcher) {
		synctest.Wait()
		for i := range 1000 {
			l.push(d, i, "wh_1", fmt.Sprint("c", i))
		}
		elapse(10 * time.Second)
		if n.count() < 200 || n.count() > 203 {
			t.Errorf("%d requests in 10 s at 20 a second", n.count())
		}
		elapse(time.Minute)
		if l.left() != 0 {
			t.Errorf("%d are left", l.left())
		}
	})
}

func TestManyHangingEndpointsLeaveRoomForTheOthers(t *testing.T) {
	l := newLedger(t)
	for i := range 200 {
		l.webhook(fmt.Sprint("wh_hangs_", i))
	}
	l.webhook("wh_well")
	n := newNetwork(func(host, _ string) (int, time.Duration) {
		if host == "wh-well" {
			return 200, 0
		}
		return 200, 24 * time.Hour
	})
	run(t, l, n, func(t *testing.T, d *Dispatcher) {
		synctest.Wait()
		for i := range 200 * 40 {
			l.push(d, i, fmt.Sprint("wh_hangs_", i%200), fmt.Sprint("c", i))
		}
		synctest.Wait()
		for i := range 100 {
			l.push(d, 100_000+i, "wh_well", fmt.Sprint("c", i))
		}
		synctest.Wait()
		done := 0
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, r := range l.results {
			if r.Job.WebhookID == "wh_well" {
				done++
			}
		}
		if done != 100 {
			t.Errorf("%d of 100 arrived beside 200 endpoints that hang", done)
		}
	})
}
