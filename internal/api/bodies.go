package api

import (
	"sync/atomic"
	"time"

	"switchhook.dev/switchhook/internal/phone"
)

const (
	// smallBody is what a body may have without being counted, in bytes: nearly
	// every event has less, so that nobody's large bodies keep them out.
	smallBody = 64 << 10
	// maxBodies is how much larger bodies may take together, in bytes. A body is in
	// memory as a whole while its request lasts.
	maxBodies = 256 << 20
)

// bodies counts what the bodies of requests take in memory.
type bodies struct{ size atomic.Int64 }

// enter makes room for a body of a length, -1 where that is not said. The function
// it returns gives it back.
func (b *bodies) enter(length int64) (leave func(), err error) {
	switch {
	case length >= 0 && length <= smallBody:
		return func() {}, nil
	case length < 0 || length > maxBatchBody:
		length = maxBatchBody // more is refused as it is read
	}
	leave = func() { b.size.Add(-length) }
	if b.size.Add(length) <= maxBodies {
		return leave, nil
	}
	leave()
	e := phone.Errorf(phone.Unavailable, "too many large requests are under way: try again in a second, with fewer events in each")
	e.RetryAfter = time.Second
	return nil, e
}
