package deliver

import (
	"net/http"
	"testing"
	"time"
)

func TestSchedule(t *testing.T) {
	s := DefaultSchedule
	if s.Attempts() != 6 {
		t.Errorf("%d attempts", s.Attempts())
	}
	for _, c := range []struct {
		attempt    int
		spread     float64
		retryAfter time.Duration
		want       time.Duration
		more       bool
	}{
		{1, 0.5, 0, 5 * time.Second, true},
		{1, 0, 0, 4500 * time.Millisecond, true},
		{5, 0.5, 0, time.Hour, true},
		{6, 0.5, 0, 0, false},
		{0, 0.5, 0, 0, false},
		{1, 0.5, time.Minute, time.Minute, true},      // later
		{4, 0.5, time.Minute, 10 * time.Minute, true}, // not earlier
		{1, 0.5, 48 * time.Hour, time.Hour, true},     // not beyond the bound
		{6, 0.5, time.Minute, 0, false},               // not one more
	} {
		got, more := s.Next(c.attempt, c.spread, c.retryAfter)
		if got.Round(time.Millisecond) != c.want || more != c.more {
			t.Errorf("%+v: %s %v", c, got, more)
		}
	}
	if d, _ := s.Next(1, 0.999999, 0); d > 5500*time.Millisecond {
		t.Errorf("jitter up to %s", d)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		status int
		value  string
		want   time.Duration
	}{
		{429, "7", 7 * time.Second},
		{503, " 7 ", 7 * time.Second},
		{500, "7", 0}, // only 429 and 503 may ask for it
		{200, "7", 0},
		{429, "-7", 0},
		{429, "0", 0},
		{429, "", 0},
		{429, "soon", 0},
		{429, "1.5", 0},
		{429, "9223372036854775807", time.Hour},
		{429, "99999999999999999999", 0},
		{503, "Fri, 02 Jan 2026 03:05:05 GMT", time.Minute},
		{503, "Fri, 02 Jan 2026 03:03:05 GMT", 0},
		{503, "Sat, 03 Jan 2026 03:03:05 GMT", time.Hour},
	} {
		if got := retryAfter(c.status, http.Header{"Retry-After": {c.value}}, now); got != c.want {
			t.Errorf("%d %q: %s", c.status, c.value, got)
		}
	}
}

// FuzzRetryAfter: whatever an endpoint says, the delay is within its bounds.
func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"7", "-1", "Fri, 02 Jan 2026 03:05:05 GMT", "99999999999999999999", "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, v string) {
		if d := retryAfter(429, http.Header{"Retry-After": {v}}, time.Unix(1e9, 0)); d < 0 || d > maxRetryAfter {
			t.Errorf("%q: %s", v, d)
		}
	})
}
