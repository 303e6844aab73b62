package nodes

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"switchhook.dev/switchhook/internal/lease"
	"switchhook.dev/switchhook/internal/store"
)

// table is a database with one node's row, and what a node is told of.
type table struct {
	mu        sync.Mutex
	run       int64
	until     time.Time
	dead      bool
	away      bool
	left      bool
	changed   map[string]int64
	changedAt time.Time // of all of them; zero is just now
	given     []string
	adopted   []store.Adopted
	memory    []string
	taken     []string
}

func (s *table) do(f func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return errors.New("away")
	}
	f()
	return nil
}

func (s *table) Join(_ context.Context, _ string, length time.Duration) (run int64, err error) {
	err = s.do(func() {
		s.run++
		s.dead, s.until = false, time.Now().Add(length)
		run = s.run
	})
	return run, err
}

func (s *table) Renew(_ context.Context, run int64, length time.Duration) (alive bool, err error) {
	err = s.do(func() {
		if alive = run == s.run && !s.dead; alive {
			s.until = time.Now().Add(length)
		}
	})
	return alive, err
}

func (s *table) Leave(context.Context, int64) error { return s.do(func() { s.left = true }) }
func (s *table) End(context.Context, int64) error   { return s.do(func() { s.dead = true }) }

func (s *table) Adopt(_ context.Context, _ int, found func()) (a store.Adopted, err error) {
	err = s.do(func() {
		if len(s.adopted) > 0 {
			found()
			a, s.adopted = s.adopted[0], s.adopted[1:]
		}
	})
	return a, err
}

func (s *table) ChangedWebhooks(_ context.Context, within time.Duration) (out map[string]int64, err error) {
	err = s.do(func() {
		if s.changedAt.IsZero() || time.Since(s.changedAt) <= within {
			out = s.changed
		}
	})
	return out, err
}

func (s *table) Given(_ context.Context, _ int64, wake func(string) bool) (rest []string, err error) {
	err = s.do(func() {
		rest = slices.DeleteFunc(s.given, wake)
		s.given = nil
	})
	return rest, err
}

func (s *table) Owned(context.Context, int64, int) (n int, err error) {
	return 7, s.do(func() {})
}

func (s *table) InMemory(context.Context, int64) (ids []string, err error) {
	err = s.do(func() { ids = s.memory })
	return ids, err
}

func (s *table) TakeUp(_ context.Context, _ int64, ids []string) ([]string, error) {
	return []string{"wh_1"}, s.do(func() { s.taken = append(s.taken, ids...); s.memory = nil })
}

func (s *table) Listen(ctx context.Context, _ int64, _ func()) error { <-ctx.Done(); return ctx.Err() }

// told is a dispatcher that remembers what it was told, in order.
type told struct {
	mu    sync.Mutex
	what  []string
	knows map[string]int64
	stops int // how often superseded turns were to be stopped
}

func (d *told) say(what string) { d.mu.Lock(); defer d.mu.Unlock(); d.what = append(d.what, what) }

func (d *told) StartRun(context.Context, int64) error { return nil }
func (d *told) Begin(context.Context, int64) error    { d.say("begin"); return nil }
func (d *told) Lose()                                 { d.say("lose") }
func (d *told) Resume()                               { d.say("resume") }
func (d *told) Halt()                                 { d.say("halt") }
func (d *told) HandOver(context.Context) error        { d.say("hand over"); return nil }
func (d *told) Wake(id string)                        { d.say("wake " + id) }
func (d *told) Defer(on bool) {
	if on {
		d.say("defer")
	} else {
		d.say("defer no more")
	}
}
func (d *told) Obey(_ context.Context, id string) error { d.say("obey " + id); return nil }
func (d *told) StopSuperseded(context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stops++
	return nil
}
func (d *told) Holding() map[string]bool { return map[string]bool{"del_held": true} }
func (d *told) Knows(id string) (int64, bool) {
	r, ok := d.knows[id]
	return r, ok
}

