package server

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"switchhook.dev/switchhook/internal/deliver"
	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
)

// metrics are what an operator alerts on. Labels are few and closed: none grows
// with users. deploy/ holds a dashboard and alert rules over them, and a test that
// neither names what does not exist.
type metrics struct {
	registry *prometheus.Registry
	accepted prometheus.Counter
	attempts *prometheus.CounterVec
	finished *prometheus.CounterVec
	turns    turnMetrics
	retries  *prometheus.CounterVec
	failures *prometheus.CounterVec

	delay     prometheus.Histogram
	firstByte prometheus.Histogram
	storeTime *prometheus.HistogramVec
	batch     *prometheus.HistogramVec
}

// Buckets: from half a millisecond to a minute, and from one to a full group.
var (
	timeBuckets  = prometheus.ExponentialBuckets(0.0005, 2, 18)
	batchBuckets = prometheus.ExponentialBuckets(1, 2, 11)
)

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
			Name: "switchhook_deliveries_finished_total", Help: "Deliveries that ended by an attempt, by status: success, failed.",
		}, []string{"status"}),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "switchhook_retries_total", Help: "Attempts that failed and are followed by another, by reason.",
		}, []string{"reason"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "switchhook_failures_total", Help: "Deliveries that an attempt ended as failed, by its reason.",
		}, []string{"reason"}),
		delay: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "switchhook_first_attempt_delay_seconds", Help: "From the acceptance of an event to the start of its first attempt.",
			Buckets: timeBuckets,
		}),
		firstByte: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "switchhook_first_byte_seconds", Help: "From the acceptance of an event to the first byte of the answer to its first attempt.",
			Buckets: timeBuckets,
		}),
		storeTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "switchhook_store_seconds", Help: "Time in the database, by call: accept, record, due, content.",
			Buckets: timeBuckets,
		}, []string{"call"}),
		batch: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "switchhook_store_batch_size", Help: "Events (accept) and results (record) that share a write.",
			Buckets: batchBuckets,
		}, []string{"call"}),
	}
	m.turns = newTurnMetrics(m.registry)
	m.registry.MustRegister(m.accepted, m.attempts, m.finished, m.retries, m.failures, m.delay, m.firstByte, m.storeTime, m.batch,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	// Whatever is alerted on exists from the start: a counter that appears with its
	// first fault has no increase to see.
	for _, answer := range answers {
		m.attempts.WithLabelValues(answer)
	}
	for _, status := range []phone.DeliveryStatus{phone.Success, phone.Failed} {
		m.finished.WithLabelValues(string(status))
	}
	for _, call := range []string{"accept", "record", "due", "content"} {
		m.storeTime.WithLabelValues(call)
	}
	for _, call := range []string{"accept", "record"} {
		m.batch.WithLabelValues(call)
	}
	for _, reason := range reasons {
		m.retries.WithLabelValues(reason)
		m.failures.WithLabelValues(reason)
	}
	return m
}

// watch adds what is looked up at each scrape.
func (m *metrics) watch(d *deliver.Dispatcher, connected func() int) {
	m.registry.MustRegister(&moment{d, connected})
}

var answers = map[int]string{0: "none", 2: "2xx", 3: "3xx", 4: "4xx", 5: "5xx"}

// reasons are why an attempt failed.
var reasons = []string{"timeout", "connection", "tls", "address", "listener", "3xx", "4xx", "429", "410", "5xx", "other"}

// reason says why an attempt failed, by its status, or by how deliver explains it.
func reason(a phone.Attempt) string {
	switch s := a.HTTPStatus; {
	case s == 410:
		return "410"
	case s == 429:
		return "429"
	case s >= 500 && s < 600:
		return "5xx"
	case s >= 400 && s < 500:
		return "4xx"
	case s >= 300 && s < 400:
		return "3xx"
	}
	for _, c := range []struct{ part, reason string }{
		{"timeout:", "timeout"}, {"switchhook listen", "listener"}, {"certificate", "tls"}, {"TLS", "tls"},
		{"connection re", "connection"}, {"closed the connection", "connection"}, {"cannot be reached", "connection"},
		{"no such host", "address"}, {"name lookup", "address"}, {"not allowed", "address"}, {"address", "address"},
	} {
		if strings.Contains(a.Error, c.part) {
			return c.reason
		}
	}
	return "other"
}

