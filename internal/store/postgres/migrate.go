package postgres

import (
	"context"
	"embed"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// migration is one step of the schema. Steps only ever add, and a node of the
// version before must be able to run on the schema after it: nodes are restarted
// one by one.
type migration struct {
	version int
	name    string
	text    string
}

// migrations are all steps, in order.
var migrations = loadMigrations()

func loadMigrations() (out []migration) {
	entries, err := migrationFiles.ReadDir("migrations")
	if err != nil {
		panic(err)
	}
	for _, e := range entries {
		b, err := migrationFiles.ReadFile("migrations/" + e.Name())
		if err != nil {
			panic(err)
		}
		number, name, _ := strings.Cut(strings.TrimSuffix(e.Name(), ".sql"), "_")
		version, err := strconv.Atoi(number)
		if err != nil || len(out) > 0 && version <= out[len(out)-1].version {
			panic("postgres: the number of migration " + e.Name() + " is none, or is taken")
		}
		out = append(out, migration{version, name, string(b)})
	}
	return out
}

// migrate brings the schema up to date, in one transaction. Of nodes that start
// together one does it; the others wait for its lock, which ends with the
// transaction, and find nothing left to do. A schema that is newer than this
// program is left alone, since steps only add: this node goes on until it is
// replaced, and says so.
func (s *Store) migrate(ctx context.Context, schema string, steps []migration) (err error) {
	for range tries {
		// Nodes of the version before are at work: theirs and this transaction may be in
		// each other's way.
		if err = s.migrateOnce(ctx, schema, steps); !again(err) {
			return err
		}
	}
	return err
}

func (s *Store) migrateOnce(ctx context.Context, schema string, steps []migration) error {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	return pgx.BeginFunc(ctx, conn, func(t pgx.Tx) error {
		if _, err := t.Exec(ctx, query("lockMigrations")); err != nil {
			return err
		}
		done, err := migrated(ctx, t, schema)
		if err != nil {
			return err
		}
		for _, m := range steps {
			if slices.Contains(done, m.version) {
				continue
			}
			// Without parameters a text may hold several statements.
			if _, err := t.Conn().PgConn().Exec(ctx, m.text).ReadAll(); err != nil {
				return fmt.Errorf("migration %d (%s): %w", m.version, m.name, err)
			}
			if _, err := t.Exec(ctx, "INSERT INTO schema_migrations (version, name) VALUES ($1, $2)", m.version, m.name); err != nil {
				return err
			}
		}
		if last := steps[len(steps)-1].version; len(done) > 0 && slices.Max(done) > last {
			s.warn("the database's schema is of version %d, and this program knows %d: a newer node has been here; this one goes on, replace it soon", slices.Max(done), last)
		}
		return nil
	})
}

// migrated makes the schema where it is not there yet, and returns which steps have
// been taken.
func migrated(ctx context.Context, t pgx.Tx, schema string) ([]int, error) {
	var known bool
	if schema != "" {
		// A user that owns its schema may not be allowed to create any.
		if err := t.QueryRow(ctx, "SELECT to_regnamespace($1) IS NOT NULL", schema).Scan(&known); err != nil {
			return nil, err
		}
		if !known {
			if _, err := t.Exec(ctx, "CREATE SCHEMA "+schema); err != nil {
				return nil, err
			}
		}
	}
	if err := t.QueryRow(ctx, "SELECT to_regclass('schema_migrations') IS NOT NULL").Scan(&known); err != nil {
		return nil, err
	}
	if !known {
		_, err := t.Exec(ctx, "CREATE TABLE schema_migrations (version integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())")
		if err != nil {
			return nil, err
		}
	}
	rows, err := t.Query(ctx, "SELECT version FROM schema_migrations")
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[int])
}
