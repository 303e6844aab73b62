package sqlite

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"zombiezen.com/go/sqlite"
)

// The WAL stays short although somebody always writes and somebody always reads.
func TestTheWALIsBegunAnewUnderLoad(t *testing.T) {
	path := t.TempDir() + "/wal.db"
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, stop := context.WithCancel(t.Context())
	var work sync.WaitGroup
	// Each read lasts until something was written, or for a moment where the writer
	// waits for it; the others go on meanwhile.
	wrote := make(chan struct{})
	for range 4 {
		work.Go(func() {
			for ctx.Err() == nil {
				_ = s.read(context.Background(), func(c *sqlite.Conn) error {
					err := each(c, "ping", func(*row) error { return nil })
					select {
					case <-wrote:
					case <-time.After(10 * time.Millisecond):
					}
					return err
				})
			}
		})
	}
	size := func() int64 {
		info, err := os.Stat(path + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	page := make([]byte, 32<<10)
	written := int64(0)
	restarted := false
	// The checkpointer's clock is SQLite's and the disk's: real time, with a long limit.
	for i, deadline := 0, time.Now().Add(5*time.Minute); !restarted && time.Now().Before(deadline); i++ {
		err := s.writeHot(ctx, func(t *tx) error {
			return exec(t.Conn, "insertEvent", fmt.Sprint("evt_", i), "p", "a", "t", "c", "d", "", "", page, []byte(nil), 1, 1)
		})
		if err != nil {
			t.Fatal(err)
		}
		select {
		case wrote <- struct{}{}:
		default:
		}
		written += int64(len(page))
		restarted = written > 2*longWAL*4096 && size() < written/2
	}
	stop()
	work.Wait()
	if !restarted {
		t.Errorf("after %d MB written the WAL has %d MB", written>>20, size()>>20)
	}
}
