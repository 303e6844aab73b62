package deliver

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// DefaultSchedule is the contract's: how long after each failed attempt the next
// one follows. Six attempts in all.
var DefaultSchedule = Schedule{5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, time.Hour}

// maxRetryAfter bounds how far an endpoint can move its next attempt away.
const maxRetryAfter = time.Hour

// jitter is how far, either way, a delay is spread, so that what failed together
// does not come back together.
const jitter = 0.10

// Schedule is the delays between the attempts of one round.
type Schedule []time.Duration

// Attempts is how many attempts a round has.
func (s Schedule) Attempts() int { return len(s) + 1 }

// Next returns how long after the n-th attempt of a round (from 1) the next one
// follows, and false where that was the last. spread is in [0, 1) and places the
// delay within its jitter; retryAfter, where later, moves the attempt away.
func (s Schedule) Next(n int, spread float64, retryAfter time.Duration) (time.Duration, bool) {
	if n < 1 || n > len(s) {
		return 0, false
	}
	d := time.Duration(float64(s[n-1]) * (1 - jitter + 2*jitter*spread))
	return max(d, min(retryAfter, maxRetryAfter)), true
}

// retryAfter reads the Retry-After header of a 429 or 503 (RFC 9110, 10.2.3):
// seconds, or a date. Anything else, and the past, is no delay.
func retryAfter(status int, h http.Header, now time.Time) time.Duration {
	if status != http.StatusTooManyRequests && status != http.StatusServiceUnavailable {
		return 0
	}
	v := strings.TrimSpace(h.Get("Retry-After"))
	if secs, err := strconv.ParseInt(v, 10, 64); err == nil {
		if secs <= 0 {
			return 0
		}
		return time.Duration(min(secs, int64(maxRetryAfter/time.Second))) * time.Second
	}
	at, err := http.ParseTime(v)
	if err != nil || !at.After(now) {
		return 0
	}
	return min(at.Sub(now), maxRetryAfter)
}
