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

// checkpoint copies pages from the WAL to the file beside the writer, which goes
// on meanwhile: a checkpoint within a commit would hold up everybody who waits
// for it. A WAL can be begun anew only when all of it is copied, and the writer
// always adds some; so once it is long the writer copies what little is left
// itself, between two transactions.
func (s *Store) checkpoint(conn *sqlite.Conn) {
	defer close(s.checkpointed)
	defer conn.Close()
	ticker := time.NewTicker(checkpointEvery)
	defer ticker.Stop()
	for {
		select {
		case <-s.done:
			return
		case <-ticker.C:
		}
		if !s.written.Swap(false) {
			continue
		}
		pages, err := passive(conn)
		if err != nil {
			s.written.Store(true) // the disk may be full: it is tried again
			continue
		}
		if pages > longWAL {
			_ = s.queue(context.Background(), &write{bare: true, hot: true, done: make(chan error, 1), do: func(t *tx) error {
				_, err := passive(t.Conn)
				return err
			}})
		}
	}
}

// passive checkpoints what can be without waiting for anybody, and answers how
// many pages the WAL has.
func passive(conn *sqlite.Conn) (pages int, err error) {
	err = sqlitex.Execute(conn, "PRAGMA wal_checkpoint(PASSIVE)", &sqlitex.ExecOptions{
		ResultFunc: func(st *sqlite.Stmt) error { pages = st.ColumnInt(1); return nil },
	})
	return pages, err
}
