package move

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// catalogueQuery lists the columns of all tables of the schema; of a partitioned
// table the whole, not its partitions.
const catalogueQuery = `
SELECT c.relname, a.attname, t.typname
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type t ON t.oid = a.atttypid
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
ORDER BY c.relname, a.attnum`

// catalogue reads the schema of the target.
func catalogue(ctx context.Context, db *pgx.Conn) (map[string]target, error) {
	rows, err := db.Query(ctx, catalogueQuery)
	if err != nil {
		return nil, err
	}
	tables := map[string]target{}
	var name string
	var c targetColumn
	_, err = pgx.ForEachRow(rows, []any{&name, &c.name, &c.kind}, func() error {
		t := tables[name]
		t.columns = append(t.columns, c)
		tables[name] = t
		return nil
	})
	return tables, err
}
