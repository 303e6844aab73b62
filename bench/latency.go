package main

import (
	"fmt"
	"time"
)

// event makes an open loop's bodies: stamped texts, spread as a mix says.
func (m mix) stamped(group string) func(i int64, due time.Time) []byte {
	return func(i int64, due time.Time) []byte {
		agent := int(i) % m.agents
		from := agent*1000 + int(i)/m.agents%m.conversations
		return eventBody(agent, from, stamp{due, group, fmt.Sprint(from), int(i)}.String())
	}
}

// paced sends at a rate, waits until all of it is on record, and returns the
// waits from the moment an event was due to its arrival at the receiver.
func (w *world) paced(rate float64, span time.Duration, group string, body func(int64, time.Time) []byte) (waits, error) {
	w.sink.measure()
	if _, _, err := w.delivered(func() (int64, error) {
		return int64(rate * span.Seconds()), openLoop(w.ctx, w.api, rate, span, body)
	}); err != nil {
		return nil, err
	}
	return w.sink.waited(group), nil
}

// latency is accept to first byte at the receiver, at an everyday rate.
func latency(b *bench) error {
	w, err := b.newWorld("latency")
	if err != nil {
		return err
	}
	if err := w.team(everyday.agents); err != nil {
		return err
	}
	if _, err := w.paced(500, time.Second, "warm", everyday.stamped("warm")); err != nil {
		return err
	}
	seen, err := w.paced(500, 2*b.span(), "all", everyday.stamped("all"))
	if err != nil {
		return err
	}
	b.add("accept to first byte at the receiver, 500 events/s", "p50 ≤ 2 ms, p99 ≤ 15 ms", seen.String(),
		met(seen.quantile(0.5) <= 2*time.Millisecond && seen.quantile(0.99) <= 15*time.Millisecond))
	return w.close()
}
