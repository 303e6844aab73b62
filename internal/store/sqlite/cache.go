package sqlite

import "switchhook.dev/switchhook/internal/phone"

// cache is what the writer remembers of rows it would otherwise read for every
// event. Only the writer's goroutine touches it, and only the writer changes the
// rows (the file is locked to one process), so it is always true: a write that
// may change such a row empties it, and so does a transaction that fails.
type cache struct {
	routes        generations[routeKey, *route]
	conversations generations[conversationKey, *conversation]
	seq           int64 // of the last message; 0 where it is not known
	lag           lag
	torn          bool // what lags is not known: a transaction failed
}

// Sizes of the cache, in entries of one generation; there are two.
const (
	maxRoutes        = 10_000
	maxConversations = 2_048
)

func newCache() *cache {
	return &cache{
		routes:        generations[routeKey, *route]{size: maxRoutes},
		conversations: generations[conversationKey, *conversation]{size: maxConversations},
	}
}

// clear forgets what can be read again. What lags is not among it.
func (c *cache) clear() {
	c.routes.clear()
	c.conversations.clear()
	c.seq = 0
}

// routeKey is what an event says about where it belongs. agentID is empty where
// the number decides.
type routeKey struct{ projectID, agentID, number string }

// route is where such an event belongs, and which webhook it is bound to.
type route struct {
	number  phone.Number
	agentID string
	binding phone.Binding
}

// tear notes that a transaction failed: what it changed in memory is not so.
func (c *cache) tear() {
	c.clear()
	c.lag, c.torn = lag{}, true
}

type conversationKey struct{ numberID, participant string }

// conversation is what the next event of a conversation needs to know.
type conversation struct {
	id      string
	agentID string
	state   []byte
	count   int
	lastAt  int64
	preview string
	last    int64 // its last message, by seq; 0 for none
	// tail is the last messages, oldest first, without a gap. Jobs hold parts of
	// it: what is in it never changes, it only grows, or is replaced.
	tail []phone.Message
	need int // how long the last history was that somebody asked for
}

// write writes the row of a conversation that has one.
func (c *conversation) write(t *tx) error {
	return exec(t.Conn, "touchConversation", c.id, c.agentID, c.count, c.lastAt, c.preview, c.last)
}

// minTail is how many messages of a conversation stay in memory, or more where
// its history is longer. maxTailBody leaves long messages in the store.
const (
	minTail     = phone.DefaultContextLimit
	maxTailBody = 1 << 10
)

func (c *conversation) add(m phone.Message) {
	if len(m.Body) > maxTailBody {
		c.tail = nil
		return
	}
	if keep := max(minTail, c.need); len(c.tail) >= 2*keep {
		c.tail = append(make([]phone.Message, 0, 2*keep), c.tail[len(c.tail)-keep:]...)
	}
	c.tail = append(c.tail, m)
}

// generations is a map that forgets: what was not asked for while a whole
// generation was filled is dropped.
type generations[K comparable, V any] struct {
	size         int
	young, older map[K]V
}

func (g *generations[K, V]) get(k K) (v V, ok bool) {
	if v, ok = g.young[k]; ok {
		return v, true
	}
	if v, ok = g.older[k]; ok {
		g.put(k, v)
	}
	return v, ok
}

func (g *generations[K, V]) put(k K, v V) {
	if g.young == nil || len(g.young) >= g.size {
		g.older, g.young = g.young, make(map[K]V, min(g.size, 64))
	}
	g.young[k] = v
}

func (g *generations[K, V]) drop(k K) {
	delete(g.young, k)
	delete(g.older, k)
}

func (g *generations[K, V]) clear() { g.young, g.older = nil, nil }
