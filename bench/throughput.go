package main

import (
	"fmt"
	"time"
)

// Of the throughput scenarios: 100 agents with ten conversations each, every one
// longer than the history that is sent along.
var everyday = mix{agents: 100, conversations: 10}

const (
	connections = 64
	batchSize   = 100
)

// throughput is events per second from accept to delivered and on record, beside
// what the ceiling does in the same minute.
func throughput(b *bench) error {
	before, err := b.ceiling(1)
	if err != nil {
		return err
	}
	w, err := b.newWorld("throughput")
	if err != nil {
		return err
	}
	if err := w.team(everyday.agents); err != nil {
		return err
	}
	// Every conversation gets a full history first.
	if _, _, err := w.delivered(func() (int64, error) { return w.fill(12_000, everyday.event) }); err != nil {
		return err
	}
	var single, batch rate
	err = w.profiled("one-a-request", func() (err error) {
		single, err = w.rate("/v1/events", 1, everyday.event)
		return err
	})
	if err != nil {
		return err
	}
	err = w.profiled("in-batches", func() (err error) {
		batch, err = w.rate("/v1/events/batch", batchSize, batchOf(batchSize, everyday.event))
		return err
	})
	if err != nil {
		return err
	}
	if err := w.close(); err != nil {
		return err
	}
	after, err := b.ceiling(1)
	if err != nil {
		return err
	}
	top := (before.perSecond + after.perSecond) / 2
	b.add("the ceiling: events over HTTP in and out, nothing kept", "", fmt.Sprintf("%.0f/s (%.0f and %.0f)", top, before.perSecond, after.perSecond), none)
	b.add("durable events/s, one a request, 64 connections, 100 agents, history 10", "≥ 0.5 of the ceiling", fmt.Sprintf("%.0f/s, %.2f of the ceiling", single.perSecond, single.perSecond/top), met(single.perSecond/top >= 0.5))
	b.add("the same in batches of 100", "≥ 0.9 of the ceiling", fmt.Sprintf("%.0f/s, %.2f of the ceiling", batch.perSecond, batch.perSecond/top), met(batch.perSecond/top >= 0.9))
	for _, c := range []struct {
		what string
		of   func(rate) float64
		unit string
	}{
		{"CPU per event", func(r rate) float64 { return float64(r.cpu) / float64(time.Microsecond) }, "µs"},
		{"allocations per event", func(r rate) float64 { return r.allocs }, ""},
		{"bytes written per event", func(r rate) float64 { return r.written }, ""},
	} {
		was := previous[c.what]
		b.add(c.what+", one a request", fmt.Sprintf("lower than before (%.0f)", was.single), fmt.Sprintf("%.0f %s", c.of(single), c.unit), met(c.of(single) < was.single))
		b.add(c.what+", in batches", fmt.Sprintf("lower than before (%.0f)", was.batch), fmt.Sprintf("%.0f %s", c.of(batch), c.unit), met(c.of(batch) < was.batch))
	}
	return nil
}

// rate is a speed and what an event cost the server.
type rate struct {
	perSecond float64
	cpu       time.Duration
	allocs    float64
	written   float64
}

// ceiling measures how fast n ceilings are, which get their requests in turn.
func (b *bench) ceiling(n int) (r rate, err error) {
	s, err := newSink("127.0.0.1:0")
	if err != nil {
		return r, err
	}
	defer s.close()
	c := newClient()
	for range n {
		p, err := b.start(b.self, "ceiling", "--forward", s.url+"/hook")
		if err != nil {
			return r, err
		}
		defer func() { _ = p.stop() }()
		c.urls = append(c.urls, p.url)
	}
	// A second first: connections, buffers.
	warm, err := closedLoop(b.ctx, c, connections, time.Second, "/v1/events", 1, everyday.event)
	if err != nil {
		return r, err
	}
	for s.got.Load() < warm {
		time.Sleep(time.Millisecond)
	}
	start := time.Now()
	taken, err := closedLoop(b.ctx, c, connections, b.span(), "/v1/events", 1, everyday.event)
	if err != nil {
		return r, err
	}
	for s.got.Load() < warm+taken {
		time.Sleep(time.Millisecond)
	}
	return rate{perSecond: float64(taken) / time.Since(start).Seconds()}, nil
}

// rate measures a closed loop of requests until all of it is on record.
func (w *world) rate(path string, perRequest int, body func(int64) []byte) (r rate, err error) {
	used, allocs := w.usage(), w.mallocs()
	n, took, err := w.delivered(func() (int64, error) {
		return closedLoop(w.ctx, w.api, connections, w.span(), path, perRequest, body)
	})
	if err != nil {
		return r, err
	}
	now := w.usage()
	return rate{
		perSecond: float64(n) / took.Seconds(), cpu: (now.cpu - used.cpu) / time.Duration(n),
		allocs: (w.mallocs() - allocs) / float64(n), written: float64(now.written-used.written) / float64(n),
	}, nil
}

// fill sends n events in batches.
func (w *world) fill(n int, event func(i int64) []byte) (int64, error) {
	body := batchOf(500, event)
	for i := range n / 500 {
		if err := w.api.call("POST", "/v1/events/batch", body(int64(i)), nil); err != nil {
			return 0, err
		}
	}
	return int64(n / 500 * 500), nil
}
