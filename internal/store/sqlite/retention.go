package sqlite

import (
	"context"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"zombiezen.com/go/sqlite"
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
	var ids []string
	err = s.readLoose(ctx, func(c *sqlite.Conn) error {
		return each(c, "endedBefore", func(r *row) error { ids = append(ids, r.text()); return nil },
			phone.PrefixDelivery+cut, after, pruneSlice)
	})
	if err != nil {
		return after, err
	}
	events := 0
	err = s.writeHot(ctx, func(t *tx) error {
		events = 0
		if err := t.catchUp(); err != nil {
			return err
		}
		for _, id := range ids {
			// One that was replayed since it was looked at stays.
			j, known := jobRow{}, false
			known, err := one(t.Conn, "job", func(r *row) { j = readJob(r) }, id)
			if err != nil {
				return err
			}
			if !known || j.status == phone.Pending {
				continue
			}
			if err := exec(t.Conn, "dropAttempts", id); err != nil {
				return err
			}
			if err := exec(t.Conn, "dropDelivery", id); err != nil {
				return err
			}
			if err := exec(t.Conn, "unlistDelivery", j.AgentID, micros(j.CreatedAt), id); err != nil {
				return err
			}
		}
		return each(t.Conn, "dropEvents", func(*row) error { events++; return nil }, phone.PrefixEvent+cut, pruneSlice)
	})
	switch {
	case err != nil:
		return after, err
	case len(ids) > 0:
		return ids[len(ids)-1], nil
	case events > 0:
		return phone.PrefixDelivery + cut, nil
	}
	return "", nil
}