func (m *metrics) recorded(results []*phone.Result, recorded []store.Recorded) {
	for i, r := range results {
		answer, known := answers[r.Attempt.HTTPStatus/100]
		if !known {
			answer = "none"
		}
		m.attempts.WithLabelValues(answer).Inc()
		switch {
		case !recorded[i].Applied:
		case r.Status == phone.Pending:
			m.retries.WithLabelValues(reason(r.Attempt)).Inc()
		default:
			m.finished.WithLabelValues(string(r.Status)).Inc()
			if r.Status == phone.Failed {
				m.failures.WithLabelValues(reason(r.Attempt)).Inc()
			}
		}
		if r.Job.Attempts == 0 {
			waited := max(0, r.Attempt.SentAt.Sub(r.Job.CreatedAt))
			m.delay.Observe(waited.Seconds())
			if r.Attempt.Timing.FirstByte > 0 {
				m.firstByte.Observe((waited + r.Attempt.Timing.FirstByte).Seconds())
			}
		}
	}
}

// logAttempts says at level debug what came of each attempt.
func logAttempts(logger *slog.Logger, results []*phone.Result, recorded []store.Recorded) {
	if !logger.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	for i, r := range results {
		logger.Debug("attempt", "delivery", r.Job.DeliveryID, "event", phone.EventID(r.Job.DeliveryID), "agent", r.Job.AgentID, "webhook", r.Job.WebhookID,
			"attempt", recorded[i].Number, "status", r.Status, "http_status", r.Attempt.HTTPStatus, "duration", r.Attempt.Duration,
			"next", r.NextAttemptAt, "error", r.Attempt.Error)
	}
}

// moment is what the dispatcher holds at the moment of a scrape.
type moment struct {
	dispatcher *deliver.Dispatcher
	connected  func() int
}

var (
	descLanes     = prometheus.NewDesc("switchhook_lanes", "Endpoints that are sent to, by state: working, doubtful, out.", []string{"state"}, nil)
	descInFlight  = prometheus.NewDesc("switchhook_requests_in_flight", "Requests under way to endpoints.", nil, nil)
	descHeld      = prometheus.NewDesc("switchhook_deliveries_held", "Deliveries in memory; the rest that is pending waits in the database.", nil, nil)
	descAge       = prometheus.NewDesc("switchhook_queue_age_seconds", "Age of the oldest delivery that waits only for room to be sent, at endpoints that work.", nil, nil)
	descListeners = prometheus.NewDesc("switchhook_listeners", "Connections of switchhook listen.", nil, nil)
)

// Describe is prometheus.Collector's.
func (m *moment) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descLanes, descInFlight, descHeld, descAge, descListeners} {
		out <- d
	}
}

// Collect is prometheus.Collector's.
func (m *moment) Collect(out chan<- prometheus.Metric) {
	s := m.dispatcher.Stats()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(descLanes, float64(s.Working), "working")
	gauge(descLanes, float64(s.Doubtful), "doubtful")
	gauge(descLanes, float64(s.Out), "out")
	gauge(descInFlight, float64(s.InFlight))
	gauge(descHeld, float64(s.Held))
	age := 0.0
	if !s.Oldest.IsZero() {
		age = max(0, time.Since(s.Oldest).Seconds())
	}
	gauge(descAge, age)
	gauge(descListeners, float64(m.connected()))
}

// timed is a store whose calls on the path of an event are measured.
type timed struct {
	Store
	m *metrics
}

func (t timed) observe(call string, n int, start time.Time) {
	t.m.storeTime.WithLabelValues(call).Observe(time.Since(start).Seconds())
	if n > 0 {
		t.m.batch.WithLabelValues(call).Observe(float64(n))
	}
}

func (t timed) Accept(ctx context.Context, events []*phone.NewEvent, room store.Room) []phone.Accepted {
	defer t.observe("accept", len(events), time.Now())
	return t.Store.Accept(ctx, events, room)
}

func (t timed) Record(ctx context.Context, results []*phone.Result) ([]store.Recorded, error) {
	defer t.observe("record", len(results), time.Now())
	return t.Store.Record(ctx, results)
}

func (t timed) Due(ctx context.Context, webhookID string, now time.Time, limit int, strict bool) (store.Batch, error) {
	defer t.observe("due", 0, time.Now())
	return t.Store.Due(ctx, webhookID, now, limit, strict)
}

func (t timed) Content(ctx context.Context, projectID, deliveryID string) (phone.Content, error) {
	defer t.observe("content", 0, time.Now())
	return t.Store.Content(ctx, projectID, deliveryID)
}
