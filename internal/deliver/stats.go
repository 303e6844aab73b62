package deliver

import "time"

// Stats are what a dispatcher holds at one moment.
type Stats struct {
	// InFlight counts requests under way to all endpoints.
	InFlight int
	// Held counts deliveries in memory: queued, waiting, in flight, being recorded.
	Held int
	// Working, Doubtful and Out count the open lanes by the state of their endpoint.
	Working, Doubtful, Out int
	// Oldest is when the oldest delivery was accepted of those that could be sent
	// now and wait for room, at endpoints that work; zero where none waits.
	Oldest time.Time
}

// Stats looks at every lane, but not at every delivery.
func (d *Dispatcher) Stats() (s Stats) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s.InFlight = d.inFlight
	for _, l := range d.lanes {
		s.Held += len(l.held)
		if !l.open {
			continue
		}
		switch l.breaker.state {
		case breakerOpen:
			s.Out++
			continue
		case breakerDoubt:
			s.Doubtful++
		default:
			s.Working++
		}
		if at := l.queue.oldest(); !at.IsZero() && (s.Oldest.IsZero() || at.Before(s.Oldest)) {
			s.Oldest = at
		}
	}
	return s
}

// oldest is when the first of a queue was accepted.
func (q *jobs) oldest() time.Time {
	switch {
	case len(q.front) > 0:
		return q.front[len(q.front)-1].CreatedAt
	case len(q.back) > 0:
		return q.back[0].CreatedAt
	}
	return time.Time{}
}
