// Package move takes whole projects from a SQLite file to PostgreSQL.
//
// Tables move one after another, in pages. A page and how far the move has come
// are written in one transaction, so a move that was interrupted, at any moment
// and in any way, goes on where it stopped and ends the same. The projects come
// to life in the last transaction: it first compares the number of rows and a hash
// over all of them, table by table, between both databases, and only then brings
// the projects' webhooks and API keys. Until then nothing of them can be sent or
// asked for, even while nodes run on the target.
//
// The package must never change what it moves, never write to a project that it
// did not bring itself, and never leave a project alive in both places: at the end
// the file is marked, and no server opens it any more.
package move

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"switchhook.dev/switchhook/internal/store/sqlite"
)

// Config is what a move is started with.
type Config struct {
	// From is the SQLite store, opened with OpenToMove.
	From *sqlite.Store
	// To is a connection to the PostgreSQL database, its schema up to date. It
	// must be one of its own, not a pooler's: the move holds an advisory lock on it.
	To *pgx.Conn
	// Projects are the ids of those that move; all of the file where empty.
	Projects []string
	// Restart drops what an unfinished move of the same projects has brought, and
	// begins anew.
	Restart bool
	// Rows is how many rows move in one transaction; DefaultRows where 0.
	Rows int
	// Progress is told of every page that has moved.
	Progress func(Page)
}

// DefaultRows is a page: some megabytes with bodies of a few kilobytes.
const DefaultRows = 2000

// Page is one step of a move.
type Page struct {
	Table string
	// Rows are all rows of the table that have moved so far.
	Rows int64
	// Resumed says that they moved in an earlier run.
	Resumed bool
}

// Moved is a table that has moved.
type Moved struct {
	Table string
	Rows  int64
	// Hash is over all its rows, the same in both databases.
	Hash string
}

// progressTable keeps how far a move has come. It is in the target only while a
// move is unfinished. The row without a name is the move itself: the projects, and
// whether they are alive.
const progressTable = "switchhook_move"

// lockKey is the advisory lock that lets one move run at a time ("SwHkMove").
const lockKey = 0x5377486b4d6f7665

// mover is a move under way.
type mover struct {
	Config
	steps []step
	// projects are the ids of all that moves; whole says that it is all of the file.
	projects []string
	whole    bool
}

// Run moves the projects, or goes on with an unfinished move of the same ones. It
// returns what has moved, table by table.
func Run(ctx context.Context, cfg Config) ([]Moved, error) {
	m := &mover{Config: cfg}
	if m.Rows <= 0 {
		m.Rows = DefaultRows
	}
	var alone bool
	if err := m.To.QueryRow(ctx, "SELECT pg_try_advisory_lock($1)", int64(lockKey)).Scan(&alone); err != nil {
		return nil, err
	}
	if !alone {
		return nil, errors.New("another move into this database is running: wait for it")
	}
	defer func() { _, _ = m.To.Exec(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock($1)", int64(lockKey)) }()
	if err := m.prepare(ctx); err != nil {
		return nil, err
	}
	// What the next start of a server on the file would have done.
	if err := errors.Join(m.From.RemoveListeners(ctx, "", time.Now()), m.From.SettleAll(ctx)); err != nil {
		return nil, err
	}
	alive, err := m.begin(ctx)
	if err != nil {
		return nil, err
	}
	if !alive {
		if err := m.copy(ctx); err != nil {
			return nil, err
		}
	}
	if err := m.leave(ctx); err != nil {
		return nil, fmt.Errorf("everything has moved, but the file could not be marked: run the same command again: %w", err)
	}
	moved, err := m.report(ctx)
	if err != nil {
		return nil, err
	}
	_, err = m.To.Exec(ctx, "DROP TABLE "+progressTable)
	return moved, err
}

// copy moves the tables, compares them, and brings the projects to life.
func (m *mover) copy(ctx context.Context) error {
	for _, s := range m.steps {
		if s.last {
			continue
		}
		if err := m.copyTable(ctx, s); err != nil {
			return fmt.Errorf("moving %s: %w", s.name, err)
		}
	}
	for _, s := range m.steps {
		if s.last {
			continue
		}
		if err := m.compare(ctx, m.To, s); err != nil {
			return fmt.Errorf("comparing %s: %w", s.name, err)
		}
	}
	return pgx.BeginFunc(ctx, m.To, func(tx pgx.Tx) error {
		for _, s := range m.steps {
			if !s.last {
				continue
			}
			if err := m.copyAll(ctx, tx, s); err != nil {
				return fmt.Errorf("moving %s: %w", s.name, err)
			}
			if err := m.compare(ctx, tx, s); err != nil {
				return fmt.Errorf("comparing %s: %w", s.name, err)
			}
		}
		_, err := tx.Exec(ctx, "UPDATE "+progressTable+" SET done = true WHERE name = ''")
		return err
	})
}

// prepare compares both schemas.
func (m *mover) prepare(ctx context.Context) error {
	from, err := m.From.Tables(ctx)
	if err != nil {
		return err
	}
	to, err := catalogue(ctx, m.To)
	if err != nil {
		return err
	}
	m.steps, err = plan(from, to)
	return err
}

// begin opens the move, or takes up an unfinished one. It says whether the
// projects are alive in the target already.
func (m *mover) begin(ctx context.Context) (alive bool, err error) {
	if err := m.findProjects(ctx); err != nil {
		return false, err
	}
	want := strings.Join(m.projects, " ")
	stale, err := m.From.ServerBetween(ctx)
	if err != nil {
		return false, err
	}
	return alive, pgx.BeginFunc(ctx, m.To, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "CREATE TABLE IF NOT EXISTS "+progressTable+
			" (name text PRIMARY KEY, position text NOT NULL, rows bigint NOT NULL, hash text NOT NULL, done boolean NOT NULL)")
		if err != nil {
			return err
		}
		var has string
		err = tx.QueryRow(ctx, "SELECT position, done FROM "+progressTable+" WHERE name = ''").Scan(&has, &alive)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
		case err != nil:
			return err
		case has != want:
			return fmt.Errorf("another move into this database is unfinished: run it again as it was started, for the projects %s", has)
		case m.Restart && !alive:
			if err := m.drop(ctx, tx); err != nil {
				return err
			}
		case stale && !alive:
			return errors.New("a server had the file open since this move began, so what has moved may be stale: begin anew with --restart")
		default:
			return nil
		}
		for _, s := range m.steps {
			var taken bool
			err := tx.QueryRow(ctx, fmt.Sprintf("SELECT EXISTS (SELECT FROM %s WHERE %s)", s.into(), s.ours()), m.projects).Scan(&taken)
			if err != nil {
				return err
			}
			if taken {
				return fmt.Errorf("the target has rows of these projects in %s already: move into a database that knows nothing of them", s.into())
			}
		}
		if err := m.From.BeginMoving(ctx); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, "INSERT INTO "+progressTable+" VALUES ('', $1, 0, '', false)", want)
		return err
	})
}

