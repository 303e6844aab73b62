package main

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// seedSQL writes a long log into a server's database, far faster than the server
// could: its statements follow the schema of internal/store/sqlite.
//
//go:embed seed.sql
var seedSQL string

// longLog measures a server whose log is long, beside the same server without.
func longLog(b *bench) error {
	w, err := b.newWorld("log")
	if err != nil {
		return err
	}
	if err := w.team(everyday.agents); err != nil {
		return err
	}
	if _, _, err := w.delivered(func() (int64, error) { return w.fill(12_000, everyday.event) }); err != nil {
		return err
	}
	empty, err := w.rate("/v1/events", 1, everyday.event)
	if err != nil {
		return err
	}
	if err := w.srv.stop(); err != nil {
		return err
	}
	start := time.Now()
	if err := seed(w.dbFile, b.Log); err != nil {
		return err
	}
	fmt.Printf("  (%d deliveries written in %.0f s)\n", b.Log, time.Since(start).Seconds())
	w.sent += int64(b.Log)
	if err := w.startServer(); err != nil {
		return err
	}
	// Memory is cold after the start: one run to warm it.
	if _, _, err := w.delivered(func() (int64, error) { return w.fill(12_000, everyday.event) }); err != nil {
		return err
	}
	full, err := w.rate("/v1/events", 1, everyday.event)
	if err != nil {
		return err
	}
	share := full.perSecond / empty.perSecond
	b.add(fmt.Sprintf("throughput with %d deliveries in the log", b.Log), "≥ 0.8 of that with none", fmt.Sprintf("%.2f (%.0f/s, with none %.0f/s)", share, full.perSecond, empty.perSecond), met(share >= 0.8))
	for _, path := range []string{"/v1/webhooks/deliveries?limit=50", "/v1/webhooks/deliveries/stats", "/v1/webhooks/deliveries/all-time"} {
		var seen waits
		for range 200 {
			start := time.Now()
			if err := w.api.call("GET", path, nil, nil); err != nil {
				return err
			}
			seen = append(seen, time.Since(start))
		}
		slices.Sort(seen)
		b.add("GET "+path+" there", "≤ 20 ms", seen.String(), met(seen.quantile(0.99) <= 20*time.Millisecond))
	}
	return w.close()
}

// seed writes n ended deliveries into a database that no server has open.
func seed(file string, n int) error {
	conn, err := sqlite.OpenConn(file, sqlite.OpenReadWrite)
	if err != nil {
		return err
	}
	defer conn.Close()
	for statement := range strings.SplitSeq(seedSQL, ";\n") {
		if statement = strings.TrimSpace(statement); statement == "" {
			continue
		}
		options := &sqlitex.ExecOptions{}
		if strings.Contains(statement, "?1") {
			options.Args = []any{n}
		}
		if err := sqlitex.ExecuteTransient(conn, statement, options); err != nil {
			return fmt.Errorf("%w in %s", err, statement)
		}
	}
	return nil
}
