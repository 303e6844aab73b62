package main

import (
	"slices"
	"testing"
	"time"
)

func simulate(nodes int, hours float64, change func(*simulation)) *simulation {
	s := newSimulation(leasesCmd{Nodes: nodes, Hours: hours, Lease: 10 * time.Second, Rate: 200, Answer: 80 * time.Millisecond, Owned: 3000, Seed: 7})
	change(s)
	s.run()
	return s
}

func TestNoRunSendsWhatAnotherHasAdopted(t *testing.T) {
	t.Parallel()
	s := simulate(30, 8, func(*simulation) {})
	if s.senders != 0 || s.crashes == 0 || s.lost == 0 || s.failovers == 0 || s.rolls == 0 {
		t.Errorf("%d runs sent what others had adopted:\n%s", s.senders, s.report())
	}
}

func TestADeadNodesWorkIsAdoptedWithin15Seconds(t *testing.T) {
	t.Parallel()
	s := simulate(30, 4, func(s *simulation) { s.steady = true })
	if slowest := slices.Max(s.adoptions); slowest > 15 {
		t.Errorf("adopted after %.1f s:\n%s", slowest, s.report())
	}
	if slowest := slices.Max(s.handedOver); slowest > 1 {
		t.Errorf("handed over after %.1f s:\n%s", slowest, s.report())
	}
}

// Without the margin the simulation must see what the margin is for.
func TestTheSimulationSeesAMissingMargin(t *testing.T) {
	t.Parallel()
	s := simulate(30, 8, func(s *simulation) { s.terms.Margin = 0 })
	if s.senders == 0 {
		t.Error("no run sent what another had adopted")
	}
}
