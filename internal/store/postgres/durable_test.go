package postgres

import (
	"context"
	"strings"
	"testing"

	"switchhook.dev/switchhook/internal/store/postgres/pgtest"
)

// commitsWith is what transactions of a store that write are committed with.
func commitsWith(t *testing.T, s *Store) (value string) {
	t.Helper()
	err := s.write(t.Context(), func(t *tx) error {
		return eachText(t, "SELECT current_setting('synchronous_commit')", func(r *row) error { value = r.text(); return nil })
	})
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// TestCommitsAreOnDisk: whoever tells the database to answer them early, and however.
func TestCommitsAreOnDisk(t *testing.T) {
	t.Parallel()
	cluster := pgtest.Shared(t)
	for set, want := range map[string]string{"off": "on", "local": "local", "remote_write": "remote_write", "on": "on", "remote_apply": "remote_apply"} {
		for _, where := range []string{"database", "url"} {
			url := cluster.Database(t)
			if where == "url" {
				url += "&synchronous_commit=" + set
			} else {
				conn, err := Connect(t.Context(), url)
				if err != nil {
					t.Fatal(err)
				}
				_, err = conn.Exec(t.Context(), "ALTER DATABASE "+conn.Config().Database+" SET synchronous_commit = "+set)
				_ = conn.Close(context.WithoutCancel(t.Context()))
				if err != nil {
					t.Fatal(err)
				}
			}
			s, err := Open(t.Context(), url)
			if err != nil {
				t.Fatal(err)
			}
			if got := commitsWith(t, s); got != want {
				t.Errorf("%s in the %s: commits are made with %q, not %q", set, where, got, want)
			}
			said := strings.Join(s.Warnings(), "\n")
			if strings.Contains(said, "synchronous_commit") != (set == "off") {
				t.Errorf("%s in the %s: it warns of %q", set, where, said)
			}
			// The tests' own server does not survive the machine, and that is said.
			if !strings.Contains(said, "fsync") {
				t.Errorf("%q, and fsync is off", said)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	}

	// Where it is switched while connections are open, the next look at the server finds out.
	s, err := Open(t.Context(), cluster.Database(t)+"&synchronous_commit=on&pool_max_conns=1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if _, err := s.pool.Exec(t.Context(), "SET synchronous_commit = off"); err != nil {
		t.Fatal(err)
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := commitsWith(t, s); got != "on" {
		t.Errorf("switched meanwhile, commits are made with %q", got)
	}
}
