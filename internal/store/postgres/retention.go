package postgres

import (
	"context"
	"time"

	"switchhook.dev/switchhook/internal/phone"
)

// pruneSlice is how many deliveries one transaction drops: a few milliseconds.
const pruneSlice = 200

// Prune drops a slice of the deliveries that ended and were made before a time,
// with their attempts and bodies, and of the events that were delivered to
// nobody. Counters, conversations and their messages stay, and so does what is
// pending. after is where the last slice ended, "" to begin; the answer is where
// this one did, "" where nothing is left.
func (s *Store) Prune(ctx context.Context, before time.Time, after string) (next string, err error) {
	cut := phone.FirstID(before)
	var projects, ids []string
	events := 0
	err = s.write(ctx, func(t *tx) error {
		projects, ids, events = nil, nil, 0
		later(t, "dropEvents", func(*row) error { events++; return nil }, phone.PrefixEvent+cut, pruneSlice)
		err := each(t, "dropEnded", func(r *row) error {
			projects, ids = append(projects, r.text()), append(ids, r.text())
			return nil
		}, phone.PrefixDelivery+cut, pruneSlice)
		if err != nil || len(ids) == 0 {
			return err
		}
		return exec(t, "dropAttempts", projects, ids)
	})
	if err != nil || len(ids) == 0 && events == 0 {
		return "", err
	}
	return phone.PrefixDelivery + cut, nil
}
