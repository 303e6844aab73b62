package server

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
)

// metrics are what an operator alerts on. Labels are few and closed: none grows
// with users.
type metrics struct {
	registry *prometheus.Registry
	accepted prometheus.Counter
	attempts *prometheus.CounterVec
	finished *prometheus.CounterVec
	latency  prometheus.Histogram
	turns    turnMetrics
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		accepted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "switchhook_events_accepted_total", Help: "Events taken in and on disk.",
		}),
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "switchhook_attempts_total", Help: "Attempts on record, by what came of them: 2xx, 3xx, 4xx, 5xx, or none for no answer.",
		}, []string{"answer"}),
		finished: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "switchhook_deliveries_finished_total", Help: "Deliveries that ended by an attempt, by status.",
		}, []string{"status"}),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "switchhook_first_attempt_delay_seconds", Help: "From the acceptance of an event to the start of its first attempt.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 18),
		}),
	}
	m.turns = newTurnMetrics(m.registry)
	m.registry.MustRegister(m.accepted, m.attempts, m.finished, m.latency,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

var answers = map[int]string{0: "none", 2: "2xx", 3: "3xx", 4: "4xx", 5: "5xx"}

func (m *metrics) recorded(results []*phone.Result, recorded []store.Recorded) {
	for i, r := range results {
		answer, known := answers[r.Attempt.HTTPStatus/100]
		if !known {
			answer = "none"
		}
		m.attempts.WithLabelValues(answer).Inc()
		if recorded[i].Applied && r.Status != phone.Pending {
			m.finished.WithLabelValues(string(r.Status)).Inc()
		}
		if r.Job.Attempts == 0 {
			m.latency.Observe(max(0, r.Attempt.SentAt.Sub(r.Job.CreatedAt)).Truncate(time.Microsecond).Seconds())
		}
	}
}
