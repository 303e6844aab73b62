package postgres

import (
	"context"
	"errors"
	"sync"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
)

// Where Citus spreads projects over several servers, a transaction of several
// projects would have to be committed by several of them, in two phases. There a
// batch is written project by project, in transactions of their own, at once.
// Elsewhere one transaction for all is the cheaper way.

// projectsOf are the places of a batch's entries, by project, in their order.
func projectsOf[E any](batch []E, project func(E) string) [][]int {
	places := map[string]int{}
	var out [][]int
	for i, e := range batch {
		n, known := places[project(e)]
		if !known {
			n = len(out)
			places[project(e)] = n
			out = append(out, nil)
		}
		out[n] = append(out[n], i)
	}
	return out
}

func pick[E any](batch []E, places []int) []E {
	out := make([]E, len(places))
	for i, p := range places {
		out[i] = batch[p]
	}
	return out
}

// acceptApart is Accept, where its events are of several projects and these are on
// several servers; false where they are not.
func (s *Store) acceptApart(ctx context.Context, events []*phone.NewEvent, room store.Room) (out []phone.Accepted, apart bool) {
	if !s.apart.Load() {
		return nil, false
	}
	projects := projectsOf(events, func(e *phone.NewEvent) string { return e.ProjectID })
	if len(projects) < 2 {
		return nil, false
	}
	out = make([]phone.Accepted, len(events))
	var writing sync.WaitGroup
	for _, places := range projects {
		writing.Go(func() {
			for i, a := range s.Accept(ctx, pick(events, places), room) {
				out[places[i]] = a
			}
		})
	}
	writing.Wait()
	return out, true
}

// recordApart is Record likewise. An error of one project is everybody's: what was
// recorded is recognised when it comes again.
func (s *Store) recordApart(ctx context.Context, results []*phone.Result) (out []store.Recorded, apart bool, err error) {
	if !s.apart.Load() {
		return nil, false, nil
	}
	projects := projectsOf(results, func(r *phone.Result) string { return r.Job.ProjectID })
	if len(projects) < 2 {
		return nil, false, nil
	}
	out = make([]store.Recorded, len(results))
	errs := make([]error, len(projects))
	var writing sync.WaitGroup
	for n, places := range projects {
		writing.Go(func() {
			part := pick(results, places)
			recorded, err := s.Record(ctx, part)
			if errs[n] = err; err != nil {
				return
			}
			for i, r := range recorded {
				out[places[i]] = r
			}
		})
	}
	writing.Wait()
	if err := errors.Join(errs...); err != nil {
		for n, places := range projects {
			if errs[n] == nil {
				s.perhapsRecorded(pick(results, places))
			}
		}
		return nil, true, err
	}
	return out, true, nil
}
