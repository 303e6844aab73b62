package sqlite

import (
	"context"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
	"zombiezen.com/go/sqlite"
)

type countKey struct {
	project string
	hour    int64
	event   string
}

type countDelta struct{ success, failed, pending int }

func (d *countDelta) move(s phone.DeliveryStatus, n int) {
	switch s {
	case phone.Success:
		d.success += n
	case phone.Failed:
		d.failed += n
	case phone.Pending:
		d.pending += n
	}
}

const microsPerHour = int64(time.Hour / time.Microsecond)

// counter adds the changes of a transaction up; they are written with its commit.
type counter map[countKey]*countDelta

// count notes that n deliveries of an event type, created at one time, move from
// a state to another; "" is "did not exist".
func (t *tx) count(project string, createdAt int64, event string, from, to phone.DeliveryStatus, n int) {
	k := countKey{project, createdAt / microsPerHour, event}
	d := t.counts[k]
	if d == nil {
		d = &countDelta{}
		t.counts[k] = d
	}
	d.move(from, -n)
	d.move(to, n)
}

func (c counter) flush(conn *sqlite.Conn) error {
	for k, d := range c {
		if *d == (countDelta{}) {
			continue
		}
		if err := exec(conn, "addHourly", k.project, k.hour, k.event, d.success, d.failed, d.pending); err != nil {
			return err
		}
		if err := exec(conn, "addTotal", k.project, d.success, d.failed, d.pending); err != nil {
			return err
		}
	}
	return nil
}

// Stats returns the counts of the hours from since on, oldest first.
func (s *Store) Stats(ctx context.Context, projectID string, since time.Time) ([]store.HourCount, error) {
	var out []store.HourCount
	err := s.read(ctx, func(c *sqlite.Conn) error {
		return each(c, "hourly", func(r *row) error {
			out = append(out, store.HourCount{
				Hour:      time.Unix(r.int64()*3600, 0).UTC(),
				EventType: phone.EventType(r.text()),
				Counts:    store.Counts{Success: r.int(), Failed: r.int(), Pending: r.int()},
			})
			return nil
		}, projectID, since.Unix()/3600)
	})
	return out, err
}

// Totals returns the counts since the beginning.
func (s *Store) Totals(ctx context.Context, projectID string) (store.Counts, error) {
	var out store.Counts
	err := s.read(ctx, func(c *sqlite.Conn) error {
		_, err := one(c, "totals", func(r *row) {
			out = store.Counts{Success: r.int(), Failed: r.int(), Pending: r.int()}
		}, projectID)
		return err
	})
	return out, err
}
