package sqlite

import (
	"embed"
	"strings"

	"zombiezen.com/go/sqlite"
)

//go:embed sql/*.sql
var sqlFiles embed.FS

// queries are the statements of sql/*.sql, by the name in their "-- name:" line.
var queries = loadQueries()

func loadQueries() map[string]string {
	m := map[string]string{}
	entries, err := sqlFiles.ReadDir("sql")
	if err != nil {
		panic(err)
	}
	for _, e := range entries {
		b, err := sqlFiles.ReadFile("sql/" + e.Name())
		if err != nil {
			panic(err)
		}
		for _, part := range strings.Split(string(b), "-- name: ")[1:] {
			name, text, _ := strings.Cut(part, "\n")
			m[strings.TrimSpace(name)] = strings.TrimSpace(text)
		}
	}
	return m
}

func query(name string) string {
	q, ok := queries[name]
	if !ok {
		panic("sqlite: no query is named " + name)
	}
	return q
}

// bind fills a statement's parameters in order: the n-th value is ?n.
func bind(st *sqlite.Stmt, values []any) {
	for i, v := range values {
		switch v := v.(type) {
		case string:
			st.BindText(i+1, v)
		case int64:
			st.BindInt64(i+1, v)
		case int:
			st.BindInt64(i+1, int64(v))
		case bool:
			st.BindBool(i+1, v)
		case *float64:
			if v == nil {
				st.BindNull(i + 1)
			} else {
				st.BindFloat(i+1, *v)
			}
		case *string:
			if v == nil {
				st.BindNull(i + 1)
			} else {
				st.BindText(i+1, *v)
			}
		case []byte:
			if v == nil {
				st.BindNull(i + 1)
			} else {
				st.BindBytes(i+1, v)
			}
		default:
			panic("sqlite: a parameter of an unknown type")
		}
	}
}

// exec runs a query that answers no rows.
func exec(c *sqlite.Conn, name string, values ...any) error {
	return each(c, name, func(*row) error { return nil }, values...)
}

// each calls f for every row of a query.
func each(c *sqlite.Conn, name string, f func(*row) error, values ...any) error {
	return eachText(c, query(name), f, values...)
}

// eachText is each for a query put together from fixed parts.
func eachText(c *sqlite.Conn, text string, f func(*row) error, values ...any) error {
	st, err := c.Prepare(text)
	if err != nil {
		return err
	}
	defer st.Reset()
	bind(st, values)
	for {
		more, err := st.Step()
		if err != nil {
			return err
		}
		if !more {
			return nil
		}
		if err := f(&row{Stmt: st}); err != nil {
			return err
		}
	}
}

// one calls f for the first row, and says whether there was one.
func one(c *sqlite.Conn, name string, f func(*row), values ...any) (bool, error) {
	found := false
	err := each(c, name, func(r *row) error {
		if !found {
			f(r)
		}
		found = true
		return nil
	}, values...)
	return found, err
}

// row reads columns in order.
type row struct {
	*sqlite.Stmt
	n int
}

func (r *row) text() string { r.n++; return r.ColumnText(r.n - 1) }
func (r *row) int() int     { r.n++; return r.ColumnInt(r.n - 1) }
func (r *row) int64() int64 { r.n++; return r.ColumnInt64(r.n - 1) }
func (r *row) bool() bool   { r.n++; return r.ColumnBool(r.n - 1) }
func (r *row) floatOrNil() *float64 {
	r.n++
	if r.ColumnType(r.n-1) == sqlite.TypeNull {
		return nil
	}
	v := r.ColumnFloat(r.n - 1)
	return &v
}
func (r *row) textOrNil() *string {
	r.n++
	if r.ColumnType(r.n-1) == sqlite.TypeNull {
		return nil
	}
	v := r.ColumnText(r.n - 1)
	return &v
}
func (r *row) bytes() []byte {
	r.n++
	if r.ColumnType(r.n-1) == sqlite.TypeNull {
		return nil
	}
	b := make([]byte, r.ColumnLen(r.n-1))
	r.ColumnBytes(r.n-1, b)
	return b
}
