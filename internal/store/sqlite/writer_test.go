package sqlite

import (
	"path/filepath"
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
