package postgres

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
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

// allTime is the hour of the total of all time.
const allTime = -1

// Slots keep apart transactions of a node that go on at once.
const (
	slotAccept = iota
	slotRecord
	slotOther
	slotKinds
)

// nodeSlots is over how many slots of each kind runs are spread.
const nodeSlots = 64

func (s *Store) slot(kind int64) int64 { return s.run.Load()%nodeSlots*slotKinds + kind }

// flush keeps the statements back that write what was counted.
func (c counter) flush(t *tx, slot int64) {
	projects := map[string]map[countKey]countDelta{}
	for k, d := range c {
		if *d == (countDelta{}) {
			continue
		}
		rows := projects[k.project]
		if rows == nil {
			rows = map[countKey]countDelta{}
			projects[k.project] = rows
		}
		rows[k] = *d
		total := countKey{project: k.project, hour: allTime}
		sum := rows[total]
		rows[total] = countDelta{sum.success + d.success, sum.failed + d.failed, sum.pending + d.pending}
	}
	for _, project := range slices.Sorted(maps.Keys(projects)) {
		rows := projects[project]
		keys := slices.SortedFunc(maps.Keys(rows), func(a, b countKey) int {
			return cmp.Or(cmp.Compare(a.hour, b.hour), cmp.Compare(a.event, b.event))
		})
		exec(t, "addCounts", project, slot,
			column(keys, func(k countKey) int64 { return k.hour }), column(keys, func(k countKey) string { return k.event }),
			column(keys, func(k countKey) int { return rows[k].success }), column(keys, func(k countKey) int { return rows[k].failed }),
			column(keys, func(k countKey) int { return rows[k].pending }))
	}
}

// column is one column of rows, as a parameter.
func column[R, V any](rows []R, value func(R) V) []V {
	out := make([]V, len(rows))
	for i, r := range rows {
		out[i] = value(r)
	}
	return out
}

// Stats returns the counts of the hours from since on, oldest first.
func (s *Store) Stats(ctx context.Context, projectID string, since time.Time) ([]store.HourCount, error) {
	var out []store.HourCount
	err := s.read(ctx, func(c *tx) error {
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
	err := s.read(ctx, func(c *tx) error {
		_, err := one(c, "totals", func(r *row) {
			out = store.Counts{Success: r.int(), Failed: r.int(), Pending: r.int()}
		}, projectID)
		return err
	})
	return out, err
}
