// Package sqlite keeps everything in one SQLite file.
//
// One goroutine writes. Whatever asks to be written while it is busy with a
// commit shares the next transaction (group commit), so that durability costs
// one fsync for many events. What follows from many events is written once for many
// of them too: see lag.go. The journal is a WAL with synchronous=FULL: when a
// call that writes returns, its change survives a power cut. Reads go to a pool
// of connections beside the writer and never wait for it.
//
// The package must never answer a write before its commit, and never let one
// caller's fault undo another's write: a group that fails is written one by one.
package sqlite

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
	"switchhook.dev/switchhook/internal/phone"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitemigration"
	"zombiezen.com/go/sqlite/sqlitex"
)

//go:embed migrations/*.sql
var migrations embed.FS

// appID marks a SQLite file as Switchhook's ("SwHk").
const appID = 0x5377486b

const (
	readers = 8
	// lazyWait is how long results of attempts may wait for an accept to share a
	// transaction with: a delivery whose result is lost in a crash is sent again
	// anyway, and a few milliseconds more of that cost nothing.
	lazyWait = 5 * time.Millisecond
	// maxGroup bounds how many writes share a transaction: enough to make the
	// fsync cheap, few enough that nobody waits long for somebody else's work.
	maxGroup = 512
	// queueLength bounds the writes that wait; past it, callers are told to come back.
	queueLength = 4096
)

// Store is the SQLite store. Its methods are safe for concurrent use.
type Store struct {
	run    int64
	lock   *flock.Flock
	reads  *sqlitex.Pool
	writes chan *write
	urgent chan *write
	cache  *cache // the writer's
	keys   keyCache

	closing chan struct{} // closed by Close
	done    chan struct{} // closed when the writer has ended
	// checkpointed is closed when the checkpointer has ended.
	checkpointed chan struct{}
	written      atomic.Bool // since the last checkpoint
	unwritable   atomic.Bool // a transaction failed, and Ping has written nothing since
	lagging      atomic.Bool // something is to be caught up with before it is read
	// reading is locked while the WAL is begun anew, which no read may overlap.
	reading sync.RWMutex
	once    sync.Once
}

// Open opens or creates the database file at path, and brings its schema up to
// date. Only one process can have it open.
func Open(ctx context.Context, path string) (*Store, error) { return open(ctx, path, "nextRun") }

// open opens the file; next is the query that numbers this run.
func open(ctx context.Context, path, next string) (*Store, error) {
	lock := flock.New(path + ".lock")
	ok, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("cannot create %s.lock: %w: is the folder there, and writable?", path, err)
	}
	if !ok {
		return nil, fmt.Errorf("another Switchhook is running on %s: stop it first, or name another file with --database", path)
	}
	if err := takeRestored(path); err != nil {
		_ = lock.Unlock()
		return nil, err
	}
	s := &Store{
		lock:    lock,
		writes:  make(chan *write, queueLength),
		urgent:  make(chan *write, queueLength),
		cache:   newCache(),
		closing: make(chan struct{}),
		done:    make(chan struct{}),
	}
	conn, err := s.openWriter(ctx, path, next)
	if err != nil {
		_ = lock.Unlock()
		return nil, explainOpen(path, err)
	}
	s.reads, err = sqlitex.NewPool(path, sqlitex.PoolOptions{
		Flags:       sqlite.OpenReadOnly | sqlite.OpenWAL,
		PoolSize:    readers,
		PrepareConn: func(c *sqlite.Conn) error { return pragma(c, "cache_size=-2048") },
	})
	if err != nil {
		_ = conn.Close()
		_ = lock.Unlock()
		return nil, explainOpen(path, err)
	}
	checkpoints, err := sqlite.OpenConn(path, sqlite.OpenReadWrite|sqlite.OpenWAL)
	if err != nil {
		_ = s.reads.Close()
		_ = conn.Close()
		_ = lock.Unlock()
		return nil, explainOpen(path, err)
	}
	s.checkpointed = make(chan struct{})
	go s.writer(conn)
	go s.checkpoints(checkpoints)
	return s, nil
}

