package postgres

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
)

// Record writes what came of attempts, in one transaction. Where a webhook was
// disabled by it, Settle is to be called after.
func (s *Store) Record(ctx context.Context, results []*phone.Result) (out []store.Recorded, err error) {
	if out, apart, err := s.recordApart(ctx, results); apart {
		return out, err
	}
	err = s.writeIn(ctx, slotRecord, func(t *tx) error {
		out = make([]store.Recorded, len(results))
		rest := make([]recording, len(results))
		disabling := map[string]bool{}
		for i, r := range results {
			rest[i] = recording{r, &out[i]}
			if r.DisableWebhook {
				disabling[r.Job.ProjectID] = true
			}
		}
		for _, p := range slices.Sorted(maps.Keys(disabling)) {
			t.lockProject(p)
		}
		rest, err := s.leaveOutRecorded(t, rest)
		if err != nil {
			return err
		}
		// A delivery has one attempt at a time, but one by hand may come in between:
		// then there is another round.
		for len(rest) > 0 {
			var now []recording
			now, rest = firstOfEach(rest)
			if err := record(t, now); err != nil {
				return err
			}
		}
		for _, r := range results {
			if err := disableGone(ctx, t, r); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		s.recorded(results)
	} else if errors.Is(err, errInDoubt) {
		s.perhapsRecorded(results)
	}
	return out, err
}

// recording is a result on its way to the record.
type recording struct {
	*phone.Result
	out *store.Recorded
}

func (r recording) id() string { return r.Job.DeliveryID }

// of says whether an attempt was made by a run. What an earlier run of this process
// sent is logged and nothing more: the delivery has become another's.
func (r recording) of(run int64) bool { return r.Job.Run == run || r.Job.Run == 0 }

func (r recording) sent() int64 { return micros(r.Attempt.SentAt) }

// firstOfEach takes the first result of each delivery.
func firstOfEach(all []recording) (first, rest []recording) {
	seen := map[string]bool{}
	for _, r := range all {
		if seen[r.id()] {
			rest = append(rest, r)
			continue
		}
		seen[r.id()] = true
		first = append(first, r)
	}
	return first, rest
}

// record moves deliveries to their results, where they are still of the round the
// attempt was made in, and logs the attempts in any case. No delivery occurs twice.
func record(t *tx, all []recording) error {
	left := map[string]recording{}
	for _, r := range all {
		left[r.id()] = r
	}
	applied := func(from phone.DeliveryStatus) func(*row) error {
		return func(row *row) error {
			id := row.text()
			r := left[id]
			delete(left, id)
			*r.out = store.Recorded{Applied: true, Status: r.Status, Number: row.int()}
			t.count(r.Job.ProjectID, micros(r.Job.CreatedAt), string(r.Job.EventType), from, r.Status, 1)
			return nil
		}
	}
	steps := []struct {
		takes func(recording) bool
		send  func(projectID string, rs []recording)
	}{
		{func(r recording) bool { return r.of(t.run) }, func(projectID string, rs []recording) {
			later(t, "recordResults", applied(phone.Pending), projectID, column(rs, recording.id),
				column(rs, func(r recording) int { return r.Job.Round }), column(rs, func(r recording) string { return string(r.Status) }),
				column(rs, recording.sent), column(rs, func(r recording) int64 { return micros(r.NextAttemptAt) }),
				column(rs, func(r recording) []byte { return r.Body }), column(rs, func(r recording) bool { return r.Probe }), t.run, rs[0].id()) // they are sorted
		}},
		{func(r recording) bool { return r.Status == phone.Success && r.of(t.run) }, func(projectID string, rs []recording) {
			later(t, "recordLateSuccesses", applied(phone.Failed), projectID, column(rs, recording.id),
				column(rs, func(r recording) int { return r.Job.Round }), column(rs, recording.sent))
		}},
		{func(recording) bool { return true }, func(projectID string, rs []recording) {
			later(t, "recordLate", func(row *row) error {
				out := left[row.text()].out
				out.Number, out.Status = row.int(), phone.DeliveryStatus(row.text())
				return nil
			}, projectID, column(rs, recording.id), column(rs, recording.sent))
		}},
	}
	for _, s := range steps {
		for _, g := range ofProjects(slices.Collect(maps.Values(left)), s.takes) {
			s.send(g.projectID, g.rows)
		}
		if err := t.flush(); err != nil {
			return err
		}
	}
	// A delivery that is not there any more has no number, and no log.
	for _, g := range ofProjects(all, func(r recording) bool { return r.out.Number > 0 }) {
		insertAttempts(t, g.projectID, g.rows)
	}
	return nil
}

// ofProject is one project's part of a batch.
type ofProject struct {
	projectID string
	rows      []recording
}

// ofProjects groups results, in the order of their projects and ids, which is the
// order in which locks are taken.
func ofProjects(all []recording, takes func(recording) bool) (out []ofProject) {
	groups := map[string][]recording{}
	for _, r := range all {
		if takes(r) {
			groups[r.Job.ProjectID] = append(groups[r.Job.ProjectID], r)
		}
	}
	for _, p := range slices.Sorted(maps.Keys(groups)) {
		slices.SortFunc(groups[p], func(a, b recording) int { return cmp.Compare(a.id(), b.id()) })
		out = append(out, ofProject{p, groups[p]})
	}
	return out
}

func insertAttempts(t *tx, projectID string, all []recording) {
	span := func(of func(phone.Attempt) time.Duration) []int64 {
		return column(all, func(r recording) int64 { return of(r.Attempt).Microseconds() })
	}
	text := func(of func(phone.Attempt) string) []string {
		return column(all, func(r recording) string { return of(r.Attempt) })
	}
	exec(t, "insertAttempts", projectID, column(all, recording.id),
		column(all, func(r recording) int { return r.out.Number }),
		text(func(a phone.Attempt) string { return a.ID }), text(func(a phone.Attempt) string { return a.URL }),
		column(all, recording.sent), span(func(a phone.Attempt) time.Duration { return a.Duration }),
		text(func(a phone.Attempt) string { return a.Legacy }), text(func(a phone.Attempt) string { return a.Standard }),
		column(all, func(r recording) int { return r.Attempt.HTTPStatus }),
		column(all, func(r recording) []byte { return []byte(r.Attempt.Error) }),
		column(all, func(r recording) []byte { return []byte(r.Attempt.ResponseBody) }),
		span(func(a phone.Attempt) time.Duration { return a.Timing.DNS }), span(func(a phone.Attempt) time.Duration { return a.Timing.Connect }),
		span(func(a phone.Attempt) time.Duration { return a.Timing.TLS }), span(func(a phone.Attempt) time.Duration { return a.Timing.FirstByte }))
}

// disableGone disables a webhook whose endpoint answered 410 Gone.
func disableGone(ctx context.Context, t *tx, r *phone.Result) error {
	if !r.DisableWebhook {
		return nil
	}
	w, err := webhookByID(t, r.Job.ProjectID, r.Job.WebhookID)
	if err != nil || w == nil || w.Status == phone.WebhookDisabled || w.URL != r.Attempt.URL {
		// Gone already, or set anew since: the 410 came from where it no longer points.
		return err
	}
	return disableWebhook(ctx, t, *w, w.URL+" answered 410 Gone")
}