// running runs a test on a node at work, in virtual time.
func running(t *testing.T, test func(t *testing.T, n *Node, s *table, d *told)) {
	synctest.Test(t, func(t *testing.T) {
		s, d := &table{}, &told{knows: map[string]int64{"wh_1": 1}}
		n := New(Config{Store: s, Name: "test", Terms: lease.TermsFor(10 * time.Second)})
		if err := n.Join(t.Context()); err != nil {
			t.Fatal(err)
		}
		n.Start(d, d)
		test(t, n, s, d)
		if err := n.End(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func elapse(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// lasts is how long others count the run as alive.
func (s *table) lasts() (d time.Duration) {
	s.set(func() { d = time.Until(s.until) })
	return d
}

func (d *told) all() []string { d.mu.Lock(); defer d.mu.Unlock(); return slices.Clone(d.what) }

func (s *table) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// TestANodeStopsBeforeOthersMayAdopt: from whatever moment the database does not
// answer, the node has stopped before its row runs out; and it goes on where nobody
// had declared it dead.
func TestANodeStopsBeforeOthersMayAdopt(t *testing.T) {
	t.Parallel()
	for after := range 20 {
		running(t, func(t *testing.T, n *Node, s *table, d *told) {
			elapse(time.Duration(after) * 700 * time.Millisecond)
			s.set(func() { s.away = true })
			for n.MaySend() {
				elapse(10 * time.Millisecond)
			}
			if left := s.lasts(); left < 1900*time.Millisecond || left > 2100*time.Millisecond {
				t.Errorf("it stopped %s before others may adopt", left)
			}
			elapse(time.Minute)
			if n.State() != lease.Doubtful {
				t.Errorf("it is %s", n.State())
			}
			s.set(func() { s.away = false })
			elapse(3 * time.Second)
			if !n.MaySend() || n.Run() != 1 || !slices.Contains(d.all(), "resume") || slices.Contains(d.all(), "lose") {
				t.Errorf("it is %s, run %d; told: %v", n.State(), n.Run(), d.all())
			}
		})
	}
}

func TestALostRunIsFollowedByAnother(t *testing.T) {
	t.Parallel()
	running(t, func(t *testing.T, n *Node, s *table, d *told) {
		s.set(func() { s.dead = true })
		elapse(3 * time.Second)
		if n.Run() != 2 || !n.MaySend() || !slices.Equal(d.all(), []string{"lose", "begin"}) {
			t.Errorf("run %d, %s; told: %v", n.Run(), n.State(), d.all())
		}
	})
}

func TestALookObeysTakesAndAdopts(t *testing.T) {
	t.Parallel()
	running(t, func(t *testing.T, n *Node, s *table, d *told) {
		s.set(func() {
			s.changed = map[string]int64{"wh_1": 2, "wh_new": 1}
			s.given = []string{"wh_1"}
			s.adopted = []store.Adopted{{Deliveries: 5, Webhooks: []string{"wh_1", "wh_2"}, More: true}, {Deliveries: 1, Webhooks: []string{"wh_1"}}}
		})
		elapse(5 * time.Second)
		obeyed := slices.Sorted(slices.Values(d.all()[:2]))
		if !slices.Equal(obeyed, []string{"obey wh_1", "obey wh_new"}) {
			t.Errorf("first: %v", obeyed)
		}
		want := []string{"wake wh_1", "defer", "wake wh_1", "obey wh_2", "defer", "wake wh_1", "defer no more"}
		if !slices.Equal(d.all()[2:], want) {
			t.Errorf("then: %v, want %v", d.all()[2:], want)
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.stops != 5 {
			t.Errorf("superseded turns were looked for %d times in five seconds", d.stops)
		}
	})
}

// A change right before the database was away for long is obeyed once it is back.
func TestAChangeBeforeAnOutageIsObeyedAfterIt(t *testing.T) {
	t.Parallel()
	running(t, func(t *testing.T, _ *Node, s *table, d *told) {
		elapse(time.Minute)
		s.set(func() { s.away, s.changed, s.changedAt = true, map[string]int64{"wh_1": 2}, time.Now() })
		elapse(10 * time.Minute)
		s.set(func() { s.away = false })
		elapse(5 * time.Second)
		if !slices.Contains(d.all(), "obey wh_1") {
			t.Errorf("told: %v", d.all())
		}
	})
}

func TestWhatIsMissingTwiceIsTakenUp(t *testing.T) {
	t.Parallel()
	running(t, func(t *testing.T, n *Node, s *table, d *told) {
		s.set(func() { s.memory = []string{"del_held", "del_lost"} })
		elapse(strandedEvery + 2*time.Second)
		var taken []string
		s.set(func() { taken = s.taken })
		if taken != nil {
			t.Errorf("%v taken up at the first look: it may be on its way", taken)
		}
		elapse(strandedEvery + 2*time.Second)
		s.set(func() { taken = s.taken })
		if !slices.Equal(taken, []string{"del_lost"}) || n.Owned() != 7 {
			t.Errorf("taken up: %v, owned %d", taken, n.Owned())
		}
	})
}

func TestALeavingNodeHandsOverFirst(t *testing.T) {
	t.Parallel()
	running(t, func(t *testing.T, n *Node, s *table, d *told) {
		if err := n.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(d.all(), []string{"halt", "hand over"}) || !s.left || n.MaySend() || n.State() != lease.Leaving {
			t.Errorf("told %v, left %v, %s", d.all(), s.left, n.State())
		}
		elapse(30 * time.Second)
		if s.lasts() <= 0 {
			t.Error("its lease has run out while it had something in flight")
		}
	})
}