func (s *Store) openWriter(ctx context.Context, path, next string) (*sqlite.Conn, error) {
	if err := makePrivate(path); err != nil {
		return nil, err
	}
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadWrite|sqlite.OpenCreate|sqlite.OpenWAL)
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		pragma(conn, "synchronous=FULL"),
		// In KiB: so much that a server with a million deliveries pending takes 137 MB.
		pragma(conn, "cache_size=-18432"),
		// The checkpointer does it; this is for the case that it cannot keep up.
		pragma(conn, "wal_autocheckpoint=65536"),
	)
	if err == nil {
		err = checkFile(ctx, conn)
	}
	if err == nil {
		err = migrate(ctx, conn)
	}
	if err == nil {
		err = refuseMoved(conn, path)
	}
	if err == nil {
		err = sqlitex.Execute(conn, query(next), &sqlitex.ExecOptions{
			ResultFunc: func(st *sqlite.Stmt) error { s.run = max(s.run, st.ColumnInt64(0)); return nil },
		})
	}
	if err == nil {
		err = exec(conn, "takeBack", micros(time.Now()))
	}
	if err == nil {
		err = s.makeUp(conn)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// makeUp writes what an earlier run left behind.
func (s *Store) makeUp(conn *sqlite.Conn) (err error) {
	defer sqlitex.Transaction(conn)(&err)
	return (&tx{Conn: conn, run: s.run, cache: s.cache}).makeUp()
}

// checkFor is how long a start looks for damage: all of a small file, and of a
// large one what there is time for. Damage that is met later is told where it is met.
const checkFor = time.Second

// checkFile looks whether the file is whole.
func checkFile(ctx context.Context, conn *sqlite.Conn) error {
	limit, cancel := context.WithTimeout(ctx, checkFor)
	defer cancel()
	conn.SetInterrupt(limit.Done())
	defer conn.SetInterrupt(nil)
	err := check(conn)
	if sqlite.ErrCode(err) == sqlite.ResultInterrupt {
		return ctx.Err()
	}
	return err
}

func check(conn *sqlite.Conn) error {
	found := ""
	err := sqlitex.ExecuteTransient(conn, "PRAGMA quick_check(1)", &sqlitex.ExecOptions{
		ResultFunc: func(st *sqlite.Stmt) error { found = st.ColumnText(0); return nil },
	})
	if err == nil && found != "ok" {
		return errDamaged{found}
	}
	return err
}

// errDamaged is what a check found.
type errDamaged struct{ found string }

func (e errDamaged) Error() string { return strings.ReplaceAll(e.found, "\n", "; ") }

func migrate(ctx context.Context, conn *sqlite.Conn) error {
	entries, err := migrations.ReadDir("migrations")
	if err != nil {
		return err
	}
	schema := sqlitemigration.Schema{AppID: appID}
	for _, e := range entries {
		b, err := migrations.ReadFile("migrations/" + e.Name())
		if err != nil {
			return err
		}
		schema.Migrations = append(schema.Migrations, string(b))
	}
	return sqlitemigration.Migrate(ctx, conn, schema)
}

func explainOpen(path string, err error) error {
	if phone.CodeOf(err) != "" {
		return err
	}
	if _, damaged := errors.AsType[errDamaged](err); damaged {
		return fmt.Errorf("%s is damaged: restore a backup of it, or name another file with --database: %w", path, err)
	}
	switch sqlite.ErrCode(err).ToPrimary() {
	case sqlite.ResultNotADB, sqlite.ResultCorrupt:
		return fmt.Errorf("%s is damaged or not a Switchhook database: restore a backup of it, or name another file with --database: %w", path, err)
	case sqlite.ResultCantOpen:
		return fmt.Errorf("cannot open %s: is the folder there, and writable?: %w", path, err)
	}
	if _, statErr := os.Stat(path); statErr == nil && strings.Contains(err.Error(), "application") {
		return fmt.Errorf("%s is some other program's database: name another file with --database: %w", path, err)
	}
	return fmt.Errorf("cannot open the database %s: %w", path, err)
}

func pragma(c *sqlite.Conn, p string) error {
	return sqlitex.ExecuteTransient(c, "PRAGMA "+p, nil)
}

// Close waits for accepted writes and closes the file.
func (s *Store) Close() error {
	var err error
	s.once.Do(func() {
		close(s.closing)
		<-s.done
		<-s.checkpointed
		err = errors.Join(s.reads.Close(), s.lock.Unlock())
	})
	return err
}

// Ping says whether the store can be read and, where the last write failed, whether
// it can be written again: not just a page, for which a full disk may still have room
// where events find none.
func (s *Store) Ping(ctx context.Context) error {
	if s.unwritable.Load() {
		for _, name := range []string{"try", "tried"} {
			if err := s.writeHot(ctx, func(t *tx) error { return exec(t.Conn, name) }); err != nil {
				return err
			}
		}
		s.unwritable.Store(false)
	}
	return s.read(ctx, func(c *sqlite.Conn) error {
		return sqlitex.Execute(c, query("ping"), nil)
	})
}

// read runs f on a connection of its own, in one read transaction, so that
// several queries see the same state.
func (s *Store) read(ctx context.Context, f func(*sqlite.Conn) error) error {
	return s.readLoose(ctx, func(c *sqlite.Conn) (err error) {
		defer sqlitex.Transaction(c)(&err)
		return f(c)
	})
}

// readLoose is read without the transaction: for one query, or several over rows
// that never change.
func (s *Store) readLoose(ctx context.Context, f func(*sqlite.Conn) error) error {
	c, err := s.reads.Take(ctx)
	if err != nil {
		return unavailable(err)
	}
	defer s.reads.Put(c)
	s.reading.RLock()
	defer s.reading.RUnlock()
	if err = f(c); err != nil && phone.CodeOf(err) == "" {
		err = unavailable(err)
	}
	return err
}

// unavailable wraps a fault of the database itself.
func unavailable(err error) error {
	e := phone.Errorf(phone.Unavailable, "the database does not answer: try again in a second")
	switch sqlite.ErrCode(err).ToPrimary() {
	case sqlite.ResultFull:
		e.Message = "the disk is full, so nothing can be accepted: free some room; the server goes on by itself"
	case sqlite.ResultIOErr:
		e.Message = "the disk under the database fails, so nothing can be accepted: the server's log says how; it goes on by itself"
	case sqlite.ResultCorrupt, sqlite.ResultNotADB:
		e.Message = "the database file is damaged: stop the server and restore a backup"
	}
	e.Err, e.RetryAfter = err, time.Second
	return e
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
