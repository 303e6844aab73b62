package deliver

import (
	"time"

	"switchhook.dev/switchhook/internal/phone"
)

// lane is one endpoint's own queue. It is guarded by its dispatcher's mutex.
//
//	accept ─▶ queue ─▶ in flight ─▶ being recorded ─▶ forgotten
//	store ──────┘ ▲        │
//	              └─ waiting (their conversation is busy)
//
// A lane keeps a short head in memory, all of it in held; whatever else is
// pending of its endpoint is in the store, which stored tells. While anything
// is there, fresh deliveries go there too: they must not overtake. What leaves
// memory without an attempt is handed back to the store.
type lane struct {
	id       string
	endpoint *endpoint
	open     bool
	// epoch changes when what is being fetched must not be taken in any more.
	epoch int
	// settled is false while a change of the webhook is under way, between Close
	// and Refresh: only Refresh may then open the lane.
	settled bool
	// parked is what a closed lane held: a Refresh hands it back.
	parked []*phone.Job

	breaker breaker
	window  window
	pacer   pacer
	probing bool // a probe is in flight, or being recorded

	// failing is what is to be noted in the store of the endpoint's failing.
	failing       time.Time
	noting, noted bool

	queue   jobs                    // ready to be sent, oldest first
	waiting map[string][]*phone.Job // by conversation, oldest first
	busy    map[string]string       // conversations, by which delivery they are busy with
	held    map[string]*phone.Job   // by delivery: queued, waiting, in flight, being recorded
	started map[string]bool         // those of held whose attempt began
	// anew is what the store handed out again while the attempt before it is held
	// here: its result is on disk, or of no account any more, and is not known yet.
	anew map[string]*phone.Job

	reserved int // room promised to deliveries that are being accepted
	inFlight int
	listed   bool // in the dispatcher's ring of lanes with work

	stored   bool // the store may have due deliveries that are not held
	loading  bool
	changing int   // changes under way of what the store has for this lane
	load     alarm // when the store will have something due
	start    alarm // when the pace, or the breaker, lets the next one start
	knock    alarm // when an unreachable endpoint is asked for a connection again
}

func newLane(id string) *lane {
	return &lane{
		id:      id,
		waiting: map[string][]*phone.Job{},
		busy:    map[string]string{},
		held:    map[string]*phone.Job{},
		started: map[string]bool{},
		anew:    map[string]*phone.Job{},
	}
}

// alarm is a timer that is set to the earliest of the times it is asked for.
type alarm struct {
	timer *time.Timer
	at    time.Time // zero while it is not set
}

// set makes f run at a time, unless it will run earlier. f must call off first.
func (a *alarm) set(at time.Time, f func()) {
	if !a.at.IsZero() && !at.Before(a.at) {
		return
	}
	a.stop()
	a.at, a.timer = at, time.AfterFunc(time.Until(at), f)
}

// off notes that it rang.
func (a *alarm) off() { a.at = time.Time{} }

func (a *alarm) stop() {
	if a.timer != nil {
		a.timer.Stop()
	}
	a.at = time.Time{}
}

// jobs is a queue that can be entered at both ends.
type jobs struct{ front, back []*phone.Job } // front is last in, first out

func (q *jobs) push(j *phone.Job)      { q.back = append(q.back, j) }
func (q *jobs) pushFront(j *phone.Job) { q.front = append(q.front, j) }
func (q *jobs) len() int               { return len(q.front) + len(q.back) }

func (q *jobs) pop() (j *phone.Job) {
	if n := len(q.front); n > 0 {
		j, q.front[n-1] = q.front[n-1], nil
		q.front = q.front[:n-1]
		return j
	}
	j, q.back[0] = q.back[0], nil
	if q.back = q.back[1:]; len(q.back) == 0 {
		q.back = nil
	}
	return j
}

// hasRoom says whether a fresh delivery may be taken at once. In strict order it
// goes by the store, which alone knows what of its conversation waits there.
func (l *lane) hasRoom() bool {
	return l.open && !l.stored && !l.loading && l.changing == 0 && l.breaker.state != breakerOpen && !l.strict() && len(l.held)+l.reserved < laneLength
}

