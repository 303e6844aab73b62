package postgres

import (
	"fmt"
	"testing"
	"time"

	"switchhook.dev/switchhook/internal/phone"
)

// BenchmarkAcceptAndRecord is what a delivered event costs, in batches: 256 events
// of 100 conversations are taken in, and their results recorded.
func BenchmarkAcceptAndRecord(b *testing.B) {
	s, w := seeded(b)
	var accept, record time.Duration
	for n := 0; b.Loop(); n++ {
		events := make([]*phone.NewEvent, 256)
		for i := range events {
			e := w.event(time.Now())
			e.ID, e.MessageID = phone.NewID(phone.PrefixEvent), phone.NewID(phone.PrefixMessage)
			e.Participant = fmt.Sprintf("+1202555%04d", (n*256+i)%100)
			events[i] = e
		}
		start := time.Now()
		out := s.Accept(b.Context(), events, roomy{true})
		accepted := time.Now()
		w.finish(b, s, out...)
		accept += accepted.Sub(start)
		record += time.Since(accepted)
	}
	b.ReportMetric(float64(accept.Microseconds())/float64(b.N)/256, "µs/accepted")
	b.ReportMetric(float64(record.Microseconds())/float64(b.N)/256, "µs/recorded")
}
