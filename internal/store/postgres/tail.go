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
	taken  bool  // another run owns something

	// tail is its last messages, oldest first, without a gap: first those before the
	// batch, then the batch's own.
	tail []phone.Message
}

// lookBack finds the messages before the batch that its deliveries are rendered
// with: in memory, or it has them read.
func (a *acceptance) lookBack(t *tx) {
	need := map[*conversation]int64{}
	for _, e := range a.events {
		if e.first == nil && e.history > 0 {
			// Of its history so many are not of this batch.
			need[e.conversation] = max(need[e.conversation], int64(e.history)-(e.before-e.conversation.before))
		}
	}
	var ids []string
	var after, upTo []int64
	byID := map[string]*conversation{}
	for c, n := range need {
		n = min(n, c.before)
		if c.tail = a.store.tails.get(c.id, c.before); int64(len(c.tail)) >= n {
			continue
		}
		c.tail = nil
		byID[c.id] = c
		ids, after, upTo = append(ids, c.id), append(after, max(0, c.before-max(n, minTail))), append(upTo, c.before+1)
	}
	if len(ids) > 0 {
		later(t, "histories", func(r *row) error {
			m := readMessage(r)
			byID[m.ConversationID].tail = append(byID[m.ConversationID].tail, m)
			return nil
		}, a.projectID, ids, after, upTo)
	}
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
// is true, whichever node wrote it: nothing needs to be taken out.
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

// get returns the tail of a conversation that has so many messages, or nil.
func (c *tailCache) get(id string, messages int64) []phone.Message {
	c.mu.Lock()
	defer c.mu.Unlock()
	tail, ok := c.young[id]
	if !ok {
		if tail, ok = c.older[id]; ok {
			c.put(id, tail)
		}
	}
	if len(tail) == 0 || tail[len(tail)-1].Seq != messages {
		return nil
	}
	return slices.Clip(tail)
}

// keep remembers a conversation's tail. Jobs hold parts of it: it is not changed.
func (c *tailCache) keep(v *conversation) {
	tail := v.tail
	if n := len(tail); n == 0 || tail[n-1].Seq != v.before+v.adds {
		return // there is a gap: nothing needed what came before
	} else if n > maxTail {
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
	c.put(v.id, tail)
}

// put forgets what was not asked for while a whole generation was filled. The
// caller holds mu.
func (c *tailCache) put(id string, tail []phone.Message) {
	if c.young == nil || len(c.young) >= maxTails {
		c.older, c.young = c.young, map[string][]phone.Message{}
	}
	c.young[id] = tail
}
