package sqlite

import (
	"context"
	"fmt"
	"strings"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// Table is a table of the schema, as a move to another store sees it.
type Table struct {
	Name string
	// Columns are all columns, in the schema's order.
	Columns []string
	// Key are the columns of the primary key, in its order.
	Key []string
}

// Tables reads the schema's tables from the catalogue, by name.
func (s *Store) Tables(ctx context.Context) (map[string]Table, error) {
	tables := map[string]Table{}
	err := s.read(ctx, func(c *sqlite.Conn) error {
		return each(c, "tableColumns", func(r *row) error {
			t := tables[r.text()]
			t.Name = r.ColumnText(0)
			column, place := r.text(), r.int()
			t.Columns = append(t.Columns, column)
			for len(t.Key) < place {
				t.Key = append(t.Key, "")
			}
			if place > 0 {
				t.Key[place-1] = column
			}
			tables[t.Name] = t
			return nil
		})
	})
	return tables, err
}

// Dump calls f with up to limit rows of a table, in the order of its primary key:
// those behind a key, or the first ones where after is nil. where is a condition
// of SQL over the table, "" for none, and columns are expressions; neither may
// come from outside of the program. A row's values are nil, int64, float64,
// string or []byte, and are f's to keep.
func (s *Store) Dump(ctx context.Context, t Table, columns []string, where string, args []any, after []any, limit int, f func([]any) error) error {
	var q strings.Builder
	fmt.Fprintf(&q, "SELECT %s FROM %s", strings.Join(columns, ", "), t.Name)
	conditions := make([]string, 0, 2)
	if where != "" {
		conditions = append(conditions, "("+where+")")
	}
	if after != nil {
		marks := strings.TrimSuffix(strings.Repeat("?, ", len(after)), ", ")
		conditions = append(conditions, fmt.Sprintf("(%s) > (%s)", strings.Join(t.Key, ", "), marks))
		args = append(args[:len(args):len(args)], after...)
	}
	if len(conditions) > 0 {
		q.WriteString(" WHERE " + strings.Join(conditions, " AND "))
	}
	fmt.Fprintf(&q, " ORDER BY %s LIMIT %d", strings.Join(t.Key, ", "), limit)
	var stopped error // by f: no fault of the database
	err := s.readLoose(ctx, func(c *sqlite.Conn) error {
		return sqlitex.ExecuteTransient(c, q.String(), &sqlitex.ExecOptions{
			Args: args, ResultFunc: func(st *sqlite.Stmt) error { stopped = f(values(st)); return stopped },
		})
	})
	if stopped != nil {
		return stopped
	}
	return err
}

// values copies a row out of a statement.
func values(st *sqlite.Stmt) []any {
	row := make([]any, st.ColumnCount())
	for i := range row {
		switch st.ColumnType(i) {
		case sqlite.TypeInteger:
			row[i] = st.ColumnInt64(i)
		case sqlite.TypeFloat:
			row[i] = st.ColumnFloat(i)
		case sqlite.TypeText:
			row[i] = st.ColumnText(i)
		case sqlite.TypeBlob:
			b := make([]byte, st.ColumnLen(i))
			st.ColumnBytes(i, b)
			row[i] = b
		}
	}
	return row
}

// OpenToMove is Open for a move to another store. The file remembers whether a
// server had it open since the move began; see BeginMoving.
func OpenToMove(ctx context.Context, path string) (*Store, error) {
	return open(ctx, path, "nextRunToMove")
}

// BeginMoving has the file remember that a move begins.
func (s *Store) BeginMoving(ctx context.Context) error {
	return s.write(ctx, func(t *tx) error { return exec(t.Conn, "beginMoving") })
}

// ServerBetween says whether anything but OpenToMove opened the file since the last
// BeginMoving, and may have changed it.
func (s *Store) ServerBetween(ctx context.Context) (between bool, err error) {
	err = s.read(ctx, func(c *sqlite.Conn) error {
		between, err = one(c, "serverBetween", func(*row) {})
		return err
	})
	return between, err
}

// MarkMoved notes in the file that its state lives elsewhere now: from then on
// Open refuses it, so that no second server delivers the same.
func (s *Store) MarkMoved(ctx context.Context) error {
	return s.write(ctx, func(t *tx) error { return exec(t.Conn, "markMoved") })
}

// DeleteRows deletes what a condition selects of a table. It is for what has moved
// elsewhere; where must not come from outside of the program.
func (s *Store) DeleteRows(ctx context.Context, t Table, where string, args ...any) error {
	return s.write(ctx, func(x *tx) error {
		err := eachText(x.Conn, "DELETE FROM "+t.Name+" WHERE "+where, func(*row) error { return nil }, args...)
		if err != nil || t.Name != "deliveries" {
			return err
		}
		return exec(x.Conn, "unlistDeleted")
	})
}

// refuseMoved refuses a file whose state lives elsewhere.
func refuseMoved(c *sqlite.Conn, path string) error {
	var at time.Time
	moved, err := one(c, "movedAt", func(r *row) { at = time.Unix(r.int64(), 0).UTC() })
	if err != nil || !moved {
		return err
	}
	return phone.Errorf(phone.Conflict, "what was in %s moved to PostgreSQL at %s: start with --database postgres://…, or name another file",
		path, at.Format(time.RFC3339))
}

// Path is the file.
func (s *Store) Path() string { return strings.TrimSuffix(s.lock.Path(), ".lock") }
