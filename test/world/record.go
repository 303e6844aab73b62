package world

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Record is what a test itself knows: every 2xx that the server gave, every
// request that arrived, and every fault. It is safe for concurrent use.
type Record struct {
	mu       sync.Mutex
	accepted map[string]Accepted  // by delivery
	texts    map[string]string    // by text: its delivery
	requests map[string][]Request // by delivery
	deleted  map[string]time.Time // by path: when the webhook's end was answered
	replayed map[string]int
	kills    []time.Time
	stopped  time.Duration
	moods    map[Mood]int
	faults   map[string]int
	wrong    []string
}

// Accepted is an event that was answered with a 2xx.
type Accepted struct {
	Event, Delivery, Text string
	At                    time.Time
}

// NewRecord returns an empty record.
func NewRecord() *Record {
	return &Record{
		accepted: map[string]Accepted{}, texts: map[string]string{}, requests: map[string][]Request{},
		deleted: map[string]time.Time{}, replayed: map[string]int{}, moods: map[Mood]int{}, faults: map[string]int{},
	}
}

// Accepted notes an answer of 2xx to an event. Each event has a text of its own.
func (r *Record) Accepted(event, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delivery := "del" + strings.TrimPrefix(event, "evt")
	if other := r.texts[text]; other != "" && other != delivery {
		r.wrong = append(r.wrong, fmt.Sprintf("%q was accepted twice: as %s and as %s", text, other, delivery))
	}
	r.texts[text] = delivery
	if _, known := r.accepted[delivery]; !known {
		r.accepted[delivery] = Accepted{Event: event, Delivery: delivery, Text: text, At: time.Now()}
	}
}

// Received notes a request.
func (r *Record) Received(q Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests[q.Delivery] = append(r.requests[q.Delivery], q)
	r.moods[q.Mood]++
}

// met counts a mood that no request came to know of.
func (r *Record) met(m Mood) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.moods[m]++
}

// Deleted notes that the end of the webhook with that path was answered.
func (r *Record) Deleted(path string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deleted[path] = time.Now()
}

// Replayed notes that a delivery was sent again by hand.
func (r *Record) Replayed(delivery string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.replayed[delivery]++
}

// Killed notes that a server was killed just now.
func (r *Record) Killed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kills = append(r.kills, time.Now())
}

// Stopped notes that a server stood still for so long.
func (r *Record) Stopped(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped += d
}

// Fault counts a fault by its name.
func (r *Record) Fault(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults[name]++
}

// Count is how many events were accepted.
func (r *Record) Count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.accepted)
}

// Some returns the delivery of one accepted event, or "".
func (r *Record) Some() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id := range r.accepted {
		return id
	}
	return ""
}

// Log is what the server says of a delivery, as GET /v1/deliveries/{id} answers.
type Log struct {
	ID, Status, ErrorMessage string
	Attempts                 []struct {
		ID, StartedAt  string
		URL            string
		HTTPStatus     int
		ErrorMessage   string
		RequestHeaders map[string]string
	}
}

// Figures are what a run comes to.
type Figures struct {
	Accepted, Requests, Repeats, Kills int
	Statuses                           map[string]int
	Moods                              map[Mood]int
	Faults                             map[string]int
}

// late is how long after its start a request may arrive or be recorded, on a slow
// machine: past its timeout.
const late = Timeout + 60*time.Second

// Check compares everything. log reads the server's log of a delivery, and says
// whether it knows it. attempts is how many a delivery has in one round. What is
// wrong comes back as sentences; nothing may be pending any more.
func (r *Record) Check(attempts int, log func(delivery string) (Log, bool)) (f Figures, wrong []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f = Figures{Accepted: len(r.accepted), Kills: len(r.kills), Statuses: map[string]int{}, Moods: r.moods, Faults: r.faults}
	wrong = slices.Clone(r.wrong)
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	for id, a := range r.accepted {
		l, known := log(id)
		if !known {
			say("%s (%q) was answered 2xx and is missing", id, a.Text)
			continue
		}
		f.Statuses[l.Status]++
		c := checked{Record: r, say: say, id: id, log: l, requests: r.requests[id], attempts: attempts}
		c.check(a)
		f.Repeats += c.repeats
	}
	for id, all := range r.requests {
		f.Requests += len(all)
		if _, ok := r.accepted[id]; !ok && all[0].Text != TestText {
			say("%s (%q) was sent and never accepted", id, all[0].Text)
		}
		for _, q := range all {
			if end, gone := r.deleted[q.Path]; gone && q.At.Sub(end) > late+r.stopped {
				say("%s came to %s, %s after that webhook was deleted", id, q.Path, q.At.Sub(end))
			}
		}
	}
	return f, wrong
}

// TestText is the message of an event that tests a webhook.
const TestText = "This is a test of your webhook."

// checked is one delivery under the eye.
type checked struct {
	*Record
	say      func(string, ...any)
	id       string
	log      Log
	requests []Request
	attempts int
	repeats  int
}

