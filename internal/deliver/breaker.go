package deliver

import "time"

// When an endpoint counts as failing, and how it is tried then.
const (
	// breakerFailures is how many different deliveries fail in a row before an
	// endpoint is in doubt, and breakerSpan how long that must go on before it is out.
	breakerFailures = 10
	breakerSpan     = 30 * time.Second
	// doubtPause is the least time between attempts at an endpoint in doubt: it
	// need not be hit at full speed, and spends fewer deliveries' attempts.
	doubtPause = time.Second
	// probeEvery is the wait before the first probe; each one that fails doubles
	// it, up to maxProbe.
	probeEvery = 15 * time.Second
	maxProbe   = 2 * time.Minute
	// knockEvery is how often an unreachable endpoint is asked for a connection,
	// without sending anything. Where it takes one, a probe follows at once.
	knockEvery = 2 * time.Second
)

// breaker keeps an endpoint that fails from spending its deliveries' attempts.
//
//	         10 different deliveries        30 s since the first
//	         failed in a row                of them, and another
//	closed ───────────────────▶ doubt ───────────────────▶ open ──┐
//	  ▲  ▲      any success       │                          │  ▲  │ a probe
//	  │  └────────────────────────┘                          │  └──┘ failed
//	  └──────────────────────────────────────────────────────┘
//	                 any success (a probe's, mostly)
//
// closed: everything flows. doubt: one attempt at a time, a pause between. open:
// deliveries wait and spend nothing; probes go out. One delivery alone, however
// often it fails, opens nothing. The zero value is closed. It has no clock and
// no lock of its own.
type breaker struct {
	state  breakerState
	failed []string // the different deliveries that failed in a row, at most breakerFailures
	since  time.Time
	probes int // that failed since it opened
	// next is when something may be started, in doubt or open.
	next        time.Time
	unreachable bool
}

type breakerState int

const (
	breakerClosed breakerState = iota
	breakerDoubt
	breakerOpen
)

// failingSince returns the open breaker of an endpoint that was failing before
// this process began: it is probed at once.
func failingSince(t time.Time) breaker {
	return breaker{state: breakerOpen, since: t}
}

// success closes the breaker, and says whether it was open.
func (b *breaker) success() (wasOpen bool) {
	wasOpen = b.state == breakerOpen
	*b = breaker{}
	return wasOpen
}

// failure notes a failed attempt that was no probe, and says whether it opened
// the breaker.
func (b *breaker) failure(delivery string, now time.Time) (opened bool) {
	if b.state == breakerOpen {
		return false
	}
	if len(b.failed) == 0 {
		b.since = now
	}
	b.remember(delivery)
	if len(b.failed) < breakerFailures {
		return false
	}
	b.state, b.next = breakerDoubt, now.Add(doubtPause)
	if now.Sub(b.since) < breakerSpan {
		return false
	}
	b.state, b.next = breakerOpen, now.Add(probeEvery)
	return true
}

func (b *breaker) remember(delivery string) {
	if len(b.failed) == breakerFailures {
		return
	}
	for _, id := range b.failed {
		if id == delivery {
			return
		}
	}
	b.failed = append(b.failed, delivery)
}

// probeFailed notes a failed probe. retryAfter is what the endpoint asked for.
func (b *breaker) probeFailed(now time.Time, retryAfter time.Duration) {
	if b.state != breakerOpen {
		return
	}
	b.probes++
	wait := maxProbe
	if b.probes < 8 {
		wait = min(probeEvery<<b.probes, maxProbe)
	}
	b.next = now.Add(max(wait, retryAfter))
}

// hurry makes the next probe due: the endpoint showed a sign of life.
func (b *breaker) hurry(now time.Time) {
	if b.state == breakerOpen && b.next.After(now) {
		b.next = now
	}
}
