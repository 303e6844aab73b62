package store

import (
	"testing"
	"time"
)

func TestQuantilesOfTimesAreRightWithinABucket(t *testing.T) {
	var l Latency
	for ms := 1; ms <= 1000; ms++ {
		l.Observe(time.Duration(ms) * time.Millisecond)
	}
	for share, want := range map[float64]time.Duration{0.5: 500 * time.Millisecond, 0.99: 990 * time.Millisecond} {
		if got := l.Quantile(share); got < want*7/10 || got > want*15/10 {
			t.Errorf("the quantile of %v is %v, not about %v", share, got, want)
		}
	}
	if (Latency{}).Quantile(0.5) != 0 || l.Count() != 1000 {
		t.Error("an empty histogram has a quantile, or a full one lost something")
	}
}

func TestAHistogramIsReadAsItWasWritten(t *testing.T) {
	var l Latency
	for _, d := range []time.Duration{0, time.Microsecond, 250 * time.Microsecond, time.Second, 90 * time.Minute, 1000 * time.Hour} {
		l.Observe(d)
	}
	got, err := ParseLatency(l.Bytes())
	if err != nil || got != l || got.Count() != 6 {
		t.Errorf("%v became %v: %v", l, got, err)
	}
	var sum Latency
	sum.Add(l)
	sum.Add(got)
	if sum.Count() != 12 {
		t.Error("histograms do not add up")
	}
	for _, bad := range [][]byte{{0x80}, make([]byte, latencyBuckets+1)} {
		if _, err := ParseLatency(bad); err == nil {
			t.Errorf("%v was read as a histogram", bad)
		}
	}
}
