package pgtest

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func TestMain(m *testing.M) { Main(m) }

// ask runs a statement that answers one number.
func ask(t *testing.T, url, statement string) (n int, err error) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		return 0, err
	}
	defer conn.Close(t.Context())
	err = conn.QueryRow(t.Context(), statement).Scan(&n)
	return n, err
}

func TestDatabasesAreFreshAndApart(t *testing.T) {
	one, other := URL(t), URL(t)
	conn, err := pgx.Connect(t.Context(), one)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), "CREATE TABLE x (a int)"); err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string]int{one: 1, other: 0} {
		if n, err := ask(t, url, "SELECT count(*) FROM pg_class WHERE relname = 'x'"); n != want || err != nil {
			t.Error(n, err)
		}
	}
}

// TestFailover: what a synchronous primary answered is on the replica after the
// primary was killed.
func TestFailover(t *testing.T) {
	c := Start(t, Options{Settings: map[string]string{"synchronous_commit": "on"}})
	r := c.Replica(t, "standby")
	c.Synchronous(t, "standby")
	for {
		if n, err := ask(t, c.URL("postgres"), "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"); err != nil {
			t.Fatal(err)
		} else if n == 1 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	c.Exec(t, "CREATE TABLE kept AS SELECT 7 AS n")
	c.Kill(t)
	if _, err := ask(t, c.URL("postgres"), "SELECT 1"); err == nil {
		t.Error("a killed server answers")
	}
	r.Promote(t)
	if n, err := ask(t, r.URL("postgres"), "SELECT n FROM kept"); n != 7 || err != nil {
		t.Error(n, err)
	}
}

func TestBouncer(t *testing.T) {
	database := URL(t)
	through := shared.Bouncer(t, database, nil)
	if n, err := ask(t, through, "SELECT 7"); n != 7 || err != nil {
		t.Error(n, err)
	}
}
