package sqlite

import (
	"context"
	"errors"
	"slices"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"zombiezen.com/go/sqlite"
)

// write is one caller's change, waiting for its turn.
type write struct {
	do   func(*tx) error
	hot  bool // it keeps the cache true by itself
	bare bool // it runs alone, outside of any transaction
	// lazy says that nobody's answer hangs on it: it may wait lazyWait for another
	// write to share a transaction, and its sync to the disk, with.
	lazy bool
	done chan error
}

// tx is what a write runs on: the shared transaction, and the counters that
// this write moves, which are added up and written once at the commit.
type tx struct {
	*sqlite.Conn
	run    int64
	cache  *cache
	counts counter
}

// errBusy is what a caller gets when too many writes wait already.
func errBusy() error {
	e := phone.Errorf(phone.Unavailable, "too much is waiting to be written: try again in a second")
	e.RetryAfter = time.Second
	return e
}

// write runs do in the next transaction and returns when that is on disk. do may
// run twice, and its transaction may fail after it, so it must have no effect but
// through its tx. Where it returns an *phone.Error it must have written nothing.
func (s *Store) write(ctx context.Context, do func(*tx) error) error {
	return s.queue(ctx, &write{do: do, done: make(chan error, 1)})
}

// writeHot is write for a change that leaves the writer's cache true, of which
// there are many in a second.
func (s *Store) writeHot(ctx context.Context, do func(*tx) error) error {
	return s.queue(ctx, &write{do: do, hot: true, done: make(chan error, 1)})
}

// writeLazy is writeHot for what may wait a little for company.
func (s *Store) writeLazy(ctx context.Context, do func(*tx) error) error {
	return s.queue(ctx, &write{do: do, hot: true, lazy: true, done: make(chan error, 1)})
}

func (s *Store) queue(ctx context.Context, w *write) error {
	select {
	case <-s.closing:
		return unavailable(errors.New("the store is closing"))
	default:
	}
	select {
	case s.writes <- w:
	case <-ctx.Done():
		return ctx.Err()
	default:
		return errBusy()
	}
	// Once queued it will be written: the answer must be waited for, whatever
	// the caller's context says, or it would not know what happened.
	select {
	case err := <-w.done:
		return err
	case <-s.done:
		select {
		case err := <-w.done:
			return err
		default:
			return unavailable(errors.New("the store was closed"))
		}
	}
}

// writer is the one goroutine that writes.
func (s *Store) writer(conn *sqlite.Conn) {
	defer close(s.done)
	defer conn.Close()
	var group []*write
	for {
		group = group[:0]
		select {
		case w := <-s.writes:
			group = append(group, w)
		case <-s.closing:
			// What was queued before the close is still written.
			select {
			case w := <-s.writes:
				group = append(group, w)
			default:
				return
			}
		}
		s.commit(conn, s.gather(group))
	}
}

// gather adds to a group what is queued. A group in which everything is lazy waits
// until something is not, or for lazyWait.
func (s *Store) gather(group []*write) []*write {
	lazy := group[0].lazy
	var company <-chan time.Time
	for len(group) < maxGroup {
		select {
		case w := <-s.writes:
			group = append(group, w)
			lazy = lazy && w.lazy
			continue
		default:
		}
		if !lazy {
			break
		}
		if company == nil {
			company = time.After(lazyWait)
		}
		select {
		case w := <-s.writes:
			group = append(group, w)
			lazy = lazy && w.lazy
		case <-company:
			return group
		case <-s.closing:
			return group
		}
	}
	return group
}

// apart takes out of a group what must run outside of a transaction, and runs it.
func (s *Store) apart(conn *sqlite.Conn, group []*write) []*write {
	return slices.DeleteFunc(group, func(w *write) bool {
		if w.bare {
			w.done <- w.do(&tx{Conn: conn})
		}
		return w.bare
	})
}

// commit writes a group in one transaction. Where that fails, each write gets a
// transaction of its own, so that only what is at fault fails.
func (s *Store) commit(conn *sqlite.Conn, group []*write) {
	if group = s.apart(conn, group); len(group) == 0 {
		return
	}
	results := make([]error, len(group))
	err := s.try(conn, group, results)
	if err != nil && len(group) > 1 {
		for i := range group {
			if err := s.try(conn, group[i:i+1], results[i:i+1]); err != nil {
				results[i] = unavailable(err)
			}
		}
	} else if err != nil {
		results[0] = unavailable(err)
	}
	s.written.Store(true)
	for i, w := range group {
		w.done <- results[i]
	}
}

// try runs a group in one transaction. A write that refuses its caller (with an
// *phone.Error) has written nothing and the others go on; any other error undoes
// the transaction, and is returned.
func (s *Store) try(conn *sqlite.Conn, group []*write, results []error) (err error) {
	if err := exec(conn, "begin"); err != nil {
		return err
	}
	defer func() {
		if err == nil {
			return
		}
		s.cache.clear()
		// SQLite may have given the transaction up by itself (disk full, I/O error).
		if !conn.AutocommitEnabled() {
			_ = exec(conn, "rollback")
		}
	}()
	t := &tx{Conn: conn, run: s.run, cache: s.cache, counts: counter{}}
	for i, w := range group {
		results[i] = w.do(t)
		if !w.hot {
			s.cache.clear()
		}
		if results[i] != nil && phone.CodeOf(results[i]) == "" {
			return results[i]
		}
	}
	if err := t.counts.flush(conn); err != nil {
		return err
	}
	return exec(conn, "commit")
}
