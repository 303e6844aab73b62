package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// What was answered 2xx is on disk. PostgreSQL can be told to answer a commit before
// that (synchronous_commit = off), by its configuration, for a database, a role or
// in a URL: transactions of ours that write then say otherwise, each for itself,
// since behind PgBouncer a connection keeps no settings. Other values (local,
// remote_write, on, remote_apply) say what the operator wants of replicas, and stay.

// lookAtSettings is asked for each new connection.
func (s *Store) lookAtSettings(ctx context.Context, conn *pgx.Conn) error {
	results, err := conn.PgConn().Exec(ctx, query("settings")).ReadAll()
	if err != nil {
		return err
	}
	for i, value := range results[0].Rows[0] {
		if string(value) != "t" {
			continue
		}
		switch i {
		case 0:
			s.lazy.Store(true)
		case 1:
			s.unsafe.Store(true)
		case 2:
			s.apart.Store(true)
		}
	}
	return nil
}

// warnOfSettings says what of the database's settings a person should know.
func (s *Store) warnOfSettings() {
	if s.lazy.Load() {
		s.warn("the database is told to answer commits before they are on disk (synchronous_commit = off): Switchhook's are made with it on all the same")
	}
	if s.unsafe.Load() {
		s.warn("the database runs with fsync or full_page_writes off: a crash of its machine loses or damages what was answered 2xx: switch both on in its postgresql.conf")
	}
}

// toDisk has the commit of a transaction that writes answered when it is on disk.
func (s *Store) toDisk(t *tx) {
	if s.lazy.Load() {
		exec(t, "toDisk")
	}
}
