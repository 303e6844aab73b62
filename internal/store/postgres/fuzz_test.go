package postgres

// This file stands alone: .ci/fuzz builds it without the package's other files.
// With: url.go

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestParseURL(t *testing.T) {
	cfg, schema, err := parseURL("postgres://u:hunter2%40@h:5433/d?schema=kept&sslmode=disable")
	if err != nil || schema != "kept" || cfg.ConnConfig.Host != "h" || cfg.ConnConfig.Port != 5433 || cfg.ConnConfig.Password != "hunter2@" ||
		cfg.MaxConns != defaultConns || cfg.ConnConfig.ConnectTimeout != 5*time.Second || cfg.ConnConfig.RuntimeParams["search_path"] != "kept" ||
		cfg.ConnConfig.RuntimeParams["application_name"] != "switchhook" {
		t.Errorf("%+v %q %v", cfg, schema, err)
	}
	cfg, schema, err = parseURL("postgres://h1:1,h2:2/d?pool_max_conns=3&connect_timeout=9&application_name=x&target_session_attrs=read-write&sslmode=disable")
	if err != nil || schema != "" || cfg.MaxConns != 3 || cfg.ConnConfig.ConnectTimeout != 9*time.Second || len(cfg.ConnConfig.Fallbacks) != 1 ||
		cfg.ConnConfig.RuntimeParams["application_name"] != "x" || cfg.ConnConfig.RuntimeParams["search_path"] != "" {
		t.Errorf("%+v %q %v", cfg, schema, err)
	}
	for url, words := range map[string]string{
		"postgres://u:hunter2@h:port/d":                          "no URL",
		"postgres://u:hunter2%@h/d":                              "no URL",
		"postgres://u:12/hunter2@h/d":                            "no URL",
		"postgres://u:12?hunter2@h/d":                            "no URL",
		"postgres://u:12#hunter2@h/d":                            "no URL",
		"postgres://u:hunter2@h/d?schema=A%3BDROP":               "names the schema",
		"postgres://u:hunter2@h/d?schema=":                       "names the schema",
		"postgres://u:hunter2@h/d?sslmode=perhaps":               "sslmode",
		"postgres://u:hunter2@h/d?schema=A;DROP":                 "no URL",
		"postgres://u:hunter2@h/d?pool_max_conns=hunter2":        "cannot be understood: write",
		"postgres://u:hunter2@h/d?sslrootcert=/none/ca.pem":      "/none/ca.pem",
		"postgres://u:hunter2@h/d?pool_max_conns=many":           "pool_max_conns",
		"postgres://u@h/d?password=hunter2&connect_timeout=soon": "connect_timeout",
	} {
		_, _, err := parseURL(url)
		if err == nil || !strings.Contains(err.Error(), words) || !strings.Contains(err.Error(), "--database") || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// FuzzParseURL: no part of a password gets into an error, or into what is shown of
// a connection, however the rest of the URL is written.
func FuzzParseURL(f *testing.F) {
	for _, parts := range [][4]string{
		{"", "", "h", ""}, {"%", "", "h:1,h2:2", "sslmode=disable"}, {"12/", "", "h", ""}, {"12?x=", "", "h", "schema=x"}, {"x@h/", "#", "h", "schema=%"},
		{"", "/", "h", "sslmode=x"}, {"`: ", "", "h:x", "pool_max_conns=x"}, {"[::1", "]", "h", "connect_timeout=-1"}, {":", "\n", "", "sslrootcert=x"},
	} {
		f.Add(parts[0], parts[1], parts[2], parts[3])
	}
	f.Fuzz(func(t *testing.T, before, after, host, query string) {
		// A word in the password that no sentence has.
		const secret = "kX9-secret-word-vT3"
		cfg, schema, err := parseURL("postgres://user:" + before + secret + after + "@" + host + "/d?" + query)
		if err != nil {
			if strings.Contains(err.Error(), secret) {
				t.Fatalf("%q repeats the password", err)
			}
			return
		}
		c := cfg.ConnConfig
		if shown := fmt.Sprint(c.Host, c.Database, c.User, c.RuntimeParams, schema); strings.Contains(shown, secret) {
			t.Fatalf("a part of the password is taken for something else: %q", shown)
		}
	})
}
