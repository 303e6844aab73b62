package switchboard

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"switchhook.dev/switchhook/internal/phone"
)

// elsewhere is a store that other nodes write to.
type elsewhere struct {
	Shared
	mu         sync.Mutex
	deliveries []phone.Delivery
	away       bool
	looks      int
}

func (e *elsewhere) set(d phone.Delivery) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range e.deliveries {
		if e.deliveries[i].ID == d.ID {
			e.deliveries[i] = d
			return
		}
	}
	e.deliveries = append(e.deliveries, d)
}

func (e *elsewhere) looked() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.looks
}

func (e *elsewhere) Changing(_ context.Context, projectID string, since time.Time, ids []string) (out []phone.Delivery, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.looks++
	if e.away {
		return nil, errors.New("the database is away")
	}
	for _, d := range e.deliveries {
		if d.ProjectID == projectID && (d.Status == phone.Pending || !d.CreatedAt.Before(since) || slices.Contains(ids, d.ID)) {
			out = append(out, d)
		}
	}
	return out, nil
}

func of(project, id string, attempts int, status phone.DeliveryStatus) phone.Delivery {
	return phone.Delivery{ID: id, ProjectID: project, Round: 1, Attempts: attempts, Status: status, CreatedAt: time.Now()}
}

// heard is what a watcher was told so far.
func heard(c <-chan phone.Delivery) (out []string) {
	synctest.Wait()
	for {
		select {
		case d, open := <-c:
			if !open {
				return append(out, "closed")
			}
			out = append(out, fmt.Sprint(d.ID, " ", d.Attempts, " ", d.Status))
		default:
			return out
		}
	}
}

func TestWatchersSeeWhatOtherNodesDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var e elsewhere
		w := NewWatchers(&e)
		check := func(c <-chan phone.Delivery, want ...string) {
			t.Helper()
			if got := heard(c); !slices.Equal(got, want) {
				t.Fatalf("heard %q, want %q", got, want)
			}
		}
		e.set(of("a", "before", 1, phone.Success))
		e.set(of("a", "waits", 1, phone.Pending))
		time.Sleep(time.Minute)
		if e.looked() > 0 {
			t.Error("it looks while nobody watches")
		}
		ctx, leave := context.WithCancel(t.Context())
		first := w.watch(ctx, "a")
		check(first) // what was there has not changed

		// Made through another node, and ended by one.
		e.set(of("a", "new", 0, phone.Pending))
		e.set(of("b", "of another project", 0, phone.Pending))
		time.Sleep(lookEvery)
		check(first, "new 0 pending")
		e.set(of("a", "new", 1, phone.Success))
		e.set(of("a", "waits", 2, phone.Pending))
		time.Sleep(lookEvery)
		check(first, "waits 2 pending", "new 1 success")
		time.Sleep(lookEvery)
		check(first)

		// What this node does is told at once, and once: also where a look has seen it
		// before, or has read what came before it.
		mine := of("a", "mine", 0, phone.Pending)
		w.publish(mine)
		check(first, "mine 0 pending")
		e.set(mine)
		time.Sleep(lookEvery)
		check(first)
		mine.Attempts, mine.Status = 1, phone.Failed
		w.publish(mine)
		time.Sleep(lookEvery) // the store's is the earlier one still
		check(first, "mine 1 failed")
		e.set(of("a", "waits", 3, phone.Failed))
		time.Sleep(lookEvery)
		w.publish(of("a", "waits", 3, phone.Failed))
		check(first, "waits 3 failed")

		// A retry by hand is another round.
		again := of("a", "waits", 3, phone.Pending)
		again.Round = 2
		e.set(again)
		time.Sleep(lookEvery)
		check(first, "waits 3 pending")

		// While the store is away nothing is told, and nothing is missed.
		e.mu.Lock()
		e.away = true
		e.mu.Unlock()
		e.set(of("a", "meanwhile", 1, phone.Success))
		time.Sleep(time.Minute)
		check(first)
		e.mu.Lock()
		e.away = false
		e.mu.Unlock()
		time.Sleep(lookEvery)
		check(first, "meanwhile 1 success")

		// The last to leave ends it.
		second := w.watch(t.Context(), "a")
		leave()
		check(first, "closed")
		e.set(of("a", "late", 0, phone.Pending))
		time.Sleep(lookEvery)
		check(second, "late 0 pending")
	})
}

func TestWatchersLookOnlyWhileSomebodyWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var e elsewhere
		w := NewWatchers(&e)
		ctx, leave := context.WithCancel(t.Context())
		w.watch(ctx, "a")
		w.watch(ctx, "a")
		w.watch(ctx, "b")
		time.Sleep(10*lookEvery + lookEvery/2)
		if n := e.looked(); n != 22 {
			t.Errorf("%d looks in ten seconds for two projects, want 22", n)
		}
		leave()
		synctest.Wait()
		n := e.looked()
		time.Sleep(time.Minute)
		if e.looked() != n {
			t.Error("it goes on looking")
		}
		// Whoever comes back begins anew.
		again, leave := context.WithCancel(t.Context())
		defer leave()
		c := w.watch(again, "a")
		e.set(of("a", "new", 0, phone.Pending))
		time.Sleep(lookEvery)
		if got := heard(c); !slices.Equal(got, []string{"new 0 pending"}) {
			t.Errorf("heard %q", got)
		}
	})
}

// TestWhatWasShownIsBounded: a busy project is watched for long.
func TestWhatWasShownIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var e elsewhere
		w := NewWatchers(&e)
		ctx, leave := context.WithCancel(t.Context())
		c := w.watch(ctx, "a")
		synctest.Wait()
		go func() {
			for range c {
			}
		}()
		for i := range 5 * maxShown {
			w.publish(of("a", fmt.Sprint("del_", i), 0, phone.Pending))
		}
		f := w.follows["a"]
		if n := len(f.young) + len(f.older); n > 2*maxShown {
			t.Errorf("%d are remembered", n)
		}
		if n := len(f.pending()); n != maxFollowed {
			t.Errorf("%d are asked for again, want %d", n, maxFollowed)
		}
		leave()
		synctest.Wait()
	})
}
