package postgres

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store/postgres/pgtest"
)

// filled is a database with enough in it that plans look as they do in earnest: most
// deliveries of a few projects ended well long ago, and few are pending.
const filled = `
INSERT INTO projects SELECT 'p' || p, '', 0 FROM generate_series(1, 3) p;
INSERT INTO agents SELECT 'p' || i % 3, 'a' || i, '', '', 0 FROM generate_series(1, 600) i;
INSERT INTO numbers SELECT 'p' || i % 3, 'n' || i, '+1' || i, '', '', '', 'a' || i, 0 FROM generate_series(1, 600) i;
INSERT INTO webhooks (project_id, id, agent_id, url, secret, status, context_limit, timeout_s, created_at, revision, ordering, rate_limit, listener, owner, deleted_at)
  SELECT 'p' || i % 3, 'w' || i, 'a' || i % 600, '', '', 'active', 10, 30, 0, 1, 'relaxed', 0, false, '', CASE WHEN i <= 600 THEN 0 ELSE i END
  FROM generate_series(1, 1200) i;
INSERT INTO conversations SELECT 'p' || i % 3, 'c' || i, 'a' || i % 600, 'n' || i % 600, '+1', '+2' || i, NULL, 10, i, '', i FROM generate_series(1, 3000) i;
INSERT INTO messages SELECT 'p' || i % 3, 'c' || i % 3000, i / 3000, 'm' || i, 'n' || i % 600, '', '', '', '', 'hello', '', i FROM generate_series(1, 30000) i;
INSERT INTO deliveries
  SELECT 'p' || i % 3, 'del' || 'FIRST' || lpad(i::text, 6, '0'), 'a' || i % 600, 'w' || i % 600, 'c' || i % 3000, 'm' || i, 'agent.message', 'sms', 'inbound',
    10, i / 3000, s.status, 1, 1, 1, CASE WHEN s.status = 'pending' THEN 7 ELSE 0 END, 7, CASE WHEN s.status = 'pending' AND i % 2 = 0 THEN i ELSE 0 END, i, '', false,
    i % 4 = 0, i, 'data', NULL, NULL
  FROM generate_series(1, 30000) i CROSS JOIN LATERAL (SELECT CASE WHEN i % 100 = 0 THEN 'pending' WHEN i % 100 = 1 THEN 'failed' WHEN i % 1000 = 2 THEN 'unrouted' ELSE 'success' END AS status) s;
INSERT INTO attempts SELECT 'p' || i % 3, 'del' || 'FIRST' || lpad(i::text, 6, '0'), 1, 'att' || i, '', i, 1, '', '', 200, '', '', 0, 0, 0, 0 FROM generate_series(1, 30000) i;
INSERT INTO events SELECT 'p' || i % 3, 'evt' || 'FIRST' || lpad(i::text, 6, '0'), '', '', '', '', '', '', '', NULL, 0, i FROM generate_series(1, 5000) i;
INSERT INTO idempotency SELECT 'p' || i % 3, 'k' || i, '', i FROM generate_series(1, 30000) i;
INSERT INTO counts SELECT 'p' || i % 3, i, 'agent.message', i % 4, 1, 1, 1 FROM generate_series(1, 3000) i;
INSERT INTO minutes SELECT 'p' || i % 3, i, 'x', 1, 1, 1, 1, 1, '' FROM generate_series(1, 3000) i;
INSERT INTO audit SELECT 'p' || i % 3, 'aud_' || i, '', '', '', '', '', '', i FROM generate_series(1, 3000) i;
INSERT INTO sessions SELECT 'p' || i % 3, ('x' || i)::bytea, '', i, i FROM generate_series(1, 3000) i;
INSERT INTO api_keys SELECT 'p' || i % 3, 'key' || i, '', ('x' || i)::bytea, '', false, i, 0, 'admin' FROM generate_series(1, 3000) i;
INSERT INTO calls SELECT 'p' || i % 3, 'call' || i, 'a' || i % 600, 'n' || i % 600, '', '', '', '', i, i, NULL, NULL, NULL, NULL, NULL, NULL, '' FROM generate_series(1, 3000) i;
INSERT INTO turns SELECT 'p' || i % 3, 'call' || i % 3000, 'del' || i, '', NULL, i, '', '', NULL, i FROM generate_series(1, 9000) i;
ANALYZE;
`

var servedBy = regexp.MustCompile(`served by (the primary key|[a-z_]+)`)

