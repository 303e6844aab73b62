package postgres

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
)

// A connection that breaks during a commit leaves its outcome open: PostgreSQL may
// have written it or not. The caller is told that it failed. What it may have left
// behind is looked after here:
//
//   - deliveries that were to be held (by Accept, by Due) are in nobody's memory: as
//     soon as the database answers they are handed back, and whoever asked to be told
//     learns that their webhooks have work;
//   - results are recorded again by the dispatcher, until it succeeds: those that are
//     on record already are recognised by their attempts' ids.
//
// All else may be done twice without harm.

// errInDoubt marks the error of a commit whose outcome is unknown.
var errInDoubt = errors.New("the connection broke during the commit: it is not known whether anything was written")

// doubtPause is the wait before the database is asked again.
const doubtPause = time.Second

// doubts are what is to be looked after.
type doubts struct {
	mu      sync.Mutex
	held    map[string]*phone.Job // perhaps held, by nobody; by delivery
	results map[string]bool       // attempts that are perhaps on record
	busy    bool                  // somebody looks after held
	wake    func(webhookID string)
}

// OnDue has f called with webhooks that have work which no call's answer told of.
func (s *Store) OnDue(f func(webhookID string)) {
	s.doubts.mu.Lock()
	defer s.doubts.mu.Unlock()
	s.doubts.wake = f
}

// perhapsHeld looks after deliveries whose hold is in doubt.
func (s *Store) perhapsHeld(jobs []*phone.Job) {
	s.doubts.mu.Lock()
	defer s.doubts.mu.Unlock()
	if s.doubts.held == nil {
		s.doubts.held = map[string]*phone.Job{}
	}
	for _, j := range jobs {
		s.doubts.held[j.DeliveryID] = j
	}
	if s.doubts.busy || len(s.doubts.held) == 0 {
		return
	}
	s.doubts.busy = true
	s.background.Go(s.settleDoubts)
}

// withoutDoubt leaves out of what is due what is being handed back: it might be so
// once more after it was taken.
func (s *Store) withoutDoubt(rows []dueRow) []dueRow {
	s.doubts.mu.Lock()
	defer s.doubts.mu.Unlock()
	return slices.DeleteFunc(rows, func(j dueRow) bool { return s.doubts.held[j.DeliveryID] != nil })
}

// settleDoubts hands back what is perhaps held, and ends when nothing is left.
func (s *Store) settleDoubts() {
	for {
		s.doubts.mu.Lock()
		jobs := slices.Collect(maps.Values(s.doubts.held))
		if len(jobs) == 0 {
			s.doubts.busy = false
			s.doubts.mu.Unlock()
			return
		}
		wake := s.doubts.wake
		s.doubts.mu.Unlock()
		if err := s.HandBack(context.Background(), jobs); err != nil {
			select {
			case <-time.After(doubtPause):
				continue
			case <-s.closing:
				return // the next run takes them over
			}
		}
		s.doubts.mu.Lock()
		for _, j := range jobs {
			delete(s.doubts.held, j.DeliveryID)
		}
		s.doubts.mu.Unlock()
		woken := map[string]bool{}
		for _, j := range jobs {
			if wake != nil && !woken[j.WebhookID] {
				woken[j.WebhookID] = true
				wake(j.WebhookID)
			}
		}
	}
}

// perhapsRecorded remembers results whose recording is in doubt.
func (s *Store) perhapsRecorded(results []*phone.Result) {
	s.doubts.mu.Lock()
	defer s.doubts.mu.Unlock()
	if s.doubts.results == nil {
		s.doubts.results = map[string]bool{}
	}
	for _, r := range results {
		s.doubts.results[r.Attempt.ID] = true
	}
}

// doubted returns those of results whose recording is in doubt.
func (s *Store) doubted(all []recording) (out []recording) {
	s.doubts.mu.Lock()
	defer s.doubts.mu.Unlock()
	for _, r := range all {
		if s.doubts.results[r.Attempt.ID] {
			out = append(out, r)
		}
	}
	return out
}

// recorded says that results are on record: there is no doubt any more.
func (s *Store) recorded(results []*phone.Result) {
	s.doubts.mu.Lock()
	defer s.doubts.mu.Unlock()
	if len(s.doubts.results) == 0 {
		return
	}
	for _, r := range results {
		delete(s.doubts.results, r.Attempt.ID)
	}
}

// leaveOutRecorded answers those of results that an earlier try has recorded after
// all, and returns the rest.
func (s *Store) leaveOutRecorded(t *tx, all []recording) ([]recording, error) {
	known := map[string]bool{}
	for _, g := range ofProjects(s.doubted(all), func(recording) bool { return true }) {
		byAttempt := map[string]recording{}
		for _, r := range g.rows {
			byAttempt[r.Attempt.ID] = r
		}
		err := each(t, "recordedAlready", func(row *row) error {
			id := row.text()
			r := byAttempt[id]
			known[id] = true
			*r.out = store.Recorded{Number: row.int(), Status: phone.DeliveryStatus(row.text())}
			r.out.Applied = row.int() == r.out.Number && r.out.Status == r.Status
			return nil
		}, g.projectID, column(g.rows, recording.id), column(g.rows, func(r recording) string { return r.Attempt.ID }))
		if err != nil {
			return nil, err
		}
	}
	if len(known) == 0 {
		return all, nil
	}
	rest := all[:0]
	for _, r := range all {
		if !known[r.Attempt.ID] {
			rest = append(rest, r)
		}
	}
	return rest, nil
}
