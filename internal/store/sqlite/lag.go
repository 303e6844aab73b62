package sqlite

import (
	"cmp"
	"context"
	"slices"
)

// An event writes its message and its delivery, which are appended. What follows
// from them lies anywhere: the row of its conversation (how many messages, which
// was last) and its agent's log. These lag behind: they are written in slices, in
// the order of their keys, so that a page is written once for many events. The file
// remembers how far they are; after a crash, or a transaction that failed, the rest
// is made up from messages and deliveries. Whoever reads them has them written first.

// Bounds of what lags, so that a slice is a few milliseconds of writing.
const (
	maxLaggingConversations = 512 // no more than a generation of the cache
	maxLaggingDeliveries    = 1024
)

// lag is what is to be written still.
type lag struct {
	conversations map[conversationKey]*conversation
	deliveries    []listing
	// listed is until when the agents' log is whole, in microseconds: what is older
	// goes there at once.
	listed int64
}

// listing is a delivery's place in its agent's log.
type listing struct {
	agentID   string
	createdAt int64
	id        string
}

func (l *lag) any() bool { return len(l.conversations)+len(l.deliveries) > 0 }

func (l *lag) much() bool {
	return len(l.conversations) >= maxLaggingConversations || len(l.deliveries) >= maxLaggingDeliveries
}

// behind notes that a conversation's row is not as it should be.
func (t *tx) behind(k conversationKey, c *conversation) {
	l := &t.cache.lag
	if l.conversations == nil {
		l.conversations = map[conversationKey]*conversation{}
	}
	l.conversations[k] = c
}

// list puts a new delivery into its agent's log, sooner or later.
func (t *tx) list(v listing) error {
	l := &t.cache.lag
	if v.createdAt <= l.listed {
		return exec(t.Conn, "listDelivery", v.agentID, v.createdAt, v.id)
	}
	l.deliveries = append(l.deliveries, v)
	return nil
}

// catchUp writes what lags.
func (t *tx) catchUp() error {
	l := &t.cache.lag
	if len(l.conversations) > 0 {
		late := make([]*conversation, 0, len(l.conversations))
		for _, c := range l.conversations {
			late = append(late, c)
		}
		slices.SortFunc(late, func(a, b *conversation) int { return cmp.Compare(a.id, b.id) })
		for _, c := range late {
			if err := c.write(t); err != nil {
				return err
			}
		}
		seq, err := t.lastSeq()
		if err == nil {
			err = exec(t.Conn, "tell", "told_seq", seq)
		}
		if err != nil {
			return err
		}
		clear(l.conversations)
	}
	if len(l.deliveries) > 0 {
		slices.SortFunc(l.deliveries, func(a, b listing) int {
			return cmp.Or(cmp.Compare(a.agentID, b.agentID), cmp.Compare(a.createdAt, b.createdAt), cmp.Compare(a.id, b.id))
		})
		for _, v := range l.deliveries {
			if err := exec(t.Conn, "listDelivery", v.agentID, v.createdAt, v.id); err != nil {
				return err
			}
			l.listed = max(l.listed, v.createdAt)
		}
		if err := exec(t.Conn, "tell", "told_at", l.listed); err != nil {
			return err
		}
		l.deliveries = l.deliveries[:0]
	}
	return nil
}

// makeUp writes what lags where memory does not know it: it was lost with a
// process, or changed by a transaction that failed.
func (t *tx) makeUp() error {
	l := lag{}
	told := int64(0)
	for name, to := range map[string]*int64{"told_seq": &told, "told_at": &l.listed} {
		if _, err := one(t.Conn, "told", func(r *row) { *to = r.int64() }, name); err != nil {
			return err
		}
	}
	late := map[string]*conversation{}
	err := each(t.Conn, "messagesSince", func(r *row) error {
		told = r.int64()
		id := r.text()
		c := late[id]
		if c == nil {
			c = &conversation{id: id}
			late[id] = c
		}
		c.last, c.count, c.preview, c.lastAt = told, r.int(), preview(r.text()), max(c.lastAt, r.int64())
		return nil
	}, told)
	if err != nil {
		return err
	}
	for _, c := range late {
		if err := exec(t.Conn, "catchUpConversation", c.id, c.count, c.lastAt, c.preview, c.last); err != nil {
			return err
		}
	}
	var projects []string
	if err := each(t.Conn, "allProjects", func(r *row) error { projects = append(projects, r.text()); return nil }); err != nil {
		return err
	}
	since := l.listed
	for _, id := range projects {
		if err := exec(t.Conn, "listSince", id, since); err != nil {
			return err
		}
		if _, err := one(t.Conn, "latestDelivery", func(r *row) { l.listed = max(l.listed, r.int64()) }, id); err != nil {
			return err
		}
	}
	if err := exec(t.Conn, "tell", "told_seq", told); err != nil {
		return err
	}
	if err := exec(t.Conn, "tell", "told_at", l.listed); err != nil {
		return err
	}
	t.cache.lag, t.cache.torn = l, false
	return nil
}

// caughtUp has written what lags, for somebody who is about to read it. A store
// that cannot write still shows what it has.
func (s *Store) caughtUp(ctx context.Context) {
	if s.lagging.Load() {
		_ = s.writeHot(ctx, (*tx).catchUp)
	}
}

// caughtUpFor is caughtUp where deliveries are read from a log that lags.
func (s *Store) caughtUpFor(ctx context.Context, from source) {
	if from.by == "l" {
		s.caughtUp(ctx)
	}
}
