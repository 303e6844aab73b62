package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"switchhook.dev/switchhook/internal/store/postgres/pgtest"
)

// postgres measures one node and three on a PostgreSQL of their own, on the same
// machine, its commits durable, beside the ceiling of the same minutes.
func postgres(b *bench) error {
	if !pgtest.Available() {
		fmt.Println("  (postgres left out: PostgreSQL is not installed)")
		return nil
	}
	cluster, err := pgtest.New(pgtest.Options{Fsync: true, Settings: map[string]string{
		// What docs/scaling.md advises, for a small machine.
		"shared_buffers": "512MB", "max_wal_size": "8GB", "wal_compression": "lz4",
	}})
	if err != nil {
		return err
	}
	defer cluster.Close()
	before, err := b.ceiling(1)
	if err != nil {
		return err
	}
	// Two databases, and PostgreSQL's counts to wait for: each measurement is shorter.
	shorter := *b
	shorter.Seconds *= 2.0 / 3
	one, err := shorter.onPostgres(cluster, 1)
	if err != nil {
		return err
	}
	three, err := shorter.onPostgres(cluster, 3)
	if err != nil {
		return err
	}
	// What it costs any program here to be three processes instead of one.
	split, err := b.ceiling(3)
	if err != nil {
		return err
	}
	after, err := b.ceiling(1)
	if err != nil {
		return err
	}
	top := (before.perSecond + after.perSecond) / 2
	b.add("PostgreSQL: the ceiling of these minutes", "", fmt.Sprintf("%.0f/s (%.0f and %.0f)", top, before.perSecond, after.perSecond), none)
	b.add("PostgreSQL, one node: durable events/s, one a request", "≥ 0.35 of the ceiling", fmt.Sprintf("%.0f/s, %.2f of the ceiling", one.single.perSecond, one.single.perSecond/top), met(one.single.perSecond/top >= 0.35))
	b.add("PostgreSQL, one node: the same in batches of 100", "≥ 0.35 of the ceiling", fmt.Sprintf("%.0f/s, %.2f of the ceiling", one.batch.perSecond, one.batch.perSecond/top), met(one.batch.perSecond/top >= 0.35))
	b.add("PostgreSQL, three nodes: one a request", "no slower than one node", fmt.Sprintf("%.0f/s, %.2f of one node", three.single.perSecond, three.single.perSecond/one.single.perSecond), met(three.single.perSecond >= one.single.perSecond))
	b.add("PostgreSQL, three nodes: in batches of 100", "no slower than one node", fmt.Sprintf("%.0f/s, %.2f of one node", three.batch.perSecond, three.batch.perSecond/one.batch.perSecond), met(three.batch.perSecond >= one.batch.perSecond))
	b.add("PostgreSQL, one node: accept to first byte at the receiver, 500 events/s", "p50 ≤ 4 ms", one.latency.String(), met(one.latency.quantile(0.5) <= 4*time.Millisecond))
	b.add("the ceiling as three processes, which get the requests in turn", "", fmt.Sprintf("%.0f/s, %.2f of one process", split.perSecond, split.perSecond/top), none)
	for _, m := range []struct {
		what string
		cost cost
	}{{"one node, one a request", one.single}, {"one node, in batches", one.batch}, {"three nodes, one a request", three.single}, {"three nodes, in batches", three.batch}} {
		b.add("PostgreSQL, "+m.what+": cost of an event", "", m.cost.String(), none)
	}
	return nil
}

// measured is what one setting showed; the latency of one node alone.
type measured struct {
	single, batch cost
	latency       waits
}

