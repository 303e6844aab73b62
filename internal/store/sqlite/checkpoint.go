package sqlite

import (
	"context"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

const (
	// checkpointEvery is how often what was written goes from the WAL to the file.
	checkpointEvery = time.Second
	// longWAL is from how many pages on the WAL is begun anew.
	longWAL = 4096
)

// checkpoints copies pages from the WAL to the file beside the writer, which goes
// on meanwhile: a checkpoint within a commit would hold up everybody who waits
// for it. A WAL can be begun anew only when all of it is copied and nobody reads
// from it, and there are always some who write and read; so once it is long the
// writer copies what little is left itself, between two transactions, while reads
// wait a moment. Otherwise it would grow, and each page read from it cost more.
func (s *Store) checkpoints(conn *sqlite.Conn) {
	defer close(s.checkpointed)
	defer conn.Close()
	ticker := time.NewTicker(checkpointEvery)
	defer ticker.Stop()
	for {
		select {
		case <-s.done:
			// The file of a stopped server is whole without its WAL.
			conn.SetBusyTimeout(time.Second)
			_, _ = checkpoint(conn, "TRUNCATE")
			return
		case <-ticker.C:
		}
		if !s.written.Swap(false) {
			continue
		}
		pages, err := checkpoint(conn, "PASSIVE")
		if err != nil {
			s.written.Store(true) // the disk may be full: it is tried again
			continue
		}
		if pages > longWAL {
			_ = s.queue(context.Background(), &write{bare: true, hot: true, done: make(chan error, 1), do: func(t *tx) error {
				s.reading.Lock()
				defer s.reading.Unlock()
				// Who reads from another process, a backup for one, is not waited for.
				t.SetBusyTimeout(0)
				defer t.SetBlockOnBusy()
				_, err := checkpoint(t.Conn, "RESTART")
				return err
			}})
		}
	}
}

// checkpoint answers how many pages the WAL has. PASSIVE copies what can be copied
// without waiting for anybody, RESTART all of it.
func checkpoint(conn *sqlite.Conn, mode string) (pages int, err error) {
	err = sqlitex.Execute(conn, "PRAGMA wal_checkpoint("+mode+")", &sqlitex.ExecOptions{
		ResultFunc: func(st *sqlite.Stmt) error { pages = st.ColumnInt(1); return nil },
	})
	return pages, err
}
