package deliver

import (
	"net/http"
	"time"

	"switchhook.dev/switchhook/internal/phone"
)

// share is how many requests one endpoint may have in flight: its own limit, but
// never more than an eighth of the room that all have left together. However many
// endpoints hang, some room stays free for those that answer; and one request is
// always allowed. (Dynamic thresholds, Choudhury and Hahne, 1998.)
func share(perEndpoint, limit, inFlight int) int {
	return max(1, min(perEndpoint, (limit-inFlight)/8))
}

// firstWindow is how many requests an endpoint may have in flight before it has
// answered one.
const firstWindow = 4

// window is how many requests an endpoint has earned to have in flight. Each one
// that succeeds earns one more, up to the endpoint's limit; each that gets no
// answer, or is told to come later, halves it. So one that hangs is hit by a few
// requests, which time out together, and not by as many as one that works
// (additive increase, multiplicative decrease: Chiu and Jain, 1989). Other answers
// say nothing of its load. The zero value is firstWindow.
type window struct{ earned int }

func (w *window) size() int { return firstWindow + w.earned }

// judge notes what came of a request. limit is the endpoint's, at least 1.
func (w *window) judge(res *phone.Result, limit int) {
	switch status := res.Attempt.HTTPStatus; {
	case res.Status == phone.Success:
		w.earned = max(w.earned, min(w.earned+1, limit-firstWindow))
	case status == 0, status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable:
		w.earned = max(0, w.size()/2-firstWindow)
	}
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
