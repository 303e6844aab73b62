package deliver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"switchhook.dev/switchhook/internal/phone"
)

// The store moves on when a result is on disk, the lane when it knows. What
// happens in between is tested here: each Record of the ledger returns late.

// replay ends a delivery and sends it again by hand, in a new round.
func (l *ledger) replay(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	j := *l.jobs[id]
	j.Round, j.RoundAttempts = j.Round+1, 0
	l.jobs[id], l.held[id], l.due[id] = &j, false, time.Now()
}

func (l *ledger) looks() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dues
}

// failsAtFirst answers 500 to the first attempt of everything.
func failsAtFirst() *network {
	var n *network
	n = newNetwork(func(_, id string) (int, time.Duration) {
		if n.first(id) {
			return 500, time.Millisecond
		}
		return 200, time.Millisecond
	})
	return n
}

// lagging runs a test with a short schedule, on a store that is late to say what
// it has done.
func lagging(t *testing.T, l *ledger, n *network, test func(*testing.T, *Dispatcher)) {
	synctest.Test(t, func(t *testing.T) {
		l.lag, l.slow = time.Second, time.Millisecond
		d := New(Config{Store: l, Transport: n, Schedule: Schedule{10 * time.Millisecond}})
		if err := d.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		test(t, d)
		if err := d.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		for id, held := range l.held {
			if held && l.jobs[id] != nil {
				t.Errorf("%s is left in nobody's hands", id)
			}
		}
	})
}

func TestWhatIsDueBeforeItsResultIsKnownIsSentOnceMore(t *testing.T) {
	l := newLedger(t)
	l.webhook("wh_1")
	n := failsAtFirst()
	lagging(t, l, n, func(t *testing.T, d *Dispatcher) {
		elapse(time.Second)
		for i := range 3 {
			l.push(d, i, "wh_1", fmt.Sprint("c", i))
		}
		before := l.looks()
		elapse(100 * time.Millisecond)
		d.Wake("wh_1") // they are due again, and the lane does not know yet
		elapse(200 * time.Millisecond)
		if n.count() != 3 {
			t.Errorf("%d requests before a result is known", n.count())
		}
		if more := l.looks() - before; more > 10 {
			t.Errorf("the store was asked %d times in vain", more)
		}
		elapse(time.Minute)
		if n.count() != 6 || l.left() != 0 {
			t.Errorf("%d requests, %d left", n.count(), l.left())
		}
	})
}

func TestAReplayDuringAnAttemptWaitsForIt(t *testing.T) {
	l := newLedger(t)
	w := l.webhook("wh_1")
	n := newNetwork(func(string, string) (int, time.Duration) { return 200, 20 * time.Second })
	lagging(t, l, n, func(t *testing.T, d *Dispatcher) {
		elapse(time.Second)
		l.push(d, 1, "wh_1", "c")
		elapse(time.Second)
		// Disabled and enabled while the answer is awaited, and replayed.
		if started := d.Close("wh_1"); len(started) != 1 {
			t.Fatal(started)
		}
		w.Revision += 2
		d.Refresh(w)
		before := l.looks()
		l.replay("del_000001")
		d.Wake("wh_1")
		elapse(10 * time.Second)
		if n.count() != 1 {
			t.Errorf("%d requests at once for one delivery", n.count())
		}
		if more := l.looks() - before; more > 10 {
			t.Errorf("the store was asked %d times in vain", more)
		}
		elapse(time.Minute)
		if n.count() != 2 || l.left() != 0 {
			t.Errorf("%d requests, %d left", n.count(), l.left())
		}
	})
}

