package pulse

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
)

// book keeps minutes as a store does.
type book struct {
	mu      sync.Mutex
	pending int
	writes  int
	rows    map[string]store.Minute
}

func (b *book) Totals(context.Context, string) (store.Counts, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return store.Counts{Pending: b.pending}, nil
}

func (b *book) SaveMinutes(_ context.Context, _ string, minutes []store.Minute, _ time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.writes++
	for _, m := range minutes {
		b.rows[m.ProjectID+m.At.Format("15:04")] = m
	}
	return nil
}

func taken(projects ...string) ([]*phone.NewEvent, []phone.Accepted) {
	var events []*phone.NewEvent
	for _, p := range projects {
		events = append(events, &phone.NewEvent{ProjectID: p})
	}
	return events, make([]phone.Accepted, len(projects))
}

// Whatever is counted is written, in the minute it happened in, and no more often
// than every few seconds.
func TestEverythingCountedIsWrittenInItsMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{rows: map[string]store.Minute{}}
		p := New(b, slog.New(slog.DiscardHandler))
		p.Start(t.Context())
		// 00:00 in synctest's time. 1000 events in 100 s: 600 of them in the first minute.
		for range 1000 {
			p.Accepted(taken("a"))
			time.Sleep(100 * time.Millisecond)
		}
		refused, out := taken("a", "a")
		out[0].Err, out[1].Duplicate = context.Canceled, true
		p.Accepted(refused, out)
		accepted := time.Now()
		p.Recorded([]*phone.Result{
			{Job: &phone.Job{ProjectID: "b", CreatedAt: accepted}, Status: phone.Success, Attempt: phone.Attempt{SentAt: accepted.Add(time.Second), Timing: phone.Timing{FirstByte: time.Second}}},
			{Job: &phone.Job{ProjectID: "b", Attempts: 1}, Status: phone.Failed, Attempt: phone.Attempt{Timing: phone.Timing{FirstByte: time.Second}}},
			{Job: &phone.Job{ProjectID: "b"}, Status: phone.Pending},
			{Job: &phone.Job{ProjectID: "b"}, Status: phone.Success},
		}, []store.Recorded{{Applied: true}, {Applied: true}, {Applied: true}, {}})
		p.Stop(t.Context())
		if first, second := b.rows["a00:00"], b.rows["a00:01"]; first.Accepted != 600 || second.Accepted != 400 {
			t.Errorf("%d and %d accepted, want 600 and 400", first.Accepted, second.Accepted)
		}
		got := b.rows["b00:01"]
		if got.Attempts != 4 || got.Success != 1 || got.Failed != 1 || got.Latency.Count() != 1 {
			t.Errorf("%+v", got)
		}
		if q := got.Latency.Quantile(1); q < 1500*time.Millisecond || q > 3*time.Second {
			t.Errorf("the one time was 2 s, not %v", q)
		}
		if b.writes > 25 {
			t.Errorf("%d writes in 100 s", b.writes)
		}
	})
}

// What waits is part of every minute, whether or not anything happens; once
// nothing does, nothing is written.
func TestWhatWaitsIsWrittenEachMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{rows: map[string]store.Minute{}, pending: 7}
		p := New(b, slog.New(slog.DiscardHandler))
		p.Start(t.Context())
		p.Accepted(taken("a"))
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		b.mu.Lock()
		if b.rows["a00:00"].Pending != 7 || b.rows["a00:02"].Pending != 7 || b.rows["a00:02"].Accepted != 0 {
			t.Errorf("%+v", b.rows)
		}
		b.pending = 0
		b.mu.Unlock()
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		b.mu.Lock()
		before := b.writes
		b.mu.Unlock()
		time.Sleep(time.Hour)
		p.Stop(t.Context())
		if b.writes != before {
			t.Errorf("%d writes while nothing happens and nothing waits", b.writes-before)
		}
	})
}
