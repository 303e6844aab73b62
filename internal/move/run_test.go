package move

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"switchhook.dev/switchhook/internal/store/postgres"
	"switchhook.dev/switchhook/internal/store/postgres/pgtest"
	"switchhook.dev/switchhook/internal/store/sqlite"
	zombie "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// migrated is a connection to a fresh database with the schema.
func migrated(t *testing.T) *pgx.Conn {
	t.Helper()
	url := pgtest.URL(t)
	s, err := postgres.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	conn, err := postgres.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestMain(m *testing.M) { pgtest.Main(m) }

// Whatever is added to either schema must be told to the move.
func TestSchemasAgree(t *testing.T) {
	conn := migrated(t)
	defer conn.Close(context.Background())
	s := filled(t, filepath.Join(t.TempDir(), "a.db"))
	defer s.Close()
	m := &mover{Config: Config{From: s, To: conn}}
	if err := m.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, step := range m.steps {
		if len(step.columns) < 2 {
			t.Errorf("%s: %v", step.name, step.columns)
		}
	}
}

// projects of the files that filled makes, and rows of each in a table.
const projects, rowsOfEach = 3, 7

// filled makes a file with rows in every table, made of nothing but the schema: a
// value of every column, of its type, different in every row.
func filled(t *testing.T, path string) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	conn, err := zombie.OpenConn(path, zombie.OpenReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	run := func(text string) {
		if err := sqlitex.ExecuteTransient(conn, text, nil); err != nil {
			t.Fatal(err)
		}
	}
	run("BEGIN")
	for _, x := range tables {
		fill(t, conn, x.name)
	}
	run("COMMIT")
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = sqlite.OpenToMove(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	return s
}

func fill(t *testing.T, conn *zombie.Conn, table string) {
	t.Helper()
	type column struct{ name, kind string }
	var columns []column
	err := sqlitex.ExecuteTransient(conn, "SELECT name, type FROM pragma_table_info(?)", &sqlitex.ExecOptions{
		Args: []any{table}, ResultFunc: func(st *zombie.Stmt) error {
			columns = append(columns, column{st.ColumnText(0), st.ColumnText(1)})
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range projects * rowsOfEach {
		project := fmt.Sprint("prj_", i%projects)
		if table == "projects" || table == "counts_total" {
			if i >= projects {
				return
			}
		}
		var names, marks []string
		var args []any
		for k, c := range columns {
			names, marks = append(names, c.name), append(marks, "?")
			var v any
			switch {
			case c.name == "project_id", c.name == "id" && table == "projects":
				v = project
			case c.name == "conversation_id" && table == "messages":
				v = fmt.Sprint("conversations-id-", i)
			case c.name == "delivery_id":
				v = fmt.Sprint("deliveries-id-", i)
			case c.name == "settling", c.name == "listener":
				v = 0
			case c.name == "status":
				v = []string{"pending", "success", "failed", "unrouted"}[i%4]
			case c.name == "seq":
				v = 1000 - i
			case c.kind == "REAL":
				v = float64(i) / 4
			case c.kind == "INTEGER":
				v = (i*31 + k) % 2 * (i + 1)
				if c.name == "n" || c.name == "number" || c.name == "hour" || c.name == "minute" {
					v = i
				}
			case c.kind == "BLOB":
				v = []byte{byte(i), 0, 0xff, byte(k)}
			case i%5 == 4 && c.name != "id":
				v = fmt.Sprint(c.name, " \x00é ", i)
			default:
				v = fmt.Sprint(table, "-", c.name, "-", i)
			}
			args = append(args, v)
		}
		q := fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s)", table, strings.Join(names, ", "), strings.Join(marks, ", "))
		if err := sqlitex.ExecuteTransient(conn, q, &sqlitex.ExecOptions{Args: args}); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
}

// A move that stops after any page, and is run again, ends the same.
func TestInterruptedAnywhere(t *testing.T) {
	conn := migrated(t)
	defer conn.Close(context.Background())
	s := filled(t, filepath.Join(t.TempDir(), "a.db"))
	defer func() { _ = s.Close() }()
	stopped := 0
	var moved []Moved
	for {
		ctx, stop := context.WithCancel(t.Context())
		pages, cut := 0, false
		var err error
		again, errConn := pgx.ConnectConfig(t.Context(), conn.Config())
		if errConn != nil {
			t.Fatal(errConn)
		}
		moved, err = Run(ctx, Config{From: s, To: again, Rows: 7, Progress: func(p Page) {
			if pages++; !p.Resumed && pages > 1+stopped%4 {
				cut = true
				stop()
			}
		}})
		stop()
		_ = again.Close(context.Background())
		if err == nil {
			break
		}
		if !cut {
			t.Fatal(err)
		}
		if stopped++; stopped > 500 {
			t.Fatal("it does not end")
		}
		// Each run opens the file anew.
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if s, err = sqlite.OpenToMove(t.Context(), s.Path()); err != nil {
			t.Fatal(err)
		}
	}
	if stopped < 10 {
		t.Errorf("stopped only %d times", stopped)
	}
	want := map[string]int64{"projects": projects, "counts_total": projects}
	if len(moved) != len(tables) {
		t.Errorf("%d of %d tables moved", len(moved), len(tables))
	}
	for _, x := range moved {
		n := want[x.Table]
		if n == 0 {
			n = projects * rowsOfEach
		}
		if x.Rows != n || x.Hash == "" {
			t.Errorf("%s: %d rows, want %d (%s)", x.Table, x.Rows, n, x.Hash)
		}
	}
	var pending, sent, left int
	err := conn.QueryRow(t.Context(), `SELECT count(*) FILTER (WHERE owner = -1 AND status = 'pending' AND next_attempt_at > 0), count(*) FILTER (WHERE handed = -1),
		(SELECT count(*) FROM pg_class WHERE relname = 'switchhook_move') FROM deliveries`).Scan(&pending, &sent, &left)
	if err != nil || pending == 0 || sent == 0 || left != 0 {
		t.Errorf("pending %d, maybe sent %d, tables left behind %d: %v", pending, sent, left, err)
	}
	if _, err := sqlite.Open(t.Context(), s.Path()); err == nil {
		t.Error("the file opens again")
	}
}

// What something else did to the target is seen before the projects come to life.
func TestDifferencesAreSeen(t *testing.T) {
	for _, damage := range []string{
		"UPDATE messages SET body = body || 'x' WHERE id = (SELECT min(id) FROM messages)",
		"DELETE FROM attempts WHERE delivery_id = (SELECT min(delivery_id) FROM attempts)",
		"UPDATE counts SET pending = pending + 1 WHERE hour = -1 AND project_id = 'prj_1'",
	} {
		conn := migrated(t)
		other, err := pgx.ConnectConfig(t.Context(), conn.Config())
		if err != nil {
			t.Fatal(err)
		}
		s := filled(t, filepath.Join(t.TempDir(), "a.db"))
		done := false
		cfg := Config{From: s, To: conn, Progress: func(p Page) {
			if p.Table == "sessions" && !done {
				done = true
				if _, err := other.Exec(t.Context(), damage); err != nil {
					t.Error(err)
				}
			}
		}}
		if _, err := Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "the target") {
			t.Errorf("%s: %v", damage, err)
		}
		var alive int
		if err := other.QueryRow(t.Context(), "SELECT count(*) FROM api_keys").Scan(&alive); err != nil || alive != 0 {
			t.Errorf("%d keys came to life: %v", alive, err)
		}
		cfg.Restart = true
		if _, err := Run(t.Context(), cfg); err != nil {
			t.Errorf("begun anew: %v", err)
		}
		_, _, _ = s.Close(), other.Close(context.Background()), conn.Close(context.Background())
	}
}

// What the target has already is not mixed with what comes.
func TestRefusals(t *testing.T) {
	conn := migrated(t)
	defer conn.Close(context.Background())
	s := filled(t, filepath.Join(t.TempDir(), "a.db"))
	defer s.Close()
	if _, err := conn.Exec(t.Context(), "INSERT INTO audit VALUES ('prj_2', 'x', '', '', '', '', '', '', 1)"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		projects []string
		want     string
	}{
		{nil, "in audit already"}, {[]string{"prj_1", "prj_2"}, "in audit already"}, {[]string{"prj_9"}, `no project "prj_9"`},
	} {
		if _, err := Run(t.Context(), Config{From: s, To: conn, Projects: c.projects}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v", c.projects, err)
		}
	}
	other, err := pgx.ConnectConfig(t.Context(), conn.Config())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close(context.Background())
	ctx, stop := context.WithCancel(t.Context())
	_, err = Run(ctx, Config{From: s, To: conn, Projects: []string{"prj_0"}, Rows: 2, Progress: func(p Page) {
		if _, err := Run(t.Context(), Config{From: s, To: other}); err == nil || !strings.Contains(err.Error(), "another move into this database is running") {
			t.Error(err)
		}
		stop()
	}})
	if err == nil {
		t.Error("a move that was cut off ends well")
	}
	if _, err := Run(t.Context(), Config{From: s, To: other, Projects: []string{"prj_1"}}); err == nil || !strings.Contains(err.Error(), "another move into this database is unfinished") {
		t.Error(err)
	}
}