func TestStrictOrderHoldsWhereTheStoreIsAheadOfTheLane(t *testing.T) {
	l := newLedger(t)
	w := l.webhook("wh_1")
	w.Ordering = phone.OrderStrict
	l.hook["wh_1"] = w
	n := failsAtFirst()
	lagging(t, l, n, func(t *testing.T, d *Dispatcher) {
		elapse(time.Second)
		for i := range 5 {
			l.push(d, i, "wh_1", "the same")
		}
		for range 200 {
			elapse(97 * time.Millisecond)
			d.Wake("wh_1")
		}
		elapse(time.Minute)
		want := []string{}
		for i := range 5 {
			id := fmt.Sprintf("del_%06d", i)
			want = append(want, id, id)
		}
		if !slices.Equal(n.all(), want) || l.left() != 0 {
			t.Errorf("%v, want %v", n.all(), want)
		}
	})
}

func TestAWebhookSetAnewWhereTheStoreIsAheadOfTheLane(t *testing.T) {
	for _, closed := range []bool{false, true} {
		l := newLedger(t)
		w := l.webhook("wh_1")
		n := failsAtFirst()
		lagging(t, l, n, func(t *testing.T, d *Dispatcher) {
			elapse(time.Second)
			for i := range 3 {
				l.push(d, i, "wh_1", "the same")
			}
			elapse(100 * time.Millisecond)
			d.Wake("wh_1")
			elapse(100 * time.Millisecond)
			if closed {
				d.Close("wh_1")
				elapse(100 * time.Millisecond)
			}
			w.URL, w.Revision = "http://elsewhere/", w.Revision+1
			d.Refresh(w)
			elapse(time.Minute)
			if n.count() != 6 || l.left() != 0 || n.most["wh-1"] > 1 || n.most["elsewhere"] > 1 {
				t.Errorf("closed %v: %d requests, %d left, %v at once", closed, n.count(), l.left(), n.most)
			}
		})
	}
}

// What could not be read is the store's to give out again: it may have ended.
func TestWhatCouldNotBeReadIsNotSentAfterItsEnd(t *testing.T) {
	l := newLedger(t)
	w := l.webhook("wh_1")
	n := newNetwork(func(string, string) (int, time.Duration) { return 200, time.Millisecond })
	run(t, l, n, func(t *testing.T, d *Dispatcher) {
		synctest.Wait()
		l.mu.Lock()
		l.fail = errors.New("unreadable")
		l.mu.Unlock()
		for i := range 3 {
			l.push(d, i, "wh_1", "the same")
		}
		elapse(100 * time.Millisecond)
		// Disabled, which ends the first, and enabled.
		d.Close("wh_1")
		l.mu.Lock()
		delete(l.jobs, "del_000000")
		l.fail = nil
		l.mu.Unlock()
		w.Revision += 2
		d.Refresh(w)
		elapse(time.Minute)
		if !slices.Equal(n.all(), []string{"del_000001", "del_000002"}) {
			t.Errorf("sent: %v", n.all())
		}
	})
}

// The last word on whether an endpoint fails is the one that stays.
func TestAnEndpointThatRecoversWhileItsFailingIsWrittenIsNotShownAsFailing(t *testing.T) {
	l := newLedger(t)
	w := l.webhook("wh_1")
	n, up := down()
	synctest.Test(t, func(t *testing.T) {
		d := New(Config{Store: &slowNotes{ledger: l}, Transport: n})
		if err := d.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for i := range 100 {
			l.push(d, i, "wh_1", fmt.Sprint("c", i))
		}
		elapse(32 * time.Second)
		if d.WaitsUntil("wh_1").IsZero() {
			t.Fatal("not open")
		}
		up.Store(true)
		w.Revision++ // set anew, which the store notes as not failing
		d.Refresh(w)
		elapse(2 * time.Hour)
		if !l.failingSince("wh_1").IsZero() || l.left() != 0 {
			t.Errorf("failing since %s, %d left", l.failingSince("wh_1"), l.left())
		}
		if err := d.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// slowNotes takes a minute to note a failure and none to note its end.
type slowNotes struct{ *ledger }

func (s *slowNotes) SetFailing(ctx context.Context, id string, since time.Time) error {
	if !since.IsZero() {
		time.Sleep(time.Minute)
	}
	return s.ledger.SetFailing(ctx, id, since)
}
