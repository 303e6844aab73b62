package server

import (
	"context"
	"time"

	"switchhook.dev/switchhook/internal/api"
	"switchhook.dev/switchhook/internal/dashboard"
	"switchhook.dev/switchhook/internal/deliver"
	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/pulse"
	"switchhook.dev/switchhook/internal/store"
	"switchhook.dev/switchhook/internal/switchboard"
)

// Store is what the server needs of a store: what its parts need, and what it
// does with it itself.
type Store interface {
	api.Store
	dashboard.Store
	switchboard.Store
	deliver.Store
	pulse.Store

	FirstProject(ctx context.Context) (phone.Project, bool, error)
	CreateFirstProject(ctx context.Context, p phone.Project, k phone.Key) (made bool, err error)
	Prune(ctx context.Context, before time.Time, after string) (next string, err error)
	// Whatever answers a webhook is wrapped in sealed.go.
	Secrets(ctx context.Context) ([]store.Secret, error)
	ReplaceSecrets(ctx context.Context, old store.Secret, secret, previous string) error
	RemoveListeners(ctx context.Context, owner string, at time.Time) error
	Close() error
}
