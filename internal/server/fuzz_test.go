package server

// This file stands alone: .ci/fuzz builds it without the package's other files.
// With: database.go

import (
	"strings"
	"testing"
)

func TestParseDatabase(t *testing.T) {
	for raw, want := range map[string][2]string{
		"sqlite:x.db": {"sqlite", "x.db"}, "sqlite:///var/x.db": {"sqlite", "/var/x.db"}, "sqlite:/var/x.db": {"sqlite", "/var/x.db"}, "sqlite:a:b": {"sqlite", "a:b"},
		"postgres://h/d": {"postgres", "postgres://h/d"}, "postgresql://u:p@h:5/d?sslmode=disable": {"postgres", "postgresql://u:p@h:5/d?sslmode=disable"},
		"postgres:///d?host=/run": {"postgres", "postgres:///d?host=/run"},
		"":                        {}, "x.db": {}, "sqlite:": {}, "sqlite://": {}, "mysql://h/d": {}, "postgres:h": {}, "postgres://h:port/d": {}, "postgres://u:hunter2-hunter2%@h/d": {}, "//u:hunter2-hunter2@h/d": {},
	} {
		kind, rest, err := parseDatabase(raw)
		if kind != want[0] || rest != want[1] || (err == nil) != (want[0] != "") {
			t.Errorf("%q: %q %q %v", raw, kind, rest, err)
		}
		if err != nil && (!strings.Contains(err.Error(), "--database") || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("%q: %v", raw, err)
		}
	}
}

// FuzzDatabaseURL: a URL is of a known kind or refused, and no error has the
// password in it.
func FuzzDatabaseURL(f *testing.F) {
	for _, s := range []string{"sqlite:x.db", "sqlite://", "postgres://u:PASSWORD@h/d", "postgres://u:PASSWORD@h:x/d", "postgres:u:PASSWORD@h", "PASSWORD:x", "mysql://u:PASSWORD@h", "", ":", "postgres://u:PASSWORD%zz@h/d", "PASSWORD@h:1", "PASSWORD:PASSWORD"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		// A word in the place of a password that no sentence of ours has.
		const password = "kX9-secret-word-vT3"
		scheme, _, _ := strings.Cut(raw, ":")
		raw = strings.ReplaceAll(raw, "PASSWORD", password)
		kind, rest, err := parseDatabase(raw)
		if err != nil {
			// A scheme is repeated: it is no place for a password.
			if !strings.Contains(scheme, "PASSWORD") && strings.Contains(err.Error(), password) {
				t.Fatalf("%q repeats the password", err)
			}
			return
		}
		if kind != databaseSQLite && kind != databasePostgres || rest == "" || !strings.Contains(raw, rest) {
			t.Fatalf("%q is %q %q", raw, kind, rest)
		}
	})
}
