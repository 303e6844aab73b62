package deliver

import "time"

// share is how many requests one endpoint may have in flight: its own limit, but
// never more than an eighth of the room that all have left together. However many
// endpoints hang, some room stays free for those that answer; and one request is
// always allowed. (Dynamic thresholds, Choudhury and Hahne, 1998.)
func share(perEndpoint, limit, inFlight int) int {
	return max(1, min(perEndpoint, (limit-inFlight)/8))
}

// pacer spaces requests so that no more than a rate start in a second (the
// generic cell rate algorithm): evenly, with a tenth of a second's worth at once
// where it was quiet before. The zero value does not bound anything.
type pacer struct {
	every time.Duration // between two requests; 0 for no bound
	next  time.Time
}

func newPacer(perSecond int) pacer {
	if perSecond == 0 {
		return pacer{}
	}
	return pacer{every: time.Second / time.Duration(perSecond)}
}

// burst is how far ahead of its even pace a pacer lets requests go.
const burst = 100 * time.Millisecond

// free is when the next request may start.
func (p *pacer) free() time.Time {
	if p.every == 0 {
		return time.Time{}
	}
	return p.next.Add(-max(0, burst-p.every))
}

// took notes that one started.
func (p *pacer) took(now time.Time) {
	if p.every == 0 {
		return
	}
	if p.next.Before(now) {
		p.next = now
	}
	p.next = p.next.Add(p.every)
}
