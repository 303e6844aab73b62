package move

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// database is a connection or a transaction on it.
type database interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error)
}

// names are the columns that are filled.
func (s step) names() []string {
	names := make([]string, len(s.columns))
	for i, c := range s.columns {
		names[i] = c.name
	}
	return names
}

// ours is the condition of PostgreSQL for the rows that moved, or will; $1 are the projects.
func (s step) ours() string {
	if s.rows != "" {
		return "project_id = ANY($1) AND " + s.rows
	}
	return "project_id = ANY($1)"
}

// firm is a row without what is not compared.
func (s step) firm(row []any) []any {
	for i, c := range s.columns {
		if c.loose {
			row[i] = nil
		}
	}
	return row
}

// read calls f with rows of SQLite as PostgreSQL is to hold them, and with the
// place of each row.
func (m *mover) read(ctx context.Context, s step, after []any, limit int, f func(place, row []any) error) error {
	exprs := make([]string, 0, len(s.source.Key)+len(s.columns))
	exprs = append(exprs, s.source.Key...)
	for _, c := range s.columns {
		exprs = append(exprs, c.expr)
	}
	where, args := "", []any(nil)
	if !m.whole {
		where, args = s.project+" IN (SELECT value FROM json_each(?))", []any{m.list()}
	}
	return m.From.Dump(ctx, s.source, exprs, where, args, after, limit, func(row []any) error {
		place, row := row[:len(s.source.Key)], row[len(s.source.Key):]
		for i, c := range s.columns {
			v, err := convert(row[i], c.kind)
			if err != nil {
				return fmt.Errorf("%s of row %v: %w", c.name, place, err)
			}
			row[i] = v
		}
		return f(place, row)
	})
}

// maxPageBytes bounds what of a page is in memory.
const maxPageBytes = 8 << 20

// errPageFull ends a page before it has all its rows.
var errPageFull = errors.New("the page is full")

// size is about what a row takes in memory.
func size(row []any) int {
	n := 16 * len(row)
	for _, v := range row {
		switch v := v.(type) {
		case string:
			n += len(v)
		case []byte:
			n += len(v)
		}
	}
	return n
}

// copyTable moves a table in pages, from where the last run stopped.
func (m *mover) copyTable(ctx context.Context, s step) error {
	var position string
	var n int64
	var done bool
	err := m.To.QueryRow(ctx, "SELECT position, rows, done FROM "+progressTable+" WHERE name = $1", s.name).Scan(&position, &n, &done)
	var after []any
	switch {
	case errors.Is(err, pgx.ErrNoRows):
	case err != nil:
		return err
	default:
		m.tell(Page{Table: s.name, Rows: n, Resumed: true})
		if after, err = decodePlace(position); err != nil {
			return err
		}
	}
	for !done {
		var rows [][]any
		last, room := after, maxPageBytes
		err := m.read(ctx, s, after, m.Rows, func(place, row []any) error {
			last = place
			rows = append(rows, row)
			if room -= size(row); room <= 0 {
				return errPageFull
			}
			return nil
		})
		if err != nil && !errors.Is(err, errPageFull) {
			return err
		}
		n, after, done = n+int64(len(rows)), last, err == nil && len(rows) < m.Rows
		err = pgx.BeginFunc(ctx, m.To, func(tx pgx.Tx) error {
			if _, err := tx.CopyFrom(ctx, pgx.Identifier{s.into()}, s.names(), pgx.CopyFromRows(rows)); err != nil {
				return err
			}
			return note(ctx, tx, s.name, after, n, "", done)
		})
		if err != nil {
			return err
		}
		m.tell(Page{Table: s.name, Rows: n})
	}
	return nil
}

// copyAll moves a small table at once, in a transaction under way.
func (m *mover) copyAll(ctx context.Context, tx pgx.Tx, s step) error {
	var rows [][]any
	err := m.read(ctx, s, nil, -1, func(_, row []any) error {
		rows = append(rows, row)
		return nil
	})
	if err != nil {
		return err
	}
	_, err = tx.CopyFrom(ctx, pgx.Identifier{s.into()}, s.names(), pgx.CopyFromRows(rows))
	return err
}

// compare compares a table in both databases, and notes what it found.
func (m *mover) compare(ctx context.Context, db database, s step) error {
	var here, there sum
	err := m.read(ctx, s, nil, -1, func(_, row []any) error { return here.add(s.firm(row)) })
	if err != nil {
		return err
	}
	rows, err := db.Query(ctx, fmt.Sprintf("SELECT %s FROM %s WHERE %s", strings.Join(s.names(), ", "), s.into(), s.ours()), m.projects)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		row, err := rows.Values()
		if err != nil {
			return err
		}
		if err := there.add(s.firm(row)); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if here != there {
		return fmt.Errorf("the file has %d rows (hash %s), the target %d (hash %s): something else wrote to the target. Empty it, and move again",
			here.rows, here.String(), there.rows, there.String())
	}
	return note(ctx, db, s.name, nil, here.rows, here.String(), true)
}

// note writes down how far a table has come.
func note(ctx context.Context, db database, name string, after []any, n int64, hash string, done bool) error {
	position, err := encodePlace(after)
	if err != nil {
		return err
	}
	_, err = db.Exec(ctx, "INSERT INTO "+progressTable+" VALUES ($1, $2, $3, $4, $5) ON CONFLICT (name) DO UPDATE"+
		" SET position = excluded.position, rows = excluded.rows, hash = excluded.hash, done = excluded.done", name, position, n, hash, done)
	return err
}

// place is one value of a key on its way through JSON.
type place struct {
	Int   *int64  `json:"i,omitempty"`
	Text  *string `json:"s,omitempty"`
	Bytes []byte  `json:"x,omitempty"`
}

func encodePlace(key []any) (string, error) {
	places := make([]place, len(key))
	for i, v := range key {
		switch v := v.(type) {
		case int64:
			places[i].Int = &v
		case string:
			places[i].Text = &v
		case []byte:
			places[i].Bytes = v
		default:
			return "", fmt.Errorf("a key of type %T", v)
		}
	}
	b, err := json.Marshal(places)
	return string(b), err
}

func decodePlace(position string) ([]any, error) {
	var places []place
	if err := json.Unmarshal([]byte(position), &places); err != nil || len(places) == 0 {
		return nil, err
	}
	key := make([]any, len(places))
	for i, p := range places {
		switch {
		case p.Int != nil:
			key[i] = *p.Int
		case p.Text != nil:
			key[i] = *p.Text
		default:
			key[i] = p.Bytes
		}
	}
	return key, nil
}

func (m *mover) tell(p Page) {
	if m.Progress != nil {
		m.Progress(p)
	}
}
