package server

import (
	"context"
	"net/http"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"switchhook.dev/switchhook/internal/deliver"
	"switchhook.dev/switchhook/internal/lease"
	"switchhook.dev/switchhook/internal/nodes"
	"switchhook.dev/switchhook/internal/switchboard"
)

// shared is a store that many nodes work on at once.
type shared interface {
	nodes.Store
	switchboard.Shared
}

// join makes the server a node, where others may work on its store too. kept is
// the store itself, without what was put around it.
func (s *Server) join(ctx context.Context, kept Store, cfg Config) error {
	store, many := kept.(shared)
	if !many {
		return nil
	}
	if cfg.Lease == 0 {
		cfg.Lease = lease.DefaultLength
	}
	if cfg.NodeName == "" {
		cfg.NodeName, _ = os.Hostname()
	}
	s.shared, s.owner = store, cfg.NodeName
	s.node = nodes.New(nodes.Config{Store: store, Name: cfg.NodeName, Terms: lease.TermsFor(cfg.Lease), Logger: cfg.Logger,
		Adopted: func(n int) { s.adopted.Add(float64(n)) }})
	s.adopted = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "switchhook_deliveries_adopted_total", Help: "Deliveries taken over from nodes that are gone.",
	})
	return s.node.Join(ctx)
}

// maySend says whether the node's lease lets it send; nil where there is none.
func (s *Server) maySend() func() bool {
	if s.node == nil {
		return nil
	}
	return s.node.MaySend
}

// leased puts the node's lease before everything that a transport sends.
func (s *Server) leased(t *http.Transport) *http.Transport {
	if s.node != nil {
		t.DialContext = deliver.Guard(t.DialContext, s.node.MaySend)
	}
	return t
}

// startDispatcher takes up what this run, or this database's only server, owns.
func (s *Server) startDispatcher(ctx context.Context) error {
	if s.node == nil {
		return s.dispatcher.Start(ctx)
	}
	return s.dispatcher.StartRun(ctx, s.node.Run())
}

// nodeMetrics are of a node among others.
func (s *Server) nodeMetrics(r prometheus.Registerer) {
	if s.node == nil {
		return
	}
	r.MustRegister(s.adopted)
	for _, state := range lease.States() {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "switchhook_node_state", Help: "1 for the state this node is in, by its lease.",
			ConstLabels: prometheus.Labels{"state": state.String()},
		}, func() float64 {
			if s.node.State() == state {
				return 1
			}
			return 0
		}))
	}
	gauge := func(name, help string, value func() float64) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	gauge("switchhook_lease_seconds_left", "How long this node may go on sending without renewing its lease.", func() float64 { return max(0, s.node.Left().Seconds()) })
	gauge("switchhook_deliveries_owned", "Pending deliveries that this node owns, counted every 10 s and up to 100,000.", func() float64 { return float64(s.node.Owned()) })
}
