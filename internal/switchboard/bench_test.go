package switchboard_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"switchhook.dev/switchhook/internal/deliver"
	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/switchboard"
)

// BenchmarkAcceptToRecorded is the hot path: events of 100 agents from 64
// callers, each durable, delivered over HTTP to a receiver and recorded.
func BenchmarkAcceptToRecorded(b *testing.B) {
	const agents = 100
	board := newBoard(b, deliver.DefaultSchedule)
	board.recorded = make(chan *phone.Result, b.N)
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	b.Cleanup(srv.Close)
	for i := range agents {
		board.webhook(board.agent(fmt.Sprintf("+1202555%04d", i)), srv.URL)
	}
	var next atomic.Int64
	b.SetParallelism(32)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := next.Add(1)
			_, err := board.Accept(b.Context(), switchboard.Submission{
				ProjectID: board.project, Type: phone.EventMessage, Channel: phone.ChannelSMS,
				Data: text(fmt.Sprintf("+1303555%04d", i%2000), fmt.Sprintf("+1202555%04d", i%agents), "", "hello there, how are you"),
			})
			if err != nil {
				b.Error(err)
				return
			}
		}
	})
	for range b.N {
		<-board.recorded
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
