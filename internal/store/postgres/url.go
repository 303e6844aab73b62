package postgres

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// schemaName is what a schema may be called: it is put into statements as it is.
var schemaName = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`)

// parseURL reads a database URL: how to connect, and which schema is ours ("" is
// the first one of the role's search path).
func parseURL(databaseURL string) (cfg *pgxpool.Config, schema string, err error) {
	u, err := url.Parse(databaseURL)
	if err != nil {
		// The error holds the URL, and the URL a password.
		return nil, "", errors.New("--database is no URL: write it as postgres://USER:PASSWORD@HOST/DATABASE, and a character that means something in URLs as %XX")
	}
	q := u.Query()
	if schema = q.Get("schema"); q.Has("schema") {
		if !schemaName.MatchString(schema) {
			return nil, "", fmt.Errorf("--database names the schema %q: choose a name of lower-case letters, digits and _", schema)
		}
		q.Del("schema")
		u.RawQuery = q.Encode()
	}
	if cfg, err = pgxpool.ParseConfig(u.String()); err != nil {
		return nil, "", fmt.Errorf("--database cannot be understood: %w: write it as postgres://USER:PASSWORD@HOST/DATABASE", err)
	}
	if !q.Has("pool_max_conns") {
		cfg.MaxConns = defaultConns
	}
	if !q.Has("connect_timeout") {
		cfg.ConnConfig.ConnectTimeout = 5 * time.Second
	}
	if schema != "" {
		cfg.ConnConfig.RuntimeParams["search_path"] = schema
	}
	if cfg.ConnConfig.RuntimeParams["application_name"] == "" {
		cfg.ConnConfig.RuntimeParams["application_name"] = "switchhook"
	}
	return cfg, schema, nil
}
