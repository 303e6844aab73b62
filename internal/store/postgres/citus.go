package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Spread says where the rows of a table live once Citus distributes the schema.
type Spread string

const (
	// Distributed tables are cut by project_id, all in the same way, so that what
	// belongs to one project lies on one worker, and a transaction of it stays there.
	Distributed Spread = "distributed by project_id"
	// Reference tables are whole on every worker: small ones that are asked for
	// before the project is known.
	Reference Spread = "reference"
	// Local tables stay on the coordinator: they are the nodes' own.
	Local Spread = "local"
)

// spreads names the tables that are not distributed. A test reads the catalogue
// and proves of all others that every key of theirs holds project_id.
var spreads = map[string]Spread{
	"api_keys":          Reference, // a key is looked up before its project is known
	"nodes":             Reference, // what a run owned is taken over on every shard
	"schema_migrations": Local,
}

// spreadOf says where a table's rows live.
func spreadOf(table string) Spread {
	if s, ok := spreads[table]; ok {
		return s
	}
	return Distributed
}

// Distribute spreads the tables of a migrated database over the workers of Citus.
// What is spread already is left as it is, so it can be run again, after each
// migration that adds a table. It returns a line for each table.
func Distribute(ctx context.Context, url string) (lines []string, err error) {
	conn, err := Connect(ctx, url)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var there bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus')").Scan(&there); err != nil {
		return nil, err
	}
	if !there {
		return nil, errors.New("this database has not the extension Citus: install it on the coordinator and its workers, " +
			"and run CREATE EXTENSION citus as a superuser first; without it leave --citus out")
	}
	tables, err := schemaTables(ctx, conn)
	if err != nil {
		return nil, err
	}
	for _, t := range tables {
		var done bool
		err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = to_regclass(quote_ident($1)))", t).Scan(&done)
		if err != nil {
			return lines, err
		}
		spread := spreadOf(t)
		switch {
		case done || spread == Local:
		case spread == Reference:
			_, err = conn.Exec(ctx, "SELECT create_reference_table(quote_ident($1))", t)
		default:
			// They serve nodes of the version before, of which there are none here.
			if _, err = conn.Exec(ctx, "DROP TRIGGER IF EXISTS routing_changed ON "+pgx.Identifier{t}.Sanitize()); err != nil {
				return lines, err
			}
			_, err = conn.Exec(ctx, "SELECT create_distributed_table(quote_ident($1), 'project_id', colocate_with => $2)", t, colocation(tables, t))
		}
		if err != nil {
			return lines, fmt.Errorf("spreading %s: %w", t, err)
		}
		lines = append(lines, t+": "+string(spread))
	}
	return lines, nil
}

// Connect opens one connection as a store would, for what is no store's work. Its
// schema is there already.
func Connect(ctx context.Context, databaseURL string) (*pgx.Conn, error) {
	cfg, _, err := parseURL(databaseURL)
	if err != nil {
		return nil, err
	}
	conn, err := pgx.ConnectConfig(ctx, cfg.ConnConfig)
	if err != nil {
		return nil, explainOpen(err)
	}
	// What it commits is on disk, too; see durable.go.
	if _, err := conn.Exec(ctx, "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"); err != nil {
		_ = conn.Close(ctx)
		return nil, explainOpen(err)
	}
	return conn, nil
}

// colocation is what create_distributed_table is to lay a table beside: the first
// distributed one, which itself starts the group.
func colocation(tables []string, table string) string {
	for _, t := range tables {
		if spreadOf(t) == Distributed {
			if t == table {
				return "none"
			}
			return t
		}
	}
	return "none"
}

// schemaTables are the tables of the schema, of partitioned ones only the whole.
func schemaTables(ctx context.Context, conn *pgx.Conn) ([]string, error) {
	rows, err := conn.Query(ctx, `SELECT c.relname FROM pg_class c
		WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
			AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
		ORDER BY c.relname`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}
