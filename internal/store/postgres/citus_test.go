package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"switchhook.dev/switchhook/internal/store/postgres/pgtest"
)

// schemaOf is a connection to a fresh database with the schema.
func schemaOf(t *testing.T) *pgx.Conn {
	t.Helper()
	url := pgtest.URL(t)
	s, err := Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	conn, err := Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func TestDistributeSaysWhatIsMissing(t *testing.T) {
	url := pgtest.URL(t)
	if _, err := Distribute(t.Context(), url); err == nil || !strings.Contains(err.Error(), "CREATE EXTENSION citus") {
		t.Error(err)
	}
}

// Citus can spread a table by project_id only where every primary and unique key
// of it holds project_id.
func TestKeysHoldTheProject(t *testing.T) {
	conn := schemaOf(t)
	rows, err := conn.Query(t.Context(), `SELECT c.relname, i.relname, array_agg(a.attname)
		FROM pg_index x
		JOIN pg_class c ON c.oid = x.indrelid AND c.relnamespace = current_schema()::regnamespace AND NOT c.relispartition
		JOIN pg_class i ON i.oid = x.indexrelid
		JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY(x.indkey)
		WHERE x.indisunique GROUP BY 1, 2`)
	if err != nil {
		t.Fatal(err)
	}
	keyed := map[string]bool{}
	var table, index string
	var columns []string
	_, err = pgx.ForEachRow(rows, []any{&table, &index, &columns}, func() error {
		keyed[table] = true
		if spreadOf(table) == Distributed && !slices.Contains(columns, "project_id") {
			t.Errorf("the key %s of %s is (%s): without project_id it would have to hold across shards", index, table, strings.Join(columns, ", "))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	tables, err := schemaTables(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	if len(keyed) < 15 {
		t.Errorf("only %d tables have keys", len(keyed))
	}
	for name := range spreads {
		if !slices.Contains(tables, name) {
			t.Errorf("%s is named among the tables that are not distributed, and is not there", name)
		}
	}
}

// acrossProjects are the statements that write or join without naming a project,
// and why they may: none is on the way of an event.
var acrossProjects = map[string]string{
	"takeBack":          "a node takes over what a dead one owned, of every project",
	"handedOver":        "a node takes over what a leaving one owned, of every project",
	"takeUp":            "a node takes up what an answer was lost of",
	"taken":             "a node takes up what others gave it, of every project",
	"dropGiven":         "housekeeping",
	"forgetIdempotency": "housekeeping",
	"dropSessions":      "housekeeping",
}

// Statements that write or join must name the project of every row they look for,
// so that Citus sends them to one shard, and joins stay on it. What PostgreSQL
// makes of a statement shows it: each scan of a distributed table must be bound by
// project_id.
func TestStatementsNameTheProject(t *testing.T) {
	conn := schemaOf(t)
	for _, set := range []string{"SET plan_cache_mode = force_generic_plan", "SET enable_seqscan = off"} {
		if _, err := conn.Exec(t.Context(), set); err != nil {
			t.Fatal(err)
		}
	}
	checked, excused := 0, map[string]bool{}
	for name, text := range queries {
		verb, _, _ := strings.Cut(text, " ")
		if !slices.Contains([]string{"SELECT", "INSERT", "UPDATE", "DELETE", "WITH"}, verb) {
			continue
		}
		p := explain(t, conn, name, text)
		if p == nil {
			continue
		}
		loose := p.loose()
		if len(loose) == 0 {
			checked++
			continue
		}
		if acrossProjects[name] == "" {
			t.Errorf("%s looks for rows of every project in %s:\n%s", name, strings.Join(loose, ", "), text)
		}
		excused[name] = true
	}
	for name := range acrossProjects {
		if _, there := queries[name]; there && !excused[name] {
			t.Errorf("%s is excused for looking across projects, and does not", name)
		}
	}
	if checked < 60 {
		t.Errorf("only %d statements were checked", checked)
	}
}

// statement is what a plan says of a statement.
type statement struct {
	writes bool
	// scans are the distributed tables that are looked into, by alias.
	scans map[string]string
	// conditions are all conditions of the plan.
	conditions []string
}

// loose are the scans that nothing binds to a project, where that matters.
func (s *statement) loose() (loose []string) {
	// The partitions of a table are scanned under its alias and a number.
	relations := map[string]bool{}
	for alias := range s.scans {
		relations[numbered.ReplaceAllString(alias, "")] = true
	}
	if !s.writes && len(relations) < 2 {
		return nil
	}
	for alias, table := range s.scans {
		bound := regexp.MustCompile(`\b` + alias + `\.project_id\)?(::text)? = |= \(?` + alias + `\.project_id\b`)
		if !slices.ContainsFunc(s.conditions, bound.MatchString) {
			loose = append(loose, table+" "+alias)
		}
	}
	slices.Sort(loose)
	return loose
}

var numbered = regexp.MustCompile(`_\d+$`)

var partitionSuffix = regexp.MustCompile(`_(rest|\d{8})$`)

func explain(t *testing.T, conn *pgx.Conn, name, text string) *statement {
	t.Helper()
	sd, err := conn.Prepare(t.Context(), "", text)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return nil
	}
	arguments := ""
	if n := len(sd.ParamOIDs); n > 0 {
		arguments = "(" + strings.TrimSuffix(strings.Repeat("NULL, ", n), ", ") + ")"
	}
	batch := fmt.Sprintf("PREPARE it AS %s; EXPLAIN (VERBOSE, FORMAT JSON) EXECUTE it%s; DEALLOCATE it", text, arguments)
	results, err := conn.PgConn().Exec(t.Context(), batch).ReadAll()
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return nil
	}
	var plans []struct{ Plan map[string]any }
	if err := json.Unmarshal(results[1].Rows[0][0], &plans); err != nil {
		t.Fatal(err)
	}
	s := &statement{scans: map[string]string{}}
	s.read(plans[0].Plan)
	return s
}

// read reads a node of a plan, and those below it.
func (s *statement) read(node map[string]any) {
	kind, _ := node["Node Type"].(string)
	if kind == "ModifyTable" {
		s.writes = true
	} else if relation, ok := node["Relation Name"].(string); ok && node["Schema"] == "public" {
		if table := partitionSuffix.ReplaceAllString(relation, ""); spreadOf(table) == Distributed {
			s.scans[node["Alias"].(string)] = table
		}
	}
	for k, v := range node {
		if text, ok := v.(string); ok && (strings.HasSuffix(k, "Cond") || strings.HasSuffix(k, "Filter")) {
			s.conditions = append(s.conditions, text)
		}
	}
	below, _ := node["Plans"].([]any)
	for _, b := range below {
		s.read(b.(map[string]any))
	}
}
