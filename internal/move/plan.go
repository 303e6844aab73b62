package move

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"switchhook.dev/switchhook/internal/store/sqlite"
)

// step is one table's move: which columns become which.
type step struct {
	table
	source  sqlite.Table
	columns []column
	// project is the expression of a row's project in SQLite.
	project string
}

// column is a column of PostgreSQL, and the expression in SQLite that fills it.
type column struct {
	name string
	kind string // PostgreSQL's name of its type: int8, text, bytea, …
	expr string
	// loose columns are not compared.
	loose bool
}

// into is the table in PostgreSQL.
func (t table) into() string {
	if t.to != "" {
		return t.to
	}
	return t.name
}

// word is a name in an expression.
var word = regexp.MustCompile(`[a-z_]+`)

// target is a table of PostgreSQL, as its catalogue shows it.
type target struct {
	columns []targetColumn
}

type targetColumn struct{ name, kind string }

// kinds are the types that a value of SQLite can become.
var kinds = map[string]bool{"int8": true, "int4": true, "int2": true, "bool": true, "text": true, "bytea": true, "timestamptz": true, "float8": true}

// plan pairs the tables of both stores, column by column. What is in neither of
// the lists of tables.go, or has no partner, is a fault: a move that leaves
// something behind must not begin.
func plan(from map[string]sqlite.Table, to map[string]target) ([]step, error) {
	var faults []string
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	listed, filled := map[string]bool{}, map[string]bool{}
	var steps []step
	for _, t := range tables {
		listed[t.name], filled[t.into()] = true, true
		source, inSQLite := from[t.name]
		there, inPostgres := to[t.into()]
		if !inSQLite || !inPostgres {
			fault("table %s is listed, but is not in both stores", t.name)
			continue
		}
		s := step{table: t, source: source, project: t.projectID}
		if s.project == "" {
			s.project = "project_id"
		}
		used := map[string]bool{}
		for _, c := range there.columns {
			expr, given := t.columns[c.name]
			switch {
			case given:
				for _, name := range word.FindAllString(expr, -1) {
					used[name] = true
				}
			case slices.Contains(source.Columns, c.name):
				expr = c.name
				used[c.name] = true
			case c.name == "project_id" && t.projectID != "":
				expr = t.projectID
			case slices.Contains(t.defaults, c.name):
				continue
			default:
				fault("column %s.%s of PostgreSQL has no partner in SQLite", t.into(), c.name)
				continue
			}
			if !kinds[c.kind] {
				fault("column %s.%s has the type %s, which nothing is known to become", t.into(), c.name, c.kind)
			}
			s.columns = append(s.columns, column{c.name, c.kind, expr, slices.Contains(t.loose, c.name)})
		}
		for _, c := range source.Columns {
			if !used[c] && !slices.Contains(t.left, c) {
				fault("column %s.%s of SQLite has no partner in PostgreSQL", t.name, c)
			}
		}
		steps = append(steps, s)
	}
	for _, name := range slices.Sorted(maps.Keys(from)) {
		if !listed[name] && leftBehind[name] == "" {
			fault("table %s of SQLite is in no list", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(to)) {
		if !filled[name] && ownTables[name] == "" {
			fault("table %s of PostgreSQL is in no list", name)
		}
	}
	if faults != nil {
		return nil, fmt.Errorf("this version cannot move everything: %s (see internal/move/tables.go)", strings.Join(faults, "; "))
	}
	return steps, nil
}
