package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"switchhook.dev/switchhook/internal/phone"
)

// tx is one transaction. Statements whose answer nobody waits for are kept back
// and go out with the next one that is waited for, in one round trip: BEGIN goes
// with the first, COMMIT with the last.
type tx struct {
	ctx    context.Context
	cancel context.CancelFunc
	conn   *pgxpool.Conn
	run    int64
	pokes  map[int64]bool // runs that are told to look, once it is committed
	counts counter
	batch  pgx.Batch
	reads  []func(*row) error // of the batch's statements; nil for those without rows
	size   int                // of what the batch sends, in bytes, or about that
	// committing is true once COMMIT may have reached the server: what became of it
	// is unknown where no answer comes.
	committing bool
}

// errRace says that others were in a transaction's way: it is to be done again.
var errRace = errors.New("another transaction came first")

// tries bounds how often a transaction is done again that others were in the way of.
const tries = 10

// write runs do in a transaction and returns when that is on disk. do may run
// several times, so it must have no effect but through its tx. Where it returns an
// error nothing of it is kept.
func (s *Store) write(ctx context.Context, do func(*tx) error) error {
	return s.writeIn(ctx, slotOther, do)
}

// writeIn is write for transactions that count in a slot of their own. All but
// slotOther are on the way of events: what they run is planned once.
func (s *Store) writeIn(ctx context.Context, slot int64, do func(*tx) error) error {
	// What was begun is ended, whatever the caller's context says, or the caller
	// would not know what happened.
	var err error
	for try := range tries {
		var t *tx
		if t, err = s.begin(ctx, "begin"); err != nil {
			return err
		}
		if slot != slotOther {
			later(t, "planOnce", nothing)
		}
		if err = do(t); err == nil {
			err = t.commit(s.slot(slot))
		}
		t.end(err)
		if codeOf(err) == codeDiskFull {
			s.full.Store(true)
		}
		if err == nil && len(t.pokes) > 0 {
			s.notify(t.pokes)
		}
		switch {
		case err == nil || phone.CodeOf(err) != "":
			return err
		case again(err) || errors.Is(err, errRace):
			continue
		case lost(err) && !t.committing && try == 0:
			// A connection that waited in the pool while the server restarted: the others
			// that waited with it are no better.
			s.reset()
			continue
		case lost(err):
			s.reset()
			if t.committing {
				err = fmt.Errorf("%w: %w", errInDoubt, err)
			}
		}
		return unavailable(err)
	}
	return unavailable(err)
}

// read runs f in one read transaction, so that several queries see the same state.
func (s *Store) read(ctx context.Context, f func(*tx) error) error {
	return s.readIn(ctx, "beginRead", f)
}

// readOne is read without the transaction: for one query, or several over rows
// that never change.
func (s *Store) readOne(ctx context.Context, f func(*tx) error) error {
	return s.readIn(ctx, "", f)
}

func (s *Store) readIn(ctx context.Context, begin string, f func(*tx) error) error {
	for try := 0; ; try++ {
		t, err := s.begin(ctx, begin)
		if err != nil {
			return err
		}
		if err = f(t); err == nil && begin != "" {
			exec(t, "rollback")
			err = t.flush()
		}
		t.end(err)
		if err == nil || phone.CodeOf(err) != "" {
			return err
		}
		if lost(err) {
			s.reset()
			if try == 0 && ctx.Err() == nil {
				continue
			}
		}
		return unavailable(err)
	}
}

// reset drops the connections that are open: what they led to is gone.
func (s *Store) reset() {
	s.pool.Reset()
	s.routes.forget()
}

// begin takes a connection. The transaction begins with its first statement.
func (s *Store) begin(ctx context.Context, begin string) (*tx, error) {
	wait, cancel := context.WithTimeout(ctx, acquireWait)
	defer cancel()
	conn, err := s.pool.Acquire(wait)
	if err != nil {
		return nil, unavailable(err)
	}
	t := &tx{conn: conn, run: s.run.Load(), counts: counter{}}
	t.ctx, t.cancel = context.WithTimeout(context.WithoutCancel(ctx), txLimit)
	if begin != "" {
		exec(t, begin)
	}
	if begin == "begin" {
		s.toDisk(t)
	}
	return t, nil
}

