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

// writeUrgent is writeHot for a change that somebody on the line waits for: it goes
// before all that waits, and cuts short the group that is being written.
func (s *Store) writeUrgent(ctx context.Context, do func(*tx) error) error {
	return s.enqueue(ctx, s.urgent, &write{do: do, hot: true, done: make(chan error, 1)})
}

func (s *Store) queue(ctx context.Context, w *write) error { return s.enqueue(ctx, s.writes, w) }

func (s *Store) enqueue(ctx context.Context, queue chan<- *write, w *write) error {
	select {
	case <-s.closing:
		return unavailable(errors.New("the store is closing"))
	default:
	}
	select {
	case queue <- w:
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
		case w := <-s.urgent:
			s.hurry(conn, w)
			continue
		case w := <-s.writes:
			group = append(group, w)
		case <-s.closing:
			// What was queued before the close is still written.
			select {
			case w := <-s.urgent:
				group = append(group, w)
			case w := <-s.writes:
				group = append(group, w)
			default:
				return
			}
		}
		s.commit(conn, s.gather(conn, group))
	}
}

// gather adds to a group what is queued. A group in which everything is lazy waits
// until something is not, or for lazyWait; what is urgent is written meanwhile.
func (s *Store) gather(conn *sqlite.Conn, group []*write) []*write {
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
		case w := <-s.urgent:
			s.hurry(conn, w)
		case <-company:
			return group
		case <-s.closing:
			return group
		}
	}
	return group
}

// hurry writes what is urgent, the given first, in a transaction that nothing cuts short.
func (s *Store) hurry(conn *sqlite.Conn, first ...*write) {
	if urgent := s.hurried(first...); len(urgent) > 0 {
		s.part(conn, batch{writes: urgent, whole: true})
	}
}

// hurried is the urgent writes that wait, behind those given.
func (s *Store) hurried(first ...*write) []*write {
	for {
		select {
		case w := <-s.urgent:
			first = append(first, w)
			continue
		default:
		}
		return first
	}
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

// commit writes a group: in one transaction, unless something urgent comes.
func (s *Store) commit(conn *sqlite.Conn, group []*write) {
	for group = s.apart(conn, group); len(group) > 0; {
		s.hurry(conn)
		group = s.part(conn, batch{writes: group})
	}
}

// part writes a group in one transaction, and returns what is left of it: an
// urgent write that comes meanwhile joins at once, and what follows waits for the
// next one (of a whole group nothing is left). Where the transaction fails, each
// write gets one of its own, so that only what is at fault fails.
func (s *Store) part(conn *sqlite.Conn, g batch) (rest []*write) {
	g.results = make([]error, len(g.writes))
	err := s.try(conn, &g)
	if err != nil && len(g.writes) > 1 {
		for i, w := range g.writes {
			alone := batch{writes: []*write{w}, results: g.results[i : i+1]}
			if err = s.try(conn, &alone); err != nil {
				g.results[i] = unavailable(err)
			}
		}
	} else if err != nil {
		g.results[0] = unavailable(err)
	}
	if err != nil {
		s.unwritable.Store(true)
	}
	s.written.Store(true)
	for i, w := range g.writes {
		w.done <- g.results[i]
	}
	return g.rest
}

// batch is the writes of one transaction.
type batch struct {
	writes  []*write
	results []error
	rest    []*write // what was left for later
	whole   bool     // nothing may join, or be left
}

// cut lets urgent writes in before the i-th: they are the last of the batch then.
func (b *batch) cut(i int, urgent []*write) {
	b.rest = b.writes[i:]
	b.writes = append(slices.Clone(b.writes[:i]), urgent...)
	b.results = append(slices.Clone(b.results[:i]), make([]error, len(urgent))...)
	b.whole = true
}

// try runs a batch in one transaction. A write that refuses its caller (with an
// *phone.Error) has written nothing and the others go on; any other error undoes
// the transaction, and is returned.
func (s *Store) try(conn *sqlite.Conn, b *batch) (err error) {
	if err := exec(conn, "begin"); err != nil {
		return err
	}
	defer func() {
		if err == nil {
			return
		}
		s.cache.tear()
		s.lagging.Store(true)
		// SQLite may have given the transaction up by itself (disk full, I/O error).
		if !conn.AutocommitEnabled() {
			_ = exec(conn, "rollback")
		}
	}()
	t := &tx{Conn: conn, run: s.run, cache: s.cache, counts: counter{}}
	if s.cache.torn {
		if err := t.makeUp(); err != nil {
			return err
		}
	}
	for i := 0; i < len(b.writes); i++ {
		if i > 0 && !b.whole && len(s.urgent) > 0 {
			b.cut(i, s.hurried())
		}
		w := b.writes[i]
		b.results[i] = w.do(t)
		if !w.hot {
			s.cache.clear()
		}
		if b.results[i] != nil && phone.CodeOf(b.results[i]) == "" {
			return b.results[i]
		}
	}
	if s.cache.lag.much() {
		if err := t.catchUp(); err != nil {
			return err
		}
	}
	if err := t.counts.flush(conn); err != nil {
		return err
	}
	// Before anybody is answered: who reads then finds all of it.
	s.lagging.Store(s.cache.lag.any())
	return exec(conn, "commit")
}