func (c *checked) check(a Accepted) {
	c.oneEndpoint(a)
	last := c.compare()
	switch l := c.log; l.Status {
	case "success":
		switch {
		case len(l.Attempts) == 0:
			c.say("%s is a success without an attempt", c.id)
		case last.IsZero():
			c.say("%s is a success whose last attempt nobody saw", c.id)
		}
	case "failed":
		c.failed()
	case "unrouted":
		if len(c.requests) > 0 || len(l.Attempts) > 0 {
			c.say("%s is unrouted, and was sent to %s", c.id, c.requests[0].Path)
		}
	default:
		c.say("%s is still %s", c.id, l.Status)
	}
	// The end of a webhook may come while an attempt is under way, which a kill then
	// leaves out of the log: compare has seen to it that there was one.
	ended := strings.HasPrefix(c.log.ErrorMessage, "webhook ")
	if last.IsZero() || ended || c.replayed[c.id] > 0 {
		return
	}
	for _, q := range c.requests {
		if q.At.After(last) {
			c.say("%s was sent after it was final (%s): %s later", c.id, c.log.Status, q.At.Sub(last))
		}
	}
}

// oneEndpoint: the same bytes, to one webhook, but for what was replayed by hand.
func (c *checked) oneEndpoint(a Accepted) {
	paths := map[string]bool{}
	for _, q := range c.requests {
		paths[q.Path] = true
		if q.Body != c.requests[0].Body {
			c.say("%s was sent with different bytes: %s", c.id, c.both())
		}
		if q.Text != a.Text {
			c.say("%s carried %q, not %q", c.id, q.Text, a.Text)
		}
	}
	if len(paths) > 1+c.replayed[c.id] {
		c.say("%s reached %d endpoints: %v", c.id, len(paths), paths)
	}
}

// compare sets the log against what arrived. It returns when the request of the
// last attempt arrived, or zero where none did.
//
// An attempt is known by its signature, which two attempts within one second share.
func (c *checked) compare() (last time.Time) {
	arrived := map[string][]Request{}
	for _, q := range c.requests {
		arrived[q.Signature] = append(arrived[q.Signature], q)
	}
	for i := len(c.log.Attempts) - 1; i >= 0; i-- {
		att := c.log.Attempts[i]
		if att.HTTPStatus == 0 {
			continue
		}
		got, ok := take(arrived, att.RequestHeaders["X-Webhook-Signature"])
		if !ok {
			c.say("%s: the log has an attempt answered %d that nobody received: %s", c.id, att.HTTPStatus, c.both())
		}
		if i == len(c.log.Attempts)-1 {
			last = got.At
		}
	}
	// One without an answer may have been received, or not.
	for i := len(c.log.Attempts) - 1; i >= 0; i-- {
		att := c.log.Attempts[i]
		if att.HTTPStatus != 0 {
			continue
		}
		got, _ := take(arrived, att.RequestHeaders["X-Webhook-Signature"])
		if i == len(c.log.Attempts)-1 {
			last = got.At
		}
	}
	for _, rest := range arrived {
		for _, q := range rest {
			c.repeats++
			if !c.explained(q) {
				c.say("%s was sent at %s, which is not in the log, and no kill explains it", c.id, q.At.Format(time.TimeOnly))
			}
		}
	}
	return last
}

// take takes the last request of a signature out of what arrived.
func take(arrived map[string][]Request, signature string) (last Request, ok bool) {
	same := arrived[signature]
	if len(same) == 0 {
		return last, false
	}
	arrived[signature] = same[:len(same)-1]
	return same[len(same)-1], true
}

// both is the log beside what arrived, to be read by a person.
func (c *checked) both() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%s), %d times by hand", c.log.Status, c.log.ErrorMessage, c.replayed[c.id])
	for _, a := range c.log.Attempts {
		fmt.Fprintf(&b, "\n\tlogged   %s %s %s %d %s %.20s", a.StartedAt, a.ID, a.URL, a.HTTPStatus, a.ErrorMessage, a.RequestHeaders["X-Webhook-Signature"])
	}
	for _, q := range c.requests {
		fmt.Fprintf(&b, "\n\treceived %s %s %s %.20s", q.At.UTC().Format(time.RFC3339Nano), q.Path, q.Mood, q.Signature)
	}
	return b.String()
}

// explained says whether a kill may have lost the result of a request. Each kill
// explains one request of a delivery: at most one is under way.
func (c *checked) explained(q Request) bool {
	for _, k := range c.kills {
		if d := k.Sub(q.At); d > -time.Second-c.stopped && d < late+c.stopped {
			return true
		}
	}
	return false
}

// failed: there must be a reason. A replay of one that succeeded is one more attempt.
func (c *checked) failed() {
	if c.replayed[c.id] > 0 {
		return
	}
	l := c.log
	reason := l.ErrorMessage == "webhook deleted" || l.ErrorMessage == "webhook disabled" ||
		strings.Contains(l.ErrorMessage, "410 Gone") || len(l.Attempts) >= c.attempts
	if !reason {
		c.say("%s failed after %d attempts: %s", c.id, len(l.Attempts), l.ErrorMessage)
	}
	for _, a := range l.Attempts {
		if a.HTTPStatus/100 == 2 && a.ErrorMessage == "" {
			c.say("%s failed, and one of its attempts succeeded", c.id)
		}
	}
}