// onPostgres measures n nodes on a fresh database.
func (b *bench) onPostgres(cluster *pgtest.Cluster, n int) (m measured, err error) {
	database, err := cluster.Create(fmt.Sprint("nodes", n))
	if err != nil {
		return m, err
	}
	w, err := b.newNodes(database, n)
	if err != nil {
		return m, err
	}
	if err := w.team(everyday.agents); err != nil {
		return m, err
	}
	if _, _, err := w.delivered(func() (int64, error) { return w.fill(12_000, everyday.event) }); err != nil {
		return m, err
	}
	conn, err := pgx.Connect(w.ctx, w.database)
	if err != nil {
		return m, err
	}
	defer conn.Close(context.WithoutCancel(w.ctx))
	books, err := readLedger(w.ctx, conn, cluster)
	if err != nil {
		return m, err
	}
	name := fmt.Sprintf("postgres-%d-", n) // of several nodes, the first one's
	err = w.profiled(name+"one-a-request", func() (err error) {
		m.single, err = w.cost(&books, conn, cluster, "/v1/events", 1, everyday.event)
		return err
	})
	if err != nil {
		return m, err
	}
	err = w.profiled(name+"in-batches", func() (err error) {
		m.batch, err = w.cost(&books, conn, cluster, "/v1/events/batch", batchSize, batchOf(batchSize, everyday.event))
		return err
	})
	if err != nil {
		return m, err
	}
	if n > 1 {
		return m, w.close()
	}
	if _, err := w.paced(500, time.Second, "warm", everyday.stamped("warm")); err != nil {
		return m, err
	}
	if m.latency, err = w.paced(500, b.span(), "all", everyday.stamped("all")); err != nil {
		return m, err
	}
	return m, w.close()
}

// cost is a speed, and what an event costs both sides.
type cost struct {
	rate
	databaseCPU                time.Duration // an event
	wal, fsyncs, rows, commits float64       // an event; rows written, of any table
}

func (c cost) String() string {
	return fmt.Sprintf("CPU %d µs node + %d µs PostgreSQL, WAL %.0f bytes, %.3f fsyncs, %.1f rows written, %.3f transactions",
		c.cpu.Microseconds(), c.databaseCPU.Microseconds(), c.wal, c.fsyncs, c.rows, c.commits)
}

// cost is rate, with what it cost PostgreSQL since the books were read last. They
// are read again.
func (w *world) cost(books *ledger, conn *pgx.Conn, cluster *pgtest.Cluster, path string, perRequest int, body func(int64) []byte) (c cost, err error) {
	before, sent := *books, w.sent
	if c.rate, err = w.rate(path, perRequest, body); err != nil {
		return c, err
	}
	after, err := readLedger(w.ctx, conn, cluster)
	if err != nil {
		return c, err
	}
	*books = after
	n := float64(w.sent - sent)
	c.databaseCPU = time.Duration(float64(after.cpu-before.cpu) / n)
	c.wal, c.fsyncs = float64(after.wal-before.wal)/n, float64(after.fsyncs-before.fsyncs)/n
	c.rows, c.commits = float64(after.rows-before.rows)/n, float64(after.commits-before.commits)/n
	return c, nil
}

// ledger is what PostgreSQL has done so far.
type ledger struct {
	cpu                        time.Duration
	wal, fsyncs, rows, commits int64
}

// statisticsLag is how long a busy backend may keep its counts to itself
// (PGSTAT_MIN_INTERVAL is a second), and idle ones do at the end of a transaction.
const statisticsLag = 2500 * time.Millisecond

func readLedger(ctx context.Context, conn *pgx.Conn, cluster *pgtest.Cluster) (l ledger, err error) {
	time.Sleep(statisticsLag)
	err = conn.QueryRow(ctx, `SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint, w.wal_sync,
		d.tup_inserted + d.tup_updated + d.tup_deleted, d.xact_commit
		FROM pg_stat_wal w, pg_stat_database d WHERE d.datname = current_database()`).Scan(&l.wal, &l.fsyncs, &l.rows, &l.commits)
	l.cpu = familyTimes(cluster.PID())
	return l, err
}

// familyTimes is the CPU time of a process and of all its children, dead or alive.
func familyTimes(pid int) time.Duration {
	sum, _ := procTimes(pid, true)
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		child, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		if cpu, parent := procTimes(child, false); parent == pid {
			sum += cpu
		}
	}
	return sum
}