func (l *lane) strict() bool { return l.endpoint.Ordering == phone.OrderStrict }

// enqueue takes a job into memory. One that is held already waits until that one
// is forgotten.
func (l *lane) enqueue(j *phone.Job) {
	if l.held[j.DeliveryID] != nil {
		l.anew[j.DeliveryID] = j
		return
	}
	l.held[j.DeliveryID] = j
	l.queue.push(j)
}

// next takes the first job that may start now, under a limit of requests in
// flight. Where only time stands in the way, it returns until when. Those whose
// conversation is busy step aside and keep their order.
func (l *lane) next(now time.Time, limit int) (j *phone.Job, probe bool, until time.Time) {
	if !l.open || l.queue.len() == 0 {
		return nil, false, until
	}
	switch l.breaker.state {
	case breakerOpen:
		if l.probing {
			return nil, false, until
		}
		probe, until = true, l.breaker.next
	case breakerDoubt:
		if l.inFlight > 0 {
			return nil, false, until
		}
		until = l.breaker.next
	default:
		if l.inFlight >= min(limit, l.window.size()) {
			return nil, false, until
		}
	}
	if free := l.pacer.free(); free.After(until) {
		until = free
	}
	if until.After(now) {
		return nil, false, until
	}
	for l.queue.len() > 0 {
		j := l.queue.pop()
		if c := j.ConversationID; c != "" {
			if l.busy[c] != "" {
				l.waiting[c] = append(l.waiting[c], j)
				continue
			}
			l.busy[c] = j.DeliveryID
		}
		l.inFlight++
		l.started[j.DeliveryID] = true
		l.probing = l.probing || probe
		l.pacer.took(now)
		if l.breaker.state == breakerDoubt {
			l.breaker.next = now.Add(doubtPause)
		}
		return j, probe, time.Time{}
	}
	return nil, false, time.Time{}
}

// release lets the next of a job's conversation in, where the job kept it busy.
func (l *lane) release(j *phone.Job) {
	c := j.ConversationID
	if c == "" || l.busy[c] != j.DeliveryID {
		return
	}
	delete(l.busy, c)
	next := l.waiting[c]
	if len(next) == 0 {
		return
	}
	l.queue.pushFront(next[0])
	if len(next) == 1 {
		delete(l.waiting, c)
	} else {
		l.waiting[c] = next[1:]
	}
}

// forget drops a job that is on record. Where it was handed out anew meanwhile
// that takes its place.
func (l *lane) forget(id string) {
	delete(l.held, id)
	delete(l.started, id)
	if j := l.anew[id]; j != nil {
		delete(l.anew, id)
		l.enqueue(j)
	}
}

// evict takes out of memory what has not started, of one conversation or ("") of
// all, to be handed back.
func (l *lane) evict(conversation string) (out []*phone.Job) {
	for id, j := range l.held {
		if !l.started[id] && (conversation == "" || j.ConversationID == conversation) {
			out = append(out, j)
			delete(l.held, id)
		}
	}
	for id, j := range l.anew {
		if conversation == "" || j.ConversationID == conversation {
			out = append(out, j)
			delete(l.anew, id)
		}
	}
	if conversation == "" {
		l.queue = jobs{}
		clear(l.waiting)
	} else {
		delete(l.waiting, conversation)
		l.queue.drop(conversation)
	}
	l.epoch++
	return out
}

// drop takes the jobs of a conversation out.
func (q *jobs) drop(conversation string) {
	for _, part := range []*[]*phone.Job{&q.front, &q.back} {
		var rest []*phone.Job
		for _, j := range *part {
			if j.ConversationID != conversation {
				rest = append(rest, j)
			}
		}
		*part = rest
	}
}

// close stops the lane, and returns what has started and is not on record yet:
// nothing else of this endpoint can have been sent by us without the store knowing.
func (l *lane) close() (started []string) {
	l.open = false
	l.parked = append(l.parked, l.evict("")...)
	for _, a := range []*alarm{&l.load, &l.start, &l.knock} {
		a.stop()
	}
	for id := range l.started {
		started = append(started, id)
	}
	return started
}