// commit writes the counters and commits, with all that was kept back.
func (t *tx) commit(slot int64) error {
	t.counts.flush(t, slot)
	exec(t, "commit")
	t.committing = true
	return t.flush()
}

// end returns the connection. One that is still within a transaction is rolled
// back; where that fails the pool closes it.
func (t *tx) end(err error) {
	defer t.cancel()
	if err != nil && !t.conn.Conn().IsClosed() && t.conn.Conn().PgConn().TxStatus() != 'I' {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, _ = t.conn.Exec(ctx, query("rollback"))
	}
	t.conn.Release()
}

// exec keeps a statement back that answers no rows. Its fault is told by whatever
// sends it. It returns nil, for the sake of calls that read like the others.
func exec(t *tx, name string, values ...any) error {
	later(t, name, nil, values...)
	return nil
}

// later keeps a query back. f is called for every row once it is sent.
func later(t *tx, name string, f func(*row) error, values ...any) {
	t.queue(query(name), f, values)
}

func (t *tx) queue(text string, f func(*row) error, values []any) {
	t.batch.Queue(text, values...)
	t.reads = append(t.reads, f)
	t.size += statementSize
	for _, v := range values {
		t.size += sizeOf(v)
	}
}

// each calls f for every row of a query.
func each(t *tx, name string, f func(*row) error, values ...any) error {
	return eachText(t, query(name), f, values...)
}

// eachText is each for a query put together from fixed parts. Its parameters stand
// as ?, in their order.
func eachText(t *tx, text string, f func(*row) error, values ...any) error {
	var numbered strings.Builder
	for i, part := range strings.Split(text, "?") {
		if i > 0 {
			numbered.WriteString("$" + strconv.Itoa(i))
		}
		numbered.WriteString(part)
	}
	t.queue(numbered.String(), f, values)
	return t.flush()
}

// one calls f for the first row, and says whether there was one.
func one(t *tx, name string, f func(*row), values ...any) (bool, error) {
	found := false
	err := each(t, name, func(r *row) error {
		if !found {
			f(r)
		}
		found = true
		return nil
	}, values...)
	return found, err
}

// flush sends what was kept back, in one round trip, and reads the answers in order.
func (t *tx) flush() (err error) {
	if len(t.reads) == 0 {
		return nil
	}
	batch, reads := t.batch, t.reads
	reserve(t.conn.Conn(), t.size)
	t.batch, t.reads, t.size = pgx.Batch{}, nil, 0
	answers := t.conn.SendBatch(t.ctx, &batch)
	defer func() {
		if closing := answers.Close(); err == nil {
			err = closing
		}
	}()
	for _, f := range reads {
		if f == nil {
			if _, err := answers.Exec(); err != nil {
				return err
			}
			continue
		}
		rows, err := answers.Query()
		if err != nil {
			return err
		}
		if err := readRows(rows, f); err != nil {
			return err
		}
	}
	return nil
}

func readRows(rows pgx.Rows, f func(*row) error) error {
	defer rows.Close()
	r := row{fields: rows.FieldDescriptions()}
	for rows.Next() {
		r.values, r.n = rows.RawValues(), 0
		if err := f(&r); err != nil {
			return err
		}
	}
	return rows.Err()
}

// lockProject has what follows wait until nobody routes events of a project, and
// everybody who is about to wait until this transaction ends; it changes the routing.
func (t *tx) lockProject(projectID string) {
	exec(t, "lockProject", projectID)
	exec(t, "routingChanged", projectID)
}

// shareProject keeps a project's routing from changing until this transaction ends.
func (t *tx) shareProject(projectID string) { exec(t, "shareProject", projectID) }
