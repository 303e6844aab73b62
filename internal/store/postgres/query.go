package postgres

import (
	"embed"
	"strings"
)

//go:embed sql/*.sql
var sqlFiles embed.FS

// queries are the statements of sql/*.sql, by the name in their "-- name:" line.
// Their comments stay out of what is sent.
var queries = loadQueries()

func loadQueries() map[string]string {
	m := map[string]string{}
	entries, err := sqlFiles.ReadDir("sql")
	if err != nil {
		panic(err)
	}
	for _, e := range entries {
		b, err := sqlFiles.ReadFile("sql/" + e.Name())
		if err != nil {
			panic(err)
		}
		for _, part := range strings.Split(string(b), "-- name: ")[1:] {
			name, body, _ := strings.Cut(part, "\n")
			var statement []string
			for line := range strings.SplitSeq(body, "\n") {
				if line != "" && !strings.HasPrefix(line, "-- ") {
					statement = append(statement, line)
				}
			}
			m[strings.TrimSpace(name)] = strings.Join(statement, "\n")
		}
	}
	return m
}

func query(name string) string {
	q, ok := queries[name]
	if !ok {
		panic("postgres: no query is named " + name)
	}
	return q
}
