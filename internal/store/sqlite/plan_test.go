package sqlite

import (
	"regexp"
	"strings"
	"testing"

	"zombiezen.com/go/sqlite"
)

var servedBy = regexp.MustCompile(`served by (the primary key|[a-z_]+)`)

// TestQueriesAreServedByTheIndexesTheyName: what a query's comment says is what
// SQLite does, and nothing reads a whole table of those that grow.
func TestQueriesAreServedByTheIndexesTheyName(t *testing.T) {
	s, err := Open(t.Context(), t.TempDir()+"/plan.db")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	named := 0
	err = s.read(t.Context(), func(c *sqlite.Conn) error {
		for name, text := range queries {
			if name == "begin" || name == "commit" || name == "rollback" || name == "takeBack" || name == "takeBackFrom" {
				continue // the first three have no plan; the last two have a test of their own below
			}
			plan := planOf(t, c, text)
			for _, table := range []string{"deliveries", "attempts", "messages", "events", "idempotency"} {
				if strings.Contains(plan, "SCAN "+table+"\n") {
					t.Errorf("%s reads all of %s:\n%s", name, table, plan)
				}
			}
			m := servedBy.FindStringSubmatch(text)
			if m == nil {
				continue
			}
			named++
			if m[1] == "the primary key" {
				m[1] = "PRIMARY KEY"
			}
			if m[1] != "the" && !strings.Contains(plan, m[1]) {
				t.Errorf("%s is not served by %s:\n%s", name, m[1], plan)
			}
		}
		for _, name := range []string{"takeBack", "takeBackFrom"} {
			if plan := planOf(t, c, query(name)); !strings.Contains(plan, "deliveries_held") {
				t.Errorf("%s:\n%s", name, plan)
			}
		}
		return nil
	})
	if err != nil || named < 10 {
		t.Error(named, err)
	}
}

func planOf(t *testing.T, c *sqlite.Conn, text string) string {
	st, _, err := c.PrepareTransient("EXPLAIN QUERY PLAN " + text)
	if err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	defer st.Finalize()
	var plan strings.Builder
	for {
		more, err := st.Step()
		if err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		if !more {
			return plan.String()
		}
		plan.WriteString(st.ColumnText(3) + "\n")
	}
}
