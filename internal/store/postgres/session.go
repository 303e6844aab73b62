package postgres

import (
	"context"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
)

// CreateSession adds a session, and drops those that have run out.
func (s *Store) CreateSession(ctx context.Context, v store.Session) error {
	return s.write(ctx, func(t *tx) error {
		if err := exec(t, "dropSessions", micros(v.CreatedAt)); err != nil {
			return err
		}
		return exec(t, "insertSession", v.ProjectID, v.Hash[:], v.KeyHash[:], micros(v.CreatedAt), micros(v.ExpiresAt))
	})
}

// Session returns a session; NotFound where it is unknown, ended or run out.
// Whether its key is still good is for KeyByHash to say.
func (s *Store) Session(ctx context.Context, projectID string, hash [32]byte, now time.Time) (v store.Session, err error) {
	err = s.readOne(ctx, func(c *tx) error {
		ok, err := one(c, "session", func(r *row) {
			v.ProjectID = r.text()
			copy(v.Hash[:], r.bytes())
			copy(v.KeyHash[:], r.bytes())
			v.CreatedAt, v.ExpiresAt = fromMicros(r.int64()), fromMicros(r.int64())
		}, projectID, hash[:], micros(now))
		if err == nil && !ok {
			return phone.Errorf(phone.NotFound, "this session has ended: sign in again")
		}
		return err
	})
	return v, err
}

// EndSession ends a session; one that is gone already is no error.
func (s *Store) EndSession(ctx context.Context, projectID string, hash [32]byte) error {
	return s.write(ctx, func(t *tx) error { return exec(t, "deleteSession", projectID, hash[:]) })
}