// drop takes back what an unfinished move has brought.
func (m *mover) drop(ctx context.Context, tx pgx.Tx) error {
	for _, s := range m.steps {
		if _, err := tx.Exec(ctx, fmt.Sprintf("DELETE FROM %s WHERE %s", s.into(), s.ours()), m.projects); err != nil {
			return err
		}
	}
	_, err := tx.Exec(ctx, "DELETE FROM "+progressTable)
	return err
}

// findProjects finds what moves.
func (m *mover) findProjects(ctx context.Context) error {
	all := map[string]bool{}
	t := sqlite.Table{Name: "projects", Key: []string{"id"}}
	err := m.From.Dump(ctx, t, t.Key, "", nil, nil, -1, func(row []any) error {
		all[row[0].(string)] = true
		return nil
	})
	if err != nil {
		return err
	}
	for _, id := range m.Projects {
		if !all[id] {
			return fmt.Errorf("the file has no project %q: `switchhook projects list` shows them", id)
		}
	}
	m.projects, m.whole = m.Projects, len(m.Projects) == 0
	if m.whole {
		m.projects = slices.Collect(maps.Keys(all))
	}
	slices.Sort(m.projects)
	m.projects = slices.Compact(m.projects)
	if len(m.projects) == 0 {
		return errors.New("the file has no project: there is nothing to move")
	}
	return nil
}

// leave sees to it that the projects are alive in one place only.
func (m *mover) leave(ctx context.Context) error {
	if m.whole {
		return m.From.MarkMoved(ctx)
	}
	for _, s := range m.steps {
		if !s.last {
			continue
		}
		if err := m.From.DeleteRows(ctx, s.source, s.project+" IN (SELECT value FROM json_each(?))", m.list()); err != nil {
			return err
		}
	}
	return nil
}

// report reads what has moved.
func (m *mover) report(ctx context.Context) ([]Moved, error) {
	rows, err := m.To.Query(ctx, "SELECT name, rows, hash FROM "+progressTable+" WHERE name <> '' ORDER BY name")
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Moved])
}

// list is the projects as SQLite's json_each reads them.
func (m *mover) list() string {
	b, err := json.Marshal(m.projects)
	if err != nil {
		panic(err) // strings can always be written
	}
	return string(b)
}

// partitionsBack bounds how far back partitions are made: what is older is not
// worth a table for every week, and goes to the partition of the rest.
const partitionsBack = 366 * 24 * time.Hour

// Oldest is when the first delivery of a file was made, or a year ago.
func Oldest(ctx context.Context, from *sqlite.Store) (time.Time, error) {
	at := time.Now()
	t := sqlite.Table{Name: "deliveries", Key: []string{"id"}}
	err := from.Dump(ctx, t, []string{"created_at"}, "", nil, nil, 1, func(row []any) error {
		if first := time.UnixMicro(row[0].(int64)); first.Before(at) {
			at = first
		}
		return nil
	})
	if year := time.Now().Add(-partitionsBack); at.Before(year) {
		at = year
	}
	return at, err
}
