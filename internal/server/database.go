package server

import (
	"fmt"
	"net/url"
	"strings"
)

// The kinds of database that there are.
const (
	databaseSQLite   = "sqlite"
	databasePostgres = "postgres"
)

// parseDatabase reads a database URL: its kind, and for SQLite the path of the file,
// for PostgreSQL the URL itself. Its errors repeat nothing of a URL that may have a
// password in it.
func parseDatabase(raw string) (kind, rest string, err error) {
	scheme, rest, ok := strings.Cut(raw, ":")
	switch {
	case !ok || rest == "" || strings.ContainsAny(scheme, "/@? "):
		return "", "", fmt.Errorf("--database is no database URL: write it as sqlite:FILE or postgres://HOST/NAME")
	case scheme == "sqlite":
		rest = strings.TrimPrefix(rest, "//")
		if rest == "" || strings.ContainsRune(rest, 0) {
			return "", "", fmt.Errorf("--database names no file: write it as sqlite:FILE")
		}
		return databaseSQLite, rest, nil
	case scheme == "postgres" || scheme == "postgresql":
		u, err := url.Parse(raw)
		if err != nil || u.Opaque != "" || !strings.HasPrefix(rest, "//") {
			return "", "", fmt.Errorf("--database cannot be read: write it as postgres://USER@HOST/NAME, with what is special in a password percent-encoded")
		}
		return databasePostgres, raw, nil
	}
	return "", "", fmt.Errorf("--database has the unknown scheme %.20q: write it as sqlite:FILE or postgres://HOST/NAME", scheme)
}
