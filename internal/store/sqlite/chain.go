package sqlite

import (
	"container/heap"
	"slices"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
	"zombiezen.com/go/sqlite"
)

// Messages are appended to their table, and each knows the one before it in its
// conversation. So a conversation is read from its end, link by link, without an
// index; a number's messages are those of its conversations, merged.

// noPrior stands in deliveries from before the links.
const noPrior = -1

// chain is what is left to read of a conversation: next is a message's seq, 0 at
// the end.
type chain struct {
	conversationID string
	next           int64
}

// pop reads the next message, and moves on to the one before it; ok is false at the end.
func (l *chain) pop(c *sqlite.Conn) (m phone.Message, ok bool, err error) {
	if l.next == 0 {
		return m, false, nil
	}
	at := l.next
	ok, err = one(c, "message", func(r *row) { m, l.next = readMessage(r), r.int64() }, at)
	if ok = ok && m.ConversationID == l.conversationID; !ok || l.next >= at {
		l.next = 0 // only a damaged file leads elsewhere
	}
	return m, ok, err
}

// endOf is where a conversation's chain begins.
func endOf(c *sqlite.Conn, conversationID string) (seq int64, err error) {
	_, err = one(c, "endOfConversation", func(r *row) { seq = r.int64() }, conversationID)
	return seq, err
}

// history reads the last messages, at most limit, of a conversation up to one,
// oldest first.
func history(c *sqlite.Conn, conversationID string, last int64, limit int) (out []phone.Message, err error) {
	for l := (chain{conversationID, last}); len(out) < limit; {
		m, ok, err := l.pop(c)
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		out = append(out, m)
	}
	slices.Reverse(out)
	return out, nil
}

// priorTo looks for the last message before an event in its conversation.
func priorTo(c *sqlite.Conn, e phone.Event) (int64, error) {
	end, err := endOf(c, e.ConversationID)
	for l := (chain{e.ConversationID, end}); err == nil; {
		var m phone.Message
		var ok bool
		at := l.next
		if m, ok, err = l.pop(c); !ok {
			return 0, err
		}
		if m.Seq < e.HistoryBefore {
			return at, nil
		}
	}
	return 0, err
}

// chains is a heap: the one that goes on with the latest message is on top.
type chains []chain

func (h chains) Len() int           { return len(h) }
func (h chains) Less(i, j int) bool { return h[i].next > h[j].next }
func (h chains) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *chains) Push(x any)        { *h = append(*h, x.(chain)) }
func (h *chains) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	*h = (*h)[:last]
	return x
}

// page reads a page of the messages of conversations, newest first.
func page(c *sqlite.Conn, h chains, p store.Page) (out []phone.Message, more bool, err error) {
	heap.Init(&h)
	for skip := p.Offset; len(h) > 0; {
		m, ok, err := h[0].pop(c)
		if err != nil {
			return nil, false, err
		}
		heap.Fix(&h, 0)
		switch {
		case !ok:
			if h[0].next == 0 {
				return out, false, nil // all have ended
			}
		case p.Before != "" && m.ID >= p.Before || p.After != "" && m.ID <= p.After:
		case skip > 0:
			skip--
		case len(out) == p.Limit:
			return out, true, nil
		default:
			out = append(out, m)
		}
	}
	return out, false, nil
}
