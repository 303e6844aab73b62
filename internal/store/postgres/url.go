package postgres

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// defaultConns is how many connections a node opens, where the URL does not say
// (pool_max_conns): few, since a database serves all nodes with a few hundred.
const defaultConns = 16

// schemaName is what a schema may be called: it is put into statements as it is.
var schemaName = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`)

// parseURL reads a database URL: how to connect, and which schema is ours ("" is
// the first one of the role's search path). Its errors repeat nothing that may be
// part of a password.
func parseURL(databaseURL string) (cfg *pgxpool.Config, schema string, err error) {
	u, err := url.Parse(databaseURL)
	var q url.Values
	if err == nil {
		q, err = url.ParseQuery(u.RawQuery)
	}
	// A password with a character that means something in URLs may have become a part
	// of what follows, which is shown.
	if err != nil || strings.Contains(u.EscapedPath()+u.RawQuery, "@") || u.Fragment != "" {
		return nil, "", errors.New("--database is no URL: write it as postgres://USER:PASSWORD@HOST/DATABASE, and a character that means something in URLs as %XX")
	}
	if schema = q.Get("schema"); q.Has("schema") {
		if !schemaName.MatchString(schema) {
			return nil, "", fmt.Errorf("--database names the schema %q: choose a name of lower-case letters, digits and _", schema)
		}
		q.Del("schema")
		u.RawQuery = q.Encode()
	}
	if cfg, err = pgxpool.ParseConfig(u.String()); err != nil {
		return nil, "", fmt.Errorf("--database cannot be understood%s: write it as postgres://USER:PASSWORD@HOST/DATABASE", why(err, u))
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

// why is what the driver says is wrong with a URL, without the URL, or "" where it
// repeats something of a password.
func why(err error, u *url.URL) string {
	text := err.Error()
	if i := strings.LastIndex(text, "`: "); i >= 0 {
		text = text[i+len("`: "):]
	}
	given, _ := u.User.Password()
	for _, secret := range append([]string{given}, append(u.Query()["password"], u.Query()["sslpassword"]...)...) {
		if secret != "" && (strings.Contains(text, secret) || strings.Contains(text, url.QueryEscape(secret)) || strings.Contains(text, url.PathEscape(secret))) {
			return ""
		}
	}
	return ": " + text
}