// TestQueriesAreServedByTheIndexesTheyName: what a query's comment says is what
// PostgreSQL does, and nothing that runs often reads a whole table of those that grow.
func TestQueriesAreServedByTheIndexesTheyName(t *testing.T) {
	url := pgtest.URL(t)
	s, err := Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for _, text := range []string{strings.ReplaceAll(filled, "FIRST", phone.FirstID(partitionOf(time.Now()))), "SET plan_cache_mode = force_generic_plan"} {
		if _, err := conn.PgConn().Exec(t.Context(), text).ReadAll(); err != nil {
			t.Fatal(err)
		}
	}
	named := 0
	for name, note := range comments(t) {
		text := query(name)
		verb, _, _ := strings.Cut(text, " ")
		if !slices.Contains([]string{"SELECT", "UPDATE", "DELETE", "INSERT"}, verb) {
			continue
		}
		plan := planOf(t, conn, name, text)
		if whole := wholeTable.FindString(plan); whole != "" && !strings.Contains(note, "not for the busy hours") && !strings.Contains(note, "reads few") {
			t.Errorf("%s: %s:\n%s", name, whole, plan)
		}
		m := servedBy.FindStringSubmatch(note)
		if m == nil {
			continue
		}
		named++
		index := m[1]
		if index == "the primary key" {
			index = "_pkey"
		}
		if !usesIndex(t, conn, plan, index) {
			t.Errorf("%s is not served by %s:\n%s", name, m[1], plan)
		}
	}
	if named < 40 {
		t.Error(named)
	}
}

// wholeTable is a plan that reads all of a table that grows, or of a partition with
// something in it; the empty ones cost nothing.
var wholeTable = regexp.MustCompile(`Seq Scan on (messages|idempotency|conversations|(deliveries|attempts|events)_` + partitionOf(time.Now()).Format("20060102") + `)`)

// comments are the notes on each query in sql/*.sql.
func comments(t *testing.T) map[string]string {
	m := map[string]string{}
	entries, err := sqlFiles.ReadDir("sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := sqlFiles.ReadFile("sql/" + e.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range strings.Split(string(b), "-- name: ")[1:] {
			name, body, _ := strings.Cut(part, "\n")
			note := ""
			for line := range strings.SplitSeq(body, "\n") {
				if words, ok := strings.CutPrefix(line, "-- "); ok {
					note += words + " "
				}
			}
			m[name] = note
		}
	}
	return m
}

var indexInPlan = regexp.MustCompile(`(?:using|Bitmap Index Scan on) (\w+)`)

// usesIndex says whether a plan uses an index, or a partition's share of it.
func usesIndex(t *testing.T, conn *pgx.Conn, plan, index string) bool {
	for _, m := range indexInPlan.FindAllStringSubmatch(plan, -1) {
		if strings.HasSuffix(m[1], index) {
			return true
		}
		var parent string
		err := conn.QueryRow(t.Context(), `SELECT coalesce((SELECT p.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
			JOIN pg_class p ON p.oid = i.inhparent WHERE c.relname = $1 AND c.relkind = 'i'), '')`, m[1]).Scan(&parent)
		if err != nil {
			t.Fatal(err)
		}
		if parent != "" && strings.HasSuffix(parent, index) {
			return true
		}
	}
	return false
}

// planOf is the plan of a query whatever its parameters are; those it is shown with
// keep the planner from leaving out the partition that is filled.
func planOf(t *testing.T, conn *pgx.Conn, name, text string) string {
	t.Helper()
	d, err := conn.Prepare(t.Context(), name, text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	id := "'del" + phone.FirstID(partitionOf(time.Now()).Add(time.Hour)) + "'"
	var values []string
	for _, oid := range d.ParamOIDs {
		v, known := map[uint32]string{
			pgtype.TextOID: id, pgtype.Int8OID: "1", pgtype.Int4OID: "1", pgtype.NumericOID: "1", pgtype.BoolOID: "true", pgtype.Float8OID: "1", pgtype.ByteaOID: "''",
			pgtype.TextArrayOID: "ARRAY[" + id + "]", pgtype.Int8ArrayOID: "ARRAY[1]", pgtype.BoolArrayOID: "ARRAY[true]", pgtype.ByteaArrayOID: "ARRAY[''::bytea]",
		}[oid]
		if !known {
			t.Fatalf("%s has a parameter of type %d", name, oid)
		}
		values = append(values, v)
	}
	call := fmt.Sprintf(`EXPLAIN (COSTS OFF) EXECUTE "%s"`, name)
	if len(values) > 0 {
		call += "(" + strings.Join(values, ", ") + ")"
	}
	rows, err := conn.Query(t.Context(), call, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return strings.Join(plan, "\n")
}
