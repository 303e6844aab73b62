package deliver

import (
	"time"

	"switchhook.dev/switchhook/internal/phone"
)

// lane is one endpoint's own queue. It is guarded by its dispatcher's mutex.
//
//	accept ─▶ queue ─▶ in flight ─▶ being recorded ─▶ forgotten
//	store ──────┘ ▲        │
//	              └─ waiting (their conversation is in flight)
//
// A lane keeps a short head in memory, all of it in held; whatever else is
// pending of its endpoint is in the store, which stored tells. While anything
// is there, fresh deliveries go there too: they must not overtake.
type lane struct {
	id       string
	endpoint *endpoint
	open     bool
	// epoch counts the closings: what was fetched before one is stale after it.
	epoch int
	// settled is false while a change of the webhook is under way, between Close
	// and Refresh: only Refresh may then open the lane.
	settled bool

	queue   []*phone.Job            // ready to be sent, oldest first
	waiting map[string][]*phone.Job // by conversation, oldest first
	busy    map[string]bool         // conversations with a request in flight
	held    map[string]*phone.Job   // by delivery: queued, waiting, in flight, being recorded
	started map[string]bool         // those of held whose attempt began

	reserved int // room promised to deliveries that are being accepted
	inFlight int
	listed   bool // in the dispatcher's ring of lanes with work

	stored  bool // the store may have due deliveries that are not held
	loading bool
	wake    *time.Timer
	wakeAt  time.Time // when the store will have something due; zero for unknown
}

func newLane(id string) *lane {
	return &lane{
		id:      id,
		waiting: map[string][]*phone.Job{},
		busy:    map[string]bool{},
		held:    map[string]*phone.Job{},
		started: map[string]bool{},
	}
}

// hasRoom says whether a fresh delivery may be taken at once.
func (l *lane) hasRoom(limit int) bool {
	return l.open && !l.stored && !l.loading && len(l.held)+l.reserved < limit
}

// enqueue takes a job into memory.
func (l *lane) enqueue(j *phone.Job) {
	if l.held[j.DeliveryID] != nil {
		return
	}
	l.held[j.DeliveryID] = j
	l.queue = append(l.queue, j)
}

// next takes the first job that may start. Those whose conversation is in flight
// step aside and keep their order.
func (l *lane) next(perEndpoint int) *phone.Job {
	for l.open && l.inFlight < perEndpoint && len(l.queue) > 0 {
		j := l.queue[0]
		l.queue[0] = nil
		l.queue = l.queue[1:]
		if c := j.ConversationID; c != "" {
			if l.busy[c] {
				l.waiting[c] = append(l.waiting[c], j)
				continue
			}
			l.busy[c] = true
		}
		l.inFlight++
		l.started[j.DeliveryID] = true
		return j
	}
	return nil
}

// ended frees what a job in flight held, and lets the next of its conversation in.
func (l *lane) ended(j *phone.Job) {
	l.inFlight--
	c := j.ConversationID
	if c == "" {
		return
	}
	delete(l.busy, c)
	next := l.waiting[c]
	if len(next) == 0 {
		return
	}
	l.queue = append([]*phone.Job{next[0]}, l.queue...)
	if len(next) == 1 {
		delete(l.waiting, c)
	} else {
		l.waiting[c] = next[1:]
	}
}

// forget drops a job that is on record.
func (l *lane) forget(id string) {
	delete(l.held, id)
	delete(l.started, id)
}

// close empties the lane of what has not started, and returns what has and is
// not on record yet: nothing else of this endpoint can have been sent by us
// without the store knowing.
func (l *lane) close() (started []string) {
	l.open, l.queue = false, nil
	l.epoch++
	clear(l.waiting)
	if l.wake != nil {
		l.wake.Stop()
		l.wakeAt = time.Time{}
	}
	for id := range l.held {
		if l.started[id] {
			started = append(started, id)
		} else {
			delete(l.held, id)
		}
	}
	return started
}

// unsent are the held deliveries whose attempt never began.
func (l *lane) unsent() (ids []string) {
	for id := range l.held {
		if !l.started[id] {
			ids = append(ids, id)
		}
	}
	return ids
}
