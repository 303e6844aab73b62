package postgres

import (
	"slices"
	"sync"

	"switchhook.dev/switchhook/internal/phone"
)

// conversation is one that events of a batch join.
type conversation struct {
	conversationKey
	number, agentID string
	firstAt, lastAt int64
	preview         []byte
	adds            int64 // messages that the batch adds

	// What the database says of it.
	id     string
	state  []byte
	before int64 // messages before the batch
	owner  int64 // the run that owns what is pending of it

	// tail is its last messages, oldest first, without a gap: first those before the
	// batch, then the batch's own.
	tail []phone.Message
}

// lookBack finds the messages before the batch that its deliveries are rendered
// with: in memory, or it has those read that are not.
func (a *acceptance) lookBack(t *tx) {
	need := map[*conversation]int64{}
	for _, e := range a.events {
		if e.first == nil && e.history > 0 {
			// Of its history so many are not of this batch.
			need[e.conversation] = max(need[e.conversation], int64(e.history)-(e.before-e.conversation.before))
		}
	}
	var missing histories
	for c, n := range need {
		if n = min(n, c.before); n <= 0 {
			continue // the batch's own are enough
		}
		after := c.before - n
		if c.tail, after = a.store.tails.get(c.id, after, c.before); after < c.before {
			if len(c.tail) == 0 {
				after = max(0, c.before-max(n, minTail))
			}
			missing.add(c.id, after, c.before, &c.tail)
		}
	}
	missing.later(t, a.projectID)
}

// histories are messages of conversations that are to be read.
type histories struct {
	ids         []string
	after, upTo []int64 // the places that they lie between
	into        map[string]*[]phone.Message
}

// add asks for the messages of a conversation behind a place up to another. They
// are appended.
func (h *histories) add(id string, after, upTo int64, into *[]phone.Message) {
	if h.into == nil {
		h.into = map[string]*[]phone.Message{}
	}
	h.ids, h.after, h.upTo = append(h.ids, id), append(h.after, after), append(h.upTo, upTo+1)
	h.into[id] = into
}

func (h *histories) later(t *tx, projectID string) {
	if len(h.ids) == 0 {
		return
	}
	later(t, "histories", func(r *row) error {
		m := readMessage(r)
		*h.into[m.ConversationID] = append(*h.into[m.ConversationID], m)
		return nil
	}, projectID, h.ids, h.after, h.upTo)
}

// lookBack is the history of an event: of its conversation's tail, which ends right
// before it, the last messages.
func (c *conversation) lookBack(e *entering) []phone.Message {
	n := min(e.history, len(c.tail))
	if n == 0 {
		return nil
	}
	return slices.Clip(c.tail[len(c.tail)-n:])
}

// tailCache remembers the last messages of conversations that are in use. Messages
// never change and are counted without a gap, so a tail that ends with the last one
// is true, whichever node wrote it: nothing needs to be taken out. Where others have
// written since, only theirs is read.
type tailCache struct {
	mu           sync.Mutex
	young, older map[string][]phone.Message
}

// Sizes of the cache: how many conversations one generation has (there are two),
// how many messages stay of each, and from how many bytes on they do not.
const (
	maxTails     = 4096
	minTail      = phone.DefaultContextLimit
	maxTail      = 2 * phone.MaxContextLimit
	maxTailBytes = 16 << 10
)

// get returns what is remembered of a conversation's messages behind a place up to
// another, oldest first and without a gap; and the place from which on the rest is to
// be read. It is nothing where the first of them is not known. The room behind them
// is the caller's to append to, and nobody else's from then on.
func (c *tailCache) get(id string, after, upTo int64) (tail []phone.Message, rest int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	tail, ok := c.young[id]
	if !ok {
		if tail, ok = c.older[id]; ok {
			c.put(id, tail)
		}
	}
	if len(tail) == 0 {
		return nil, after
	}
	over := tail[len(tail)-1].Seq - upTo
	if over > 0 {
		tail = slices.Clip(tail[:max(0, int64(len(tail))-over)])
	}
	if len(tail) == 0 || tail[0].Seq > after+1 || tail[len(tail)-1].Seq <= after {
		return nil, after
	}
	if over <= 0 {
		c.young[id] = slices.Clip(tail)
	}
	return tail, tail[len(tail)-1].Seq
}

// keep remembers a conversation's tail. Jobs hold parts of it: it is not changed.
func (c *tailCache) keep(v *conversation) {
	if n := len(v.tail); n == 0 || v.tail[n-1].Seq != v.before+v.adds || v.tail[0].Seq != v.before+v.adds-int64(n)+1 {
		return // there is a gap: nothing needed what came before
	}
	c.remember(v.id, v.tail)
}

// remember keeps messages without a gap, where no later and no more of them are known
// already.
func (c *tailCache) remember(id string, tail []phone.Message) {
	if n := len(tail); n > maxTail {
		tail = slices.Clone(tail[n-maxTail/2:])
	}
	size := 0
	for _, m := range tail {
		size += len(m.Body)
	}
	if size > maxTailBytes {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.young[id]; len(known) > 0 {
		if ends := known[len(known)-1].Seq - tail[len(tail)-1].Seq; ends > 0 || ends == 0 && len(known) >= len(tail) {
			return
		}
	}
	c.put(id, tail)
}

// put forgets what was not asked for while a whole generation was filled. The
// caller holds mu.
func (c *tailCache) put(id string, tail []phone.Message) {
	if c.young == nil || len(c.young) >= maxTails {
		c.older, c.young = c.young, map[string][]phone.Message{}
	}
	c.young[id] = tail
}
