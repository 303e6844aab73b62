// Package postgres keeps everything in PostgreSQL, for as many nodes as like to
// share it.
//
// Nodes know of each other only through rows and locks. What events of a project
// are routed by (numbers, agents, webhooks) changes under the project's lock, and
// every transaction that routes shares that lock (transaction.sql): so no event is
// bound to a webhook that is gone, on whichever node it was taken in. A
// conversation's row is locked from the moment its event gets its place in the
// history until the commit, which is what keeps its order across nodes. A delivery
// has one owner at most, the run of the server whose dispatcher has it in hand;
// see node.go.
//
// There is no state in a connection but a transaction's, so that PgBouncer may
// stand before the database in transaction mode. Statements of a transaction go
// out together wherever no answer is needed in between (tx.go), and each does its
// work for a whole batch of one project's rows: its project_id is a parameter of
// its own, and stands in every key, so that Citus can send it to the one shard.
//
// The package must never answer a write before its commit, and never wait long for
// a database that is away: callers are told to come back.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// acquireWait is how long a call waits for a connection before it gives up.
	acquireWait = time.Second
	// txLimit bounds one transaction: a database that takes longer is as good as away.
	txLimit = 15 * time.Second
	// openLimit bounds the start: migrations take their time, and are waited for.
	openLimit = 10 * time.Minute
	// leaseFor is how long a run's lease lasts that is not renewed.
	leaseFor = 15 * time.Second
)

// Store is the PostgreSQL store. Its methods are safe for concurrent use.
type Store struct {
	pool *pgxpool.Pool
	// run is this start's number: what this process owns is marked with it.
	run    atomic.Int64
	joined bool // Join has been called
	looks  atomic.Int64
	dues   dueCalls
	keys   keyCache
	tails  tailCache
	routes routeCache
	doubts doubts
	// background is what goes on beside calls, until closing is closed.
	background  sync.WaitGroup
	closing     chan struct{}
	once        sync.Once
	filling     filling
	lookedAhead atomic.Int64 // when partitions were last made, in Unix seconds
	// projects remembers which project a webhook is of: that never changes.
	projects sync.Map
	notifier notifier
	warnings []string // see Warnings
	// lazy says that a connection was told to answer commits early, unsafe that the
	// server does not see to it that they survive a crash; see durable.go.
	lazy, unsafe atomic.Bool
	// full says that a transaction found no room on the disk, and Ping has found none since.
	full atomic.Bool
	// apart says that Citus spreads projects over servers; see apart.go.
	apart atomic.Bool
}

// Open connects to the database that a postgres:// URL names, brings its schema up
// to date, and takes over what runs owned whose lease has ended.
//
// Beside what libpq knows (sslmode, target_session_attrs, several hosts, …) the URL
// may say: schema, the schema that everything is kept in; pool_max_conns, how many
// connections this node opens, 16 where it says nothing; and
// default_query_exec_mode=cache_describe behind a PgBouncer older than 1.21, which
// knows no prepared statements.
func Open(ctx context.Context, databaseURL string) (*Store, error) {
	cfg, schema, err := parseURL(databaseURL)
	if err != nil {
		return nil, err
	}
	return open(ctx, cfg, schema)
}

func open(ctx context.Context, cfg *pgxpool.Config, schema string) (_ *Store, err error) {
	ctx, cancel := context.WithTimeout(ctx, openLimit)
	defer cancel()
	s := &Store{closing: make(chan struct{})}
	cfg.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		sendColumns(conn)
		return s.lookAtSettings(ctx, conn)
	}
	if s.pool, err = pgxpool.NewWithConfig(ctx, cfg); err != nil {
		return nil, explainOpen(err)
	}
	if err := s.start(ctx, schema); err != nil {
		s.pool.Close()
		return nil, explainOpen(err)
	}
	return s, nil
}

func (s *Store) start(ctx context.Context, schema string) error {
	if err := s.migrate(ctx, schema, migrations); err != nil {
		return err
	}
	s.warnOfSettings()
	if err := s.lookAhead(ctx, time.Now()); err != nil {
		return err
	}
	if err := s.newRun(ctx, processName(), leaseFor); err != nil {
		return err
	}
	return s.adoptAtOpen(ctx)
}

// Warnings are what a person should know of the database, as Open found it.
func (s *Store) Warnings() []string { return s.warnings }

func (s *Store) warn(format string, args ...any) {
	s.warnings = append(s.warnings, fmt.Sprintf(format, args...))
}

// Close ends the run and closes the connections. What the run still owned is
// anybody's to take from then on.
func (s *Store) Close() (err error) {
	s.once.Do(func() {
		close(s.closing)
		s.background.Wait()
		err = s.write(context.Background(), func(t *tx) error { return exec(t, "endRun", t.run) })
		s.pool.Close()
	})
	return err
}

// Ping says whether the store can be written: a standby cannot, nor can one whose
// disk is full, until there is room again.
func (s *Store) Ping(ctx context.Context) error {
	if s.full.Load() {
		if err := s.tryRoom(ctx); err != nil {
			return err
		}
		s.full.Store(false)
	}
	return s.readOne(ctx, func(t *tx) error {
		writable := false
		err := each(t, "ping", func(r *row) error {
			if writable = r.bool(); r.bool() {
				s.lazy.Store(true)
			}
			return nil
		})
		if err != nil {
			return err
		}
		if !writable {
			s.reset() // another host of the URL may be the primary by now
			return errReadOnly(errors.New("the server is a standby, or switched to read-only"))
		}
		return nil
	})
}

// tryRoom says whether there is room for what events take, and leaves nothing.
func (s *Store) tryRoom(ctx context.Context) error {
	return s.readIn(ctx, "begin", func(t *tx) error { return exec(t, "tryRoom") })
}

// projectOf returns the project of a webhook; "" for an unknown one.
func (s *Store) projectOf(ctx context.Context, webhookID string) (project string, err error) {
	if p, ok := s.projects.Load(webhookID); ok {
		return p.(string), nil
	}
	err = s.readOne(ctx, func(t *tx) error {
		ok, err := one(t, "projectOfWebhook", func(r *row) { project = r.text() }, webhookID)
		if ok {
			s.projects.Store(webhookID, project)
		}
		return err
	})
	return project, err
}

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}
