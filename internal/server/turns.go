package server

import (
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"switchhook.dev/switchhook/internal/deliver"
	"switchhook.dev/switchhook/internal/voice"
)

// turnMetrics are what an operator of calls looks at.
type turnMetrics struct {
	total     *prometheus.CounterVec
	firstLine prometheus.Histogram
}

func newTurnMetrics(r prometheus.Registerer) turnMetrics {
	m := turnMetrics{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "switchhook_turns_total",
			Help: "Turns of calls that ended, by how: answered, silent, status, malformed, timeout, cut_off, unreachable, hung_up, superseded, stopped or unasked.",
		}, []string{"end"}),
		firstLine: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "switchhook_turn_first_line_seconds",
			Help:    "From the question to a webhook to the first line of its answer.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 18),
		}),
	}
	for _, end := range voice.Ends {
		m.total.WithLabelValues(string(end))
	}
	r.MustRegister(m.total, m.firstLine)
	return m
}

func (m turnMetrics) ended(out *voice.Outcome) {
	m.total.WithLabelValues(string(out.End)).Inc()
	if out.FirstLine > 0 {
		m.firstLine.Observe(out.FirstLine.Seconds())
	}
}

// newTurnTransport is how endpoints are asked turns of calls: as newTransport, but
// with connections of their own, that stay warm between the turns of a call, and
// that are given up soon where the other side is gone.
func newTurnTransport(dialer *net.Dialer) *http.Transport {
	t := newTransport(dialer)
	t.MaxIdleConns, t.MaxIdleConnsPerHost = deliver.DefaultTurns, deliver.DefaultTurns
	t.IdleConnTimeout = 5 * time.Minute
	t.HTTP2 = &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 5 * time.Second}
	return t
}
