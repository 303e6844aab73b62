// Package pulse counts what happens to each project, by the minute: events taken
// in, attempts, deliveries that ended, and how long first answers took.
//
// It counts in memory, and writes a project's minute to the store every few
// seconds while something happens in it: an event costs a lock and a few
// additions, shared by its group, and the store one row in some seconds, however
// many events there are. What a crash takes with it are the last seconds of a
// plot; the log and its counts rest on nothing here.
package pulse

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
)

const (
	// saveEvery is how often minutes in which something happened are written.
	saveEvery = 5 * time.Second
	// Keep is how long minutes are kept.
	Keep = 8 * 24 * time.Hour
)

// Store is where minutes are kept.
type Store interface {
	SaveMinutes(ctx context.Context, process string, minutes []store.Minute, keep time.Time) error
	Totals(ctx context.Context, projectID string) (store.Counts, error)
}

// Pulse counts. Its methods are safe for concurrent use.
type Pulse struct {
	store   Store
	logger  *slog.Logger
	process string // tells this process's rows from those of others, and of earlier runs

	mu      sync.Mutex
	minutes map[string]*minute // of each project the present one
	over    []store.Minute     // that ended since they were last written

	stop context.CancelFunc
	done sync.WaitGroup
}

// minute is one that is being counted.
type minute struct {
	store.Minute
	changed bool
}

// New returns a pulse that is not written anywhere yet; see Start.
func New(s Store, logger *slog.Logger) *Pulse {
	return &Pulse{store: s, logger: logger, process: uuid.NewString(), minutes: map[string]*minute{}}
}

// Start writes what is counted, every few seconds, until Stop.
func (p *Pulse) Start(ctx context.Context) {
	ctx, p.stop = context.WithCancel(context.WithoutCancel(ctx))
	p.done.Go(func() {
		ticker := time.NewTicker(saveEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			p.save(ctx)
		}
	})
}

// Stop writes what is left and returns. Nothing is to be counted after it.
func (p *Pulse) Stop(ctx context.Context) {
	if p.stop == nil {
		return
	}
	p.stop()
	p.done.Wait()
	p.save(ctx)
}

// of is the minute of a project that a moment lies in. The lock is held.
func (p *Pulse) of(projectID string, now time.Time) *minute {
	at := now.Truncate(time.Minute)
	m := p.minutes[projectID]
	if m == nil || !m.At.Equal(at) {
		if m != nil && m.changed {
			p.over = append(p.over, m.Minute)
		}
		m = &minute{Minute: store.Minute{ProjectID: projectID, At: at}}
		p.minutes[projectID] = m
	}
	m.changed = true
	return m
}

// Accepted counts events that a transaction took in; those that were refused or
// known already do not count.
func (p *Pulse) Accepted(events []*phone.NewEvent, out []phone.Accepted) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, a := range out {
		if a.Err == nil && !a.Duplicate {
			p.of(events[i].ProjectID, now).Accepted++
		}
	}
}

// Recorded counts attempts that are on record.
func (p *Pulse) Recorded(results []*phone.Result, recorded []store.Recorded) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, r := range results {
		m := p.of(r.Job.ProjectID, now)
		m.Attempts++
		if recorded[i].Applied {
			switch r.Status {
			case phone.Success:
				m.Success++
			case phone.Failed:
				m.Failed++
			}
		}
		if a := r.Attempt; r.Job.Attempts == 0 && a.Timing.FirstByte > 0 {
			m.Latency.Observe(max(0, a.SentAt.Sub(r.Job.CreatedAt)) + a.Timing.FirstByte)
		}
	}
}

// save writes the minutes in which something happened since they were written
// last, and those of projects of which something still waits: its number is part
// of the plot, and changes without anything happening here.
func (p *Pulse) save(ctx context.Context) {
	now := time.Now()
	p.mu.Lock()
	changed := p.over
	p.over = nil
	for id, m := range p.minutes {
		over := !m.At.Equal(now.Truncate(time.Minute))
		switch {
		case m.changed:
			m.changed = false
			changed = append(changed, m.Minute)
		case over && m.Pending > 0:
			next := p.of(id, now)
			next.changed = false
			changed = append(changed, next.Minute)
		case over:
			delete(p.minutes, id)
		}
	}
	p.mu.Unlock()
	if len(changed) > 0 {
		p.write(ctx, changed)
	}
}

// write looks up how much of each project waits, and writes its minute.
func (p *Pulse) write(ctx context.Context, minutes []store.Minute) {
	for i := range minutes {
		m := &minutes[i]
		counts, err := p.store.Totals(ctx, m.ProjectID)
		if err != nil {
			continue // the rest is worth writing all the same
		}
		m.Pending = counts.Pending
		p.mu.Lock()
		if present := p.minutes[m.ProjectID]; present != nil {
			present.Pending = m.Pending
		}
		p.mu.Unlock()
	}
	if err := p.store.SaveMinutes(ctx, p.process, minutes, time.Now().Add(-Keep)); err != nil && ctx.Err() == nil {
		p.logger.Warn("the counts of a minute could not be written: the dashboard's plots miss it", "error", err)
	}
}
