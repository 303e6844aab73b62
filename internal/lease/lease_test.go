package lease

import (
	"testing"
	"time"
)

// TestTransitions walks every event in every state: what the drawing shows, and
// that nothing else happens.
func TestTransitions(t *testing.T) {
	t.Parallel()
	drawn := map[[2]int]State{
		{int(Joining), int(Granted)}: Holding, {int(Joining), int(Stopped)}: Gone,
		{int(Holding), int(Expired)}: Doubtful, {int(Holding), int(Refused)}: Lost, {int(Holding), int(Stopped)}: Leaving,
		{int(Doubtful), int(Granted)}: Holding, {int(Doubtful), int(Refused)}: Lost, {int(Doubtful), int(Stopped)}: Leaving,
		{int(Lost), int(Emptied)}: Joining, {int(Lost), int(Stopped)}: Gone,
		{int(Leaving), int(Refused)}: Gone, {int(Leaving), int(Drained)}: Gone,
	}
	for _, s := range States() {
		for _, e := range Events() {
			want, ok := drawn[[2]int{int(s), int(e)}]
			if !ok {
				want = s
			}
			if got := Next(s, e); got != want {
				t.Errorf("%s in state %s leads to %s, not %s", e, s, got, want)
			}
		}
	}
}

// TestLostIsLeftOnlyAsAnotherRun: nothing but joining anew leads from lost to a
// state in which something is sent (I6).
func TestLostIsLeftOnlyAsAnotherRun(t *testing.T) {
	t.Parallel()
	for _, e := range Events() {
		if s := Next(Lost, e); s.MaySend() || s.KeepsMemory() {
			t.Errorf("%s leads from lost to %s", e, s)
		}
	}
}

func TestTerms(t *testing.T) {
	t.Parallel()
	for _, length := range []time.Duration{MinLength, DefaultLength, MaxLength} {
		terms := TermsFor(length)
		if usable := terms.Length - terms.Margin; usable < 4*terms.Renew {
			t.Errorf("%s: %s of use and a renewal every %s leave no four tries", length, usable, terms.Renew)
		}
	}
	if within := TermsFor(DefaultLength).AdoptedWithin(); within > 15*time.Second {
		t.Errorf("with the default a dead node's work is adopted within %s, not 15 s", within)
	}
}

func TestClock(t *testing.T) {
	t.Parallel()
	terms := TermsFor(10 * time.Second)
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if left := (Clock{}).Left(start); left > 0 {
		t.Errorf("a clock that nobody started has %s left", left)
	}
	c := terms.Start(start)
	for after, want := range map[time.Duration]time.Duration{
		0: 8 * time.Second, 7 * time.Second: time.Second, 8 * time.Second: 0, time.Hour: 8*time.Second - time.Hour,
	} {
		if left := c.Left(start.Add(after)); left != want {
			t.Errorf("after %s it has %s left, not %s", after, left, want)
		}
	}
}

// TestClockOfTheWall: a wall clock that went on while the monotonic one stood
// still ends the lease.
func TestClockOfTheWall(t *testing.T) {
	t.Parallel()
	terms := TermsFor(10 * time.Second)
	asked := time.Now() // with a monotonic reading
	awake := asked.Round(0).Add(time.Minute)
	if left := terms.Start(asked).Left(awake); left > 0 {
		t.Errorf("a minute later by the wall clock it has %s left", left)
	}
}
