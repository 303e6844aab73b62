package store

import (
	"encoding/binary"
	"errors"
	"math"
	"time"
)

// latencyBuckets is how many buckets a Latency has; their bounds grow by the
// square root of two, from 250 µs to more than an hour.
const latencyBuckets = 48

// latencyFirst is the upper bound of the first bucket.
const latencyFirst = 250 * time.Microsecond

// Latency is a histogram of times. Histograms of the same kind can be added, so
// that those of several minutes and processes make one; its quantiles are right
// within a bucket, a fifth of the time or so. The zero value is empty.
type Latency [latencyBuckets]uint32

// bound is the upper bound of a bucket.
func bound(i int) float64 { return float64(latencyFirst) * math.Pow(2, float64(i)/2) }

// Observe counts one time.
func (l *Latency) Observe(d time.Duration) {
	i := 0
	if d > latencyFirst {
		i = min(latencyBuckets-1, int(math.Ceil(2*math.Log2(float64(d)/float64(latencyFirst)))))
	}
	l[i]++
}

// Add adds another histogram.
func (l *Latency) Add(o Latency) {
	for i, n := range o {
		l[i] += n
	}
}

// Count is how many times were observed.
func (l Latency) Count() (n int) {
	for _, c := range l {
		n += int(c)
	}
	return n
}

// Quantile is the time that a share of those observed, 0 to 1, did not exceed; 0
// where there are none.
func (l Latency) Quantile(share float64) time.Duration {
	total := l.Count()
	if total == 0 {
		return 0
	}
	rank, seen := share*float64(total), 0.0
	for i, c := range l {
		if c == 0 || seen+float64(c) < rank {
			seen += float64(c)
			continue
		}
		low := 0.0
		if i > 0 {
			low = bound(i - 1)
		}
		return time.Duration(low + (bound(i)-low)*(rank-seen)/float64(c))
	}
	return time.Duration(bound(latencyBuckets - 1))
}

// Bytes is the histogram as a store keeps it: its counts as varints, without the
// empty buckets at its end.
func (l Latency) Bytes() []byte {
	last := latencyBuckets
	for last > 0 && l[last-1] == 0 {
		last--
	}
	b := make([]byte, 0, last)
	for _, c := range l[:last] {
		b = binary.AppendUvarint(b, uint64(c))
	}
	return b
}

// ParseLatency is the inverse of Bytes.
func ParseLatency(b []byte) (l Latency, err error) {
	for i := 0; len(b) > 0; i++ {
		c, n := binary.Uvarint(b)
		if n <= 0 || i == latencyBuckets || c > math.MaxUint32 {
			return l, errors.New("store: this is no histogram of times")
		}
		l[i], b = uint32(c), b[n:]
	}
	return l, nil
}
