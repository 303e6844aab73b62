package postgres_test

import (
	"context"
	"sync"
	"testing"

	"switchhook.dev/switchhook/internal/store/postgres"
	"switchhook.dev/switchhook/internal/store/postgres/pgtest"
	"switchhook.dev/switchhook/internal/store/storetest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// TestStore runs the suite as a role that owns its schema, and may do nothing else.
func TestStore(t *testing.T) {
	cluster := pgtest.Shared(t) // or it is left out
	var mu sync.Mutex
	databases := map[string]string{}
	storetest.Run(t, func(t *testing.T, place string) storetest.Store {
		mu.Lock()
		defer mu.Unlock()
		if databases[place] == "" {
			databases[place] = cluster.Plain(t)
		}
		s, err := postgres.Open(context.Background(), databases[place])
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}
