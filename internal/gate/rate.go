package gate

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Rates bounds the requests of each key: so many a second, and as many at once. It
// is safe for concurrent use; a nil one bounds nothing.
type Rates struct {
	perSecond int

	mu   sync.Mutex
	keys map[string]*rate.Limiter
}

// maxRated bounds the keys in memory. Past it all begin anew.
const maxRated = 100_000

// NewRates returns a bound of requests a second for each key; nil for 0, which is
// no bound.
func NewRates(perSecond int) *Rates {
	if perSecond == 0 {
		return nil
	}
	return &Rates{perSecond: perSecond, keys: map[string]*rate.Limiter{}}
}

// Take takes one request of a key at a time. Where there is none left it answers
// how long to wait for the next, and takes nothing.
func (r *Rates) Take(keyID string, now time.Time) (wait time.Duration) {
	if r == nil {
		return 0
	}
	reserved := r.limiter(keyID).ReserveN(now, 1)
	if wait = reserved.DelayFrom(now); wait > 0 {
		reserved.CancelAt(now)
	}
	return wait
}

func (r *Rates) limiter(keyID string) *rate.Limiter {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.keys[keyID]
	if l == nil {
		if len(r.keys) >= maxRated {
			clear(r.keys)
		}
		l = rate.NewLimiter(rate.Limit(r.perSecond), r.perSecond)
		r.keys[keyID] = l
	}
	return l
}
