package postgres

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"switchhook.dev/switchhook/internal/phone"
)

const (
	// pruneSlice is how many pages of a partition one transaction goes through: a
	// thousand deliveries or so.
	pruneSlice = 64
	// pruneLook bounds the pages that one call goes through without finding anything.
	pruneLook = 64 * pruneSlice
)

// Prune drops what ended and was made before a time, with its attempts and bodies,
// and events that were delivered to nobody. Counters, conversations and their
// messages stay, and so does what is pending.
//
// A week that is over is dropped as a whole, which costs nothing, where nothing of
// it is pending. Otherwise its rows are dropped one by one, a slice with each call:
// where something is pending, and in the week that the time is in, if so little is
// to be kept that a week more would be much.
//
// after is where the last slice ended, "" to begin; the answer is where this one
// did, "" where nothing is left.
func (s *Store) Prune(ctx context.Context, before time.Time, after string) (next string, err error) {
	if after == "" {
		if err := s.dropWeeks(ctx, before); err != nil {
			return "", err
		}
	}
	all, err := s.partitions(ctx)
	if err != nil {
		return after, err
	}
	name, from := readPlace(after)
	for _, p := range all {
		if p.table == "attempts" || p.name < name || !slicedBy(p, before) {
			continue
		}
		page := int64(0)
		if p.name == name {
			page = from
		}
		for looked := int64(0); page < p.pages; looked += pruneSlice {
			n, err := s.dropSlice(ctx, p, before, page)
			if err != nil {
				return after, err
			}
			page += pruneSlice
			if n > 0 || looked > pruneLook {
				return p.name + " " + strconv.FormatInt(page, 10), nil
			}
		}
	}
	return "", nil
}

// readPlace reads where a slice ended: a partition, and a page of it.
func readPlace(place string) (name string, page int64) {
	name, number, _ := strings.Cut(place, " ")
	page, _ = strconv.ParseInt(number, 10, 64)
	return name, page
}

// slicedBy says whether rows of a partition are dropped one by one. The tables'
// partitions are gone through in the order of their names.
func slicedBy(p partition, before time.Time) bool {
	switch {
	case p.start.IsZero():
		return true
	case !p.end().After(before):
		return true // it is still there because something in it is pending
	}
	return p.start.Before(before) && time.Since(before) < 2*partitionSpan
}

// dropWeeks drops the partitions that are over and hold nothing pending.
func (s *Store) dropWeeks(ctx context.Context, before time.Time) error {
	all, err := s.partitions(ctx)
	if err != nil {
		return err
	}
	for _, p := range all {
		if p.table != "deliveries" || p.start.IsZero() || p.end().After(before) {
			continue
		}
		err := s.write(ctx, func(t *tx) error {
			exec(t, "patience")
			// From here on nobody can make one of it pending again.
			err := eachText(t, "LOCK TABLE "+p.name+" IN ACCESS EXCLUSIVE MODE", nothing)
			if err != nil {
				return err
			}
			pending := false
			q := "SELECT true FROM " + p.name + " WHERE status = 'pending' LIMIT 1"
			if err := eachText(t, q, func(*row) error { pending = true; return nil }); err != nil || pending {
				return err
			}
			q = fmt.Sprintf("DROP TABLE %s, %s, %s", p.name, partitionName("attempts", p.start), partitionName("events", p.start))
			return eachText(t, q, nothing)
		})
		if code := codeOf(err); code == codeLockNotAvailable || code == codeUndefinedTable {
			continue // busy: another time; or another node was first
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func nothing(*row) error { return nil }

// dropSlice drops what is to go of some pages of a partition, and says how much.
func (s *Store) dropSlice(ctx context.Context, p partition, before time.Time, page int64) (n int, err error) {
	prefix, keep := phone.PrefixDelivery, " AND status <> 'pending'"
	if p.table == "events" {
		prefix, keep = phone.PrefixEvent, ""
	}
	q := "DELETE FROM " + p.name + " WHERE ctid >= ?::text::tid AND ctid < ?::text::tid AND id < ?" + keep + " RETURNING project_id, id"
	err = s.write(ctx, func(t *tx) error {
		var projects, ids []string
		err := eachText(t, q, func(r *row) error {
			projects, ids = append(projects, r.text()), append(ids, r.text())
			return nil
		}, fmt.Sprintf("(%d,0)", page), fmt.Sprintf("(%d,0)", page+pruneSlice), prefix+phone.FirstID(before))
		if n = len(ids); err != nil || n == 0 || p.table == "events" {
			return err
		}
		return exec(t, "dropAttempts", projects, ids)
	})
	return n, err
}
