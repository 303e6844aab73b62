package deliver

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// TestBreaker walks its states: an attempt's end at a second, and what follows.
func TestBreaker(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	fail := func(b *breaker, from, to float64, n int) {
		for i := range n {
			b.failure(fmt.Sprint("del_", i), at(from+(to-from)*float64(i)/float64(max(1, n-1))))
		}
	}
	for _, c := range []struct {
		name string
		do   func(*breaker)
		want breakerState
		next time.Time
	}{
		{"nothing happened", func(*breaker) {}, breakerClosed, time.Time{}},
		{"nine of them", func(b *breaker) { fail(b, 0, 60, 9) }, breakerClosed, time.Time{}},
		{"ten at once", func(b *breaker) { fail(b, 0, 0, 10) }, breakerDoubt, at(1)},
		{"ten over 29 s", func(b *breaker) { fail(b, 0, 29, 10) }, breakerDoubt, at(30)},
		{"ten over 30 s", func(b *breaker) { fail(b, 0, 30, 10) }, breakerOpen, at(45)},
		{"ten at once, and one after 30 s", func(b *breaker) { fail(b, 0, 0, 10); b.failure("del_0", at(30)) }, breakerOpen, at(45)},
		{"one delivery a hundred times", func(b *breaker) {
			for i := range 100 {
				b.failure("del_0", at(float64(i)))
			}
		}, breakerClosed, time.Time{}},
		{"a success between", func(b *breaker) { fail(b, 0, 15, 9); b.success(); fail(b, 20, 60, 9) }, breakerClosed, time.Time{}},
		{"a success in doubt", func(b *breaker) { fail(b, 0, 0, 10); b.success() }, breakerClosed, time.Time{}},
		{"one probe", func(b *breaker) { fail(b, 0, 30, 10); b.probeFailed(at(45), 0) }, breakerOpen, at(75)},
		{"two probes", func(b *breaker) { fail(b, 0, 30, 10); b.probeFailed(at(45), 0); b.probeFailed(at(75), 0) }, breakerOpen, at(135)},
		{"many probes", func(b *breaker) {
			fail(b, 0, 30, 10)
			for range 50 {
				b.probeFailed(at(1000), 0)
			}
		}, breakerOpen, at(1120)},
		{"a probe asked to come back later", func(b *breaker) { fail(b, 0, 30, 10); b.probeFailed(at(45), time.Hour) }, breakerOpen, at(3645)},
		{"a sign of life", func(b *breaker) { fail(b, 0, 30, 10); b.hurry(at(31)) }, breakerOpen, at(31)},
		{"a sign of life from one that works", func(b *breaker) { b.hurry(at(31)) }, breakerClosed, time.Time{}},
		{"a probe worked", func(b *breaker) { fail(b, 0, 30, 10); b.success() }, breakerClosed, time.Time{}},
		{"failures of what was in flight when it opened", func(b *breaker) { fail(b, 0, 30, 10); fail(b, 31, 40, 10) }, breakerOpen, at(45)},
		{"a probe's failure after it closed", func(b *breaker) { fail(b, 0, 30, 10); b.success(); b.probeFailed(at(45), 0) }, breakerClosed, time.Time{}},
		{"failing since before the start", func(b *breaker) { *b = failingSince(at(0)) }, breakerOpen, time.Time{}},
	} {
		var b breaker
		c.do(&b)
		if b.state != c.want || !b.next.Equal(c.next) {
			t.Errorf("%s: state %d, next %s; want %d, %s", c.name, b.state, b.next, c.want, c.next)
		}
	}
	var b breaker
	fail(&b, 0, 30, 10)
	if !b.success() || b.success() {
		t.Error("a success does not tell whether it was open")
	}
}

func TestShare(t *testing.T) {
	for _, c := range []struct{ perEndpoint, limit, inFlight, want int }{
		{32, 1024, 0, 32},
		{32, 1024, 700, 32},
		{32, 1024, 800, 28},
		{32, 1024, 1000, 3},
		{32, 1024, 1023, 1}, // one is always allowed
		{32, 16, 0, 2},
		{1, 1024, 0, 1},
	} {
		if got := share(c.perEndpoint, c.limit, c.inFlight); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
	// However many endpoints hang, one more finds room.
	inFlight, held := 0, make([]int, 500)
	for again := true; again; {
		again = false
		for i := range held {
			if held[i] < share(32, 1024, inFlight) && inFlight < 1024 {
				held[i]++
				inFlight++
				again = true
			}
		}
	}
	if inFlight >= 1024 {
		t.Error("500 hanging endpoints fill every place")
	}
}

func TestPacer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, rate := range []int{1, 3, 10, 250, 10_000} {
			p := newPacer(rate)
			var starts []time.Time
			for end := time.Now().Add(5 * time.Second); ; {
				time.Sleep(time.Until(p.free()))
				if !time.Now().Before(end) {
					break
				}
				p.took(time.Now())
				starts = append(starts, time.Now())
			}
			first := 0
			for i, at := range starts {
				for at.Sub(starts[first]) >= time.Second {
					first++
				}
				if n := i - first + 1; n > rate+rate/10+1 {
					t.Fatalf("%d started within a second, at a rate of %d", n, rate)
				}
			}
			if len(starts) < 5*rate || len(starts) > 5*rate+rate/10+1 {
				t.Errorf("%d in 5 s, at a rate of %d", len(starts), rate)
			}
		}
		if p := newPacer(0); !p.free().IsZero() {
			t.Error("no rate bounds something")
		}
	})
}
