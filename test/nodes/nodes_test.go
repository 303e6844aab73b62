package nodes

import (
	"context"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"switchhook.dev/switchhook/internal/store/postgres/pgtest"
)

// TestThreeNodes sends events through three nodes while they are killed with -9 and
// started again, PostgreSQL is restarted twice, and webhooks change throughout. By
// hand (`make nodes`) it is 50,000 events, and a node dies every 5 s.
func TestThreeNodes(t *testing.T) {
	cluster := pgtest.Start(t, pgtest.Options{})
	database := cluster.Database(t)
	events, byHand := 2500, false
	if v := os.Getenv("SWITCHHOOK_NODES_EVENTS"); v != "" {
		var err error
		if events, err = strconv.Atoi(v); err != nil {
			t.Fatal(err)
		}
		byHand = true
	}
	l := newLoad(newFleet(t, database, 3), 100)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var trouble sync.WaitGroup
	trouble.Go(func() { l.churn(ctx, pick(l.agents, 30), 20*time.Millisecond) })
	trouble.Go(func() {
		for i := 1; ctx.Err() == nil; i++ {
			if byHand {
				select {
				case <-ctx.Done():
					return
				case <-time.After(5 * time.Second):
				}
			} else if l.until(i * events / 5); i >= 5 {
				return
			}
			l.kill(l.nodes[i%len(l.nodes)])
		}
	})
	trouble.Go(func() {
		for _, part := range []int{3, 7} {
			l.until(part * events / 10)
			cluster.Restart(t)
		}
	})
	start := time.Now()
	l.send(events, 64, 5)
	took := time.Since(start)
	stop()
	trouble.Wait()
	n := l.check(t, database)
	t.Logf("%s; PostgreSQL restarted twice; %.0f events/s", n, float64(events)/took.Seconds())
	// A node that lived on after it was declared dead logs what came of its attempts
	// then, beside those of who took over; only a machine that stands still has any.
	if n.recordedTwice > 0 && n.outlived == 0 || n.differing > 0 || n.succeeded == 0 || n.accepted != events {
		t.Error(n)
	}
}

// TestARollingRestartDoublesNothing stops and starts three nodes, one after the
// other, under load: each as an upgrade does it. Their leases are long: a node that a
// slow machine makes late is not to be taken for dead meanwhile.
func TestARollingRestartDoublesNothing(t *testing.T) {
	database := pgtest.Start(t, pgtest.Options{}).Database(t)
	const events = 1500
	l := newLoad(newFleetOf(t, database, 3, "1m"), 20)
	var rolling sync.WaitGroup
	rolling.Go(func() {
		for i, n := range l.nodes {
			l.until((i + 1) * events / 5)
			n.end(syscall.SIGTERM)
			if code := n.cmd.ProcessState.ExitCode(); code != 0 {
				t.Errorf("%s ended with %d", n.name, code)
			}
			l.start(n)
		}
	})
	l.send(events, 32, 3)
	rolling.Wait()
	n := l.check(t, database)
	t.Log(n)
	if n.twice > 0 || n.recordedTwice > 0 || n.outOfOrder > 0 || n.succeeded != events {
		t.Error(n)
	}
}

// TestFailover kills the primary of a synchronous pair under load and promotes the
// other: nothing that was answered 2xx is missing.
func TestFailover(t *testing.T) {
	primary := pgtest.Start(t, pgtest.Options{Fsync: true})
	database := primary.Database(t)
	standby := primary.Replica(t, "other")
	primary.Synchronous(t, "other")
	both := "postgres://switchhook@127.0.0.1:" + strconv.Itoa(primary.Port) + ",127.0.0.1:" + strconv.Itoa(standby.Port) +
		"/" + databaseName(database) + "?sslmode=disable&target_session_attrs=read-write"
	const events = 1200
	// No node dies here, and none is to be taken for dead, however slow the machine.
	l := newLoad(newFleetOf(t, both, 2, "1m"), 20)
	var failing sync.WaitGroup
	failing.Go(func() {
		l.until(events / 2)
		primary.Kill(t)
		standby.Promote(t)
	})
	l.send(events, 32, 3)
	failing.Wait()
	n := l.check(t, standby.URL(databaseName(database)))
	t.Logf("%s; failed over at half of them", n)
	if n.recordedTwice > 0 || n.accepted != events {
		t.Error(n)
	}
}
