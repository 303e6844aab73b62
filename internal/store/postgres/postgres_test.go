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

func TestStore(t *testing.T) {
	pgtest.URL(t) // or it is left out
	var mu sync.Mutex
	databases := map[string]string{}
	storetest.Run(t, func(t *testing.T, place string) storetest.Store {
		mu.Lock()
		defer mu.Unlock()
		if databases[place] == "" {
			databases[place] = pgtest.URL(t)
		}
		s, err := postgres.Open(context.Background(), databases[place])
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}
