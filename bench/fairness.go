package main

import (
	"context"
	"fmt"
	"time"
)

const healthy, hangers = 90, 10

// hanging measures what endpoints that never answer do to the others.
func hanging(b *bench) error {
	w, err := b.newWorld("hanging")
	if err != nil {
		return err
	}
	if err := w.team(healthy); err != nil {
		return err
	}
	for i := range hangers {
		if err := w.agent(healthy+i, fmt.Sprintf("%s/hang/%d", w.sink.url, i), "timeout", 5); err != nil {
			return err
		}
	}
	w.sink.hanging.Store(true)
	others := mix{agents: healthy, conversations: 10}
	toHangers := func(i int64, due time.Time) []byte {
		return eventBody(healthy+int(i)%hangers, 900_000+int(i)%1000, hello)
	}
	const rate = 1000
	if _, err := w.paced(rate, time.Second, "warm", others.stamped("warm")); err != nil {
		return err
	}
	alone, err := w.paced(rate, b.span(), "alone", others.stamped("alone"))
	if err != nil {
		return err
	}
	fast, err := w.rate("/v1/events", 1, others.event)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(b.ctx)
	ended := make(chan error, 1)
	go func() { ended <- openLoop(ctx, w.api, rate/9, time.Hour, toHangers) }()
	time.Sleep(time.Second)
	beside, err := w.paced(rate, b.span(), "beside", others.stamped("beside"))
	if err != nil {
		stop()
		return err
	}
	slow, err := w.rate("/v1/events", 1, others.event)
	stop()
	if err := <-ended; err != nil {
		return err
	}
	if err != nil {
		return err
	}
	ratio := float64(beside.quantile(0.99)) / float64(alone.quantile(0.99))
	b.add("90 endpoints beside 10 that never answer: p99 of the 90", "≤ 1.5 × that without the 10", fmt.Sprintf("%.2f × (%s, without %s)", ratio, ms(beside.quantile(0.99)), ms(alone.quantile(0.99))), met(ratio <= 1.5))
	share := slow.perSecond / fast.perSecond
	b.add("throughput of the 90", "≥ 0.9 of that without the 10", fmt.Sprintf("%.2f (%.0f/s, without %.0f/s)", share, slow.perSecond, fast.perSecond), met(share >= 0.9))
	return w.close()
}

// busyAgent measures what an agent with a hundred times the events does to the others.
func busyAgent(b *bench) error {
	w, err := b.newWorld("busy")
	if err != nil {
		return err
	}
	if err := w.team(everyday.agents); err != nil {
		return err
	}
	others := mix{agents: everyday.agents - 1, conversations: 10}
	const rate = 990 // ten a second for each
	if _, err := w.paced(rate, time.Second, "warm", others.stamped("warm")); err != nil {
		return err
	}
	alone, err := w.paced(rate, b.span(), "others", others.stamped("others"))
	if err != nil {
		return err
	}
	quiet, busy := others.stamped("others"), everyday.agents-1
	both, err := w.paced(rate+1000, b.span(), "others", func(i int64, due time.Time) []byte {
		if i%2 == 0 {
			return quiet(i/2, due)
		}
		return eventBody(busy, 990_000+int(i)%100, stamp{due, "busy", "busy", int(i)}.String())
	})
	if err != nil {
		return err
	}
	ratio := float64(both.quantile(0.99)) / float64(alone.quantile(0.99))
	b.add("one agent with 100 × the events of each of 99 others: p99 of the others", "≤ 2 × that without it", fmt.Sprintf("%.2f × (%s, without %s)", ratio, ms(both.quantile(0.99)), ms(alone.quantile(0.99))), met(ratio <= 2))
	return w.close()
}
