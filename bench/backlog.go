package main

import (
	"fmt"
	"sync"
	"time"
)

// Agents of the backlog scenario, and how many people write to the one that is down.
const (
	well, down   = 0, 1
	backlogPairs = 1000
)

// backlog lets an endpoint be down while very many deliveries gather for it, and
// brings it back: once while the server runs, once while it starts.
func backlog(b *bench) error {
	w, err := b.newWorld("backlog")
	if err != nil {
		return err
	}
	target, err := newSink("127.0.0.1:0")
	if err != nil {
		return err
	}
	if err := w.agent(well, w.sink.url+"/hook/0"); err != nil {
		return err
	}
	if err := w.agent(down, target.url+"/hook/1"); err != nil {
		return err
	}
	healthyMix := mix{agents: 1, conversations: 100}
	if _, err := w.paced(500, time.Second, "warm", healthyMix.stamped("warm")); err != nil {
		return err
	}
	// Normal speed: what one endpoint gets when its events come as fast as they can.
	normal, err := w.rate("/v1/events/batch", batchSize, batchOf(batchSize, func(i int64) []byte { return eventBody(down, 800_000+int(i)%backlogPairs, hello) }))
	if err != nil {
		return err
	}
	before, err := w.paced(500, b.span(), "well", healthyMix.stamped("well"))
	if err != nil {
		return err
	}
	target.close()
	start := time.Now()
	if err := w.gather(b.Pending); err != nil {
		return err
	}
	b.add(fmt.Sprintf("%d deliveries taken for an endpoint that is down", b.Pending), "", fmt.Sprintf("%.0f/s", float64(b.Pending)/time.Since(start).Seconds()), none)
	b.add("resident memory with them pending", "≤ 150 MB", fmt.Sprintf("%d MB", w.srv.resident()/1_000_000), met(w.srv.resident() <= 150_000_000))
	during, err := w.paced(500, b.span(), "well", healthyMix.stamped("well"))
	if err != nil {
		return err
	}
	b.add("a healthy endpoint's latency meanwhile", "unchanged", fmt.Sprintf("%s (before %s)", during, before), met(during.quantile(0.99) <= before.quantile(0.99)*3/2))

	// It comes back while the server runs.
	if target, err = newSink(target.addr); err != nil {
		return err
	}
	target.watchOrder()
	back := time.Now()
	if err := target.wait(1, time.Minute); err != nil {
		return err
	}
	first := time.Unix(0, target.first.Load()).Sub(back)
	b.add("the endpoint comes back: its backlog starts to drain", "≤ 5 s later", fmt.Sprintf("%.1f s later", first.Seconds()), met(first <= 5*time.Second))
	time.Sleep(time.Second)
	got, at := target.got.Load(), time.Now()
	time.Sleep(b.span())
	drain := float64(target.got.Load()-got) / time.Since(at).Seconds()
	b.add("it drains at", "≥ 0.8 of normal speed", fmt.Sprintf("%.2f (%.0f/s, normally %.0f/s)", drain/normal.perSecond, drain, normal.perSecond), met(drain >= 0.8*normal.perSecond))
	w.sink.measure()
	if err := openLoop(b.ctx, w.api, 500, b.span(), healthyMix.stamped("well")); err != nil {
		return err
	}
	beside := w.sink.waited("well")
	b.add("a healthy endpoint's latency while it drains", "not starved", beside.String(), met(len(beside) >= int(490*b.Seconds) && beside.quantile(0.99) < 100*time.Millisecond))
	b.add("arrivals out of their conversation's order", "0", fmt.Sprint(target.disorder()), met(target.disorder() == 0))
	b.add("resident memory while it drains", "≤ 150 MB", fmt.Sprintf("%d MB", w.srv.resident()/1_000_000), met(w.srv.resident() <= 150_000_000))

	// It is back when the server starts.
	if err := w.srv.stop(); err != nil {
		return err
	}
	target.first.Store(0)
	if err := w.startServer(); err != nil {
		return err
	}
	for deadline := time.Now().Add(time.Minute); target.first.Load() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("nothing was delivered within a minute of a restart")
		}
	}
	first = time.Unix(0, target.first.Load()).Sub(w.srv.started)
	b.add("first delivery after a restart with a backlog", "≤ 5 s", fmt.Sprintf("%.2f s", first.Seconds()), met(first <= 5*time.Second))
	target.close()
	return w.close()
}

// gather sends n events to the endpoint that is down, each of a conversation that
// counts them.
func (w *world) gather(n int) error {
	const perRequest, connections = 500, 4
	var work sync.WaitGroup
	failed := make(chan error, connections)
	for c := range connections {
		work.Go(func() {
			// Each connection has conversations of its own, so that they stay in order.
			for i := range n / connections / perRequest {
				body := batchOf(perRequest, func(k int64) []byte {
					from, turn := c*1000+int(k)%(backlogPairs/connections), int(k)/(backlogPairs/connections)
					return eventBody(down, from, stamp{time.Unix(0, 0), "backlog", fmt.Sprint(from), turn + 1}.String())
				})
				if err := w.api.call("POST", "/v1/events/batch", body(int64(i)), nil); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	work.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// wait returns when n requests have arrived.
func (s *sink) wait(n int64, within time.Duration) error {
	for deadline := time.Now().Add(within); s.got.Load() < n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("%d of %d requests arrived within %s", s.got.Load(), n, within)
		}
	}
	return nil
}
