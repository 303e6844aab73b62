package sqlite

import (
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// What is lazy waits for company, but not for ever.
func TestLazyWritesShareATransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := Open(t.Context(), filepath.Join(t.TempDir(), "test.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		start, written := time.Now(), 0
		write := func(t *tx) error { written++; return nil }
		done := make(chan error, 1)
		lazily := func() { go func() { done <- s.writeLazy(t.Context(), write) }() }

		lazily()
		synctest.Wait()
		if written != 0 {
			t.Error("it did not wait for company")
		}
		if err := s.writeHot(t.Context(), write); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil || written != 2 || time.Since(start) != 0 {
			t.Errorf("%v, %d written after %s", err, written, time.Since(start))
		}

		lazily()
		if err := <-done; err != nil || written != 3 || time.Since(start) != lazyWait {
			t.Errorf("alone: %v, %d written after %s", err, written, time.Since(start))
		}
	})
}

// What is urgent goes before all that waits, joins what is being written, and is
// on disk before the rest.
func TestUrgentWritesGoFirst(t *testing.T) {
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "test.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var order []string
	begun, goOn := make(chan struct{}), make(chan struct{})
	do := func(name string) func(*tx) error {
		return func(*tx) error {
			order = append(order, name)
			if name == "first" {
				close(begun)
				<-goOn
			}
			return nil
		}
	}
	done := make(chan string, 4)
	go func() { _ = s.writeHot(t.Context(), do("first")); done <- "first" }()
	<-begun
	// While the first is being written, what comes waits: texts first, then a turn.
	for _, name := range []string{"text 1", "text 2"} {
		w := &write{do: do(name), hot: true, done: make(chan error, 1)}
		s.writes <- w
		go func() { <-w.done; done <- name }()
	}
	turn := &write{do: do("turn"), hot: true, done: make(chan error, 1)}
	s.urgent <- turn
	close(goOn)
	if err := <-turn.done; err != nil {
		t.Fatal(err)
	}
	for range 3 {
		<-done
	}
	if got := fmt.Sprint(order); got != "[first turn text 1 text 2]" {
		t.Error(got)
	}

	// However many are urgent at once, and whenever they come: each is written.
	var urgent sync.WaitGroup
	var count atomic.Int64
	for range 20 {
		urgent.Go(func() {
			for range 50 {
				if err := s.writeUrgent(t.Context(), func(*tx) error { count.Add(1); runtime.Gosched(); return nil }); err != nil {
					t.Error(err)
				}
				if err := s.writeHot(t.Context(), func(*tx) error { runtime.Gosched(); return nil }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	urgent.Wait()
	if n := count.Load(); n != 1000 {
		t.Errorf("%d urgent writes of 1000 were made", n)
	}

	// A batch is cut before its next write, and what is left of it comes after.
	b := batch{writes: []*write{{}, {}, {}}, results: make([]error, 3)}
	all := b.writes
	b.cut(1, []*write{turn})
	if len(b.writes) != 2 || b.writes[0] != all[0] || b.writes[1] != turn || len(b.rest) != 2 || b.rest[0] != all[1] || len(b.results) != 2 || !b.whole {
		t.Errorf("%+v", b)
	}
}
