package deliver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
	"switchhook.dev/switchhook/webhook"
)

// ledger is a store in memory, for what only time and order can show; the real
// stores are tested with real servers. It checks what the dispatcher promises.
type ledger struct {
	t  *testing.T
	mu sync.Mutex
	// jobs are pending, by id; due is when.
	jobs    map[string]*phone.Job
	due     map[string]time.Time
	hook    map[string]phone.Webhook
	results []phone.Result
	held    map[string]bool
	failing map[string]time.Time
	fail    error // what every call answers with, where set
	// lag is how long after its results are on disk Record returns.
	lag time.Duration
	// dues counts the looks into the store, slow ones where slow is set: a
	// dispatcher that looks without end then lets time pass.
	dues int
	slow time.Duration
}

func newLedger(t *testing.T) *ledger {
	return &ledger{t: t, jobs: map[string]*phone.Job{}, due: map[string]time.Time{}, hook: map[string]phone.Webhook{},
		held: map[string]bool{}, failing: map[string]time.Time{}}
}

func (l *ledger) webhook(id string) phone.Webhook {
	w := phone.Webhook{
		ID: id, ProjectID: "p", URL: "http://" + strings.ReplaceAll(id, "_", "-") + "/", Secret: webhook.NewSecret(),
		Status: phone.WebhookActive, Timeout: 30 * time.Second, Revision: 1,
	}
	l.hook[id] = w
	return w
}

// add makes a pending delivery that nobody holds.
func (l *ledger) add(n int, hook, conversation string) *phone.Job {
	return l.accept(n, hook, conversation, false)
}

// accept makes a pending delivery, held from the first moment where there is room
// for it: a look into the store at the same time does not find it too.
func (l *ledger) accept(n int, hook, conversation string, room bool) *phone.Job {
	l.mu.Lock()
	defer l.mu.Unlock()
	j := &phone.Job{
		DeliveryID: fmt.Sprintf("del_%06d", n), ProjectID: "p", WebhookID: hook, ConversationID: conversation,
		EventType: phone.EventMessage, Channel: phone.ChannelSMS, Round: 1, CreatedAt: time.Now(),
	}
	l.jobs[j.DeliveryID], l.due[j.DeliveryID], l.held[j.DeliveryID] = j, time.Now(), room
	c := *j
	c.Handed = room
	return &c
}

func (l *ledger) ActiveWebhooks(context.Context) (out []phone.Webhook, err error) {
	for _, w := range l.hook {
		out = append(out, w)
	}
	return out, nil
}

func (l *ledger) WebhookByID(_ context.Context, id string) (*phone.Webhook, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w, known := l.hook[id]
	if !known {
		return nil, nil
	}
	return &w, nil
}

func (l *ledger) forget(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.hook, id)
}

func (l *ledger) Due(_ context.Context, id string, now time.Time, limit int, strict bool) (b store.Batch, err error) {
	time.Sleep(l.slow)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dues++
	if l.fail != nil {
		return b, l.fail
	}
	ids := []string{}
	for d, j := range l.jobs {
		if strict && !l.held[d] {
			l.deferBlocked(j)
		}
	}
	for d, j := range l.jobs {
		switch {
		case j.WebhookID != id || l.held[d]:
		case l.due[d].After(now):
			if b.NextDue.IsZero() || l.due[d].Before(b.NextDue) {
				b.NextDue = l.due[d]
			}
		default:
			ids = append(ids, d)
		}
	}
	slices.SortFunc(ids, func(a, b string) int {
		if c := l.due[a].Compare(l.due[b]); c != 0 {
			return c
		}
		return strings.Compare(a, b)
	})
	b.More = len(ids) > limit
	for _, d := range ids[:min(limit, len(ids))] {
		j := *l.jobs[d]
		j.Handed = true
		l.held[d] = true
		b.Jobs = append(b.Jobs, &j)
	}
	return b, nil
}

// deferBlocked puts a job behind those of its conversation that wait.
func (l *ledger) deferBlocked(j *phone.Job) {
	for d, other := range l.jobs {
		if other.ConversationID == j.ConversationID && d < j.DeliveryID && !l.held[d] && l.due[d].After(l.due[j.DeliveryID]) {
			l.due[j.DeliveryID] = l.due[d]
		}
	}
}

func (l *ledger) HandBack(_ context.Context, jobs []*phone.Job) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, j := range jobs {
		if kept := l.jobs[j.DeliveryID]; kept != nil && l.held[j.DeliveryID] && kept.Round == j.Round {
			l.held[j.DeliveryID], l.due[j.DeliveryID] = false, j.CreatedAt
		}
	}
	return l.fail
}

func (l *ledger) Hurry(context.Context, string, time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for d, j := range l.jobs {
		if !l.held[d] {
			l.due[d] = j.CreatedAt
		}
	}
	return nil
}

func (l *ledger) SetFailing(_ context.Context, id string, since time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failing[id] = since
	return nil
}

func (l *ledger) DisableFailing(_ context.Context, id string, since time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.hook[id]
	if l.failing[id].Equal(since) {
		w.Status = phone.WebhookDisabled
		w.Revision++
		l.hook[id] = w
	}
	return nil
}

func (l *ledger) Settle(context.Context, string) error { return nil }
func (l *ledger) SettleAll(context.Context) error      { return nil }

func (l *ledger) Content(_ context.Context, _, id string) (phone.Content, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return phone.Content{Event: phone.Event{ID: phone.EventID(id), Type: phone.EventMessage, Data: []byte("{}")}}, l.fail
}

func (l *ledger) Record(_ context.Context, results []*phone.Result) ([]store.Recorded, error) {
	defer func() { time.Sleep(l.lag) }()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return nil, l.fail
	}
	out := make([]store.Recorded, len(results))
	for i, r := range results {
		l.results = append(l.results, *r)
		j, pending := l.jobs[r.Job.DeliveryID]
		if !pending {
			l.t.Errorf("%s was sent after it was final", r.Job.DeliveryID)
			continue
		}
		if r.Job.Round != j.Round {
			continue // it moved on without this attempt
		}
		next := *j
		next.Attempts++
		if !r.Probe {
			next.RoundAttempts++
		}
		l.held[j.DeliveryID] = false
		l.jobs[j.DeliveryID], l.due[j.DeliveryID] = &next, r.NextAttemptAt
		if r.Status != phone.Pending {
			delete(l.jobs, j.DeliveryID)
		}
		out[i] = store.Recorded{Applied: true, Status: r.Status, Number: next.Attempts}
	}
	return out, nil
}

// network answers requests as a test says, and keeps which came when.
type network struct {
	mu     sync.Mutex
	asked  []string
	times  []time.Time
	bodies []string
	open   map[string]int // requests under way, by host
	most   map[string]int
	answer func(host, id string) (int, time.Duration)
	refuse func() bool // says that no connection can be made; may be nil
}

func (n *network) RoundTrip(r *http.Request) (*http.Response, error) {
	host, id := r.URL.Host, r.Header.Get("X-Webhook-ID")
	body, _ := io.ReadAll(r.Body)
	n.mu.Lock()
	n.asked, n.times, n.bodies = append(n.asked, id), append(n.times, time.Now()), append(n.bodies, string(body))
	n.open[host]++
	n.most[host] = max(n.most[host], n.open[host])
	n.mu.Unlock()
	defer func() { n.mu.Lock(); n.open[host]--; n.mu.Unlock() }()
	if n.refuse != nil && n.refuse() {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	status, delay := n.answer(host, id)
	select {
	case <-time.After(delay):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("ok"))}, nil
}

func newNetwork(answer func(host, id string) (int, time.Duration)) *network {
	return &network{open: map[string]int{}, most: map[string]int{}, answer: answer}
}

func run(t *testing.T, l *ledger, n *network, test func(*testing.T, *Dispatcher)) {
	synctest.Test(t, func(t *testing.T) {
		d := New(Config{Store: l, Transport: n})
		if err := d.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := d.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		}()
		test(t, d)
	})
}

// elapse lets time pass, and then everything settle.
func elapse(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// push hands a fresh delivery over as the acceptor does.
func (l *ledger) push(d *Dispatcher, n int, hook, conversation string) {
	d.Push(l.accept(n, hook, conversation, d.Reserve(hook)))
}

func TestADeadEndpointGetsItsSixAttemptsOnTheSchedule(t *testing.T) {
	l := newLedger(t)
	l.webhook("wh_1")
	n := newNetwork(func(string, string) (int, time.Duration) { return 500, 0 })
	run(t, l, n, func(t *testing.T, d *Dispatcher) {
		synctest.Wait()
		l.push(d, 1, "wh_1", "c")
		elapse(2 * time.Hour)
		if len(n.times) != 6 {
			t.Fatalf("%d attempts", len(n.times))
		}
		for i, want := range DefaultSchedule {
			got := n.times[i+1].Sub(n.times[i])
			if got < want*9/10 || got > want*11/10+time.Second {
				t.Errorf("attempt %d came %s after the one before, want %s", i+2, got, want)
			}
			if n.bodies[i+1] != n.bodies[0] {
				t.Errorf("attempt %d sent other bytes", i+2)
			}
		}
		if last := l.results[5]; last.Status != phone.Failed || len(l.jobs) != 0 {
			t.Errorf("it ended as %+v", last.Status)
		}
	})
}

func TestAHangingEndpointFillsOnlyItsOwnLane(t *testing.T) {
	l := newLedger(t)
	l.webhook("wh_hangs")
	l.webhook("wh_well")
	n := newNetwork(func(host, _ string) (int, time.Duration) {
		if host == "wh-hangs" {
			return 200, 24 * time.Hour
		}
		return 200, 0
	})
	run(t, l, n, func(t *testing.T, d *Dispatcher) {
		synctest.Wait()
		for i := range 1000 {
			l.push(d, i, "wh_hangs", fmt.Sprint("c", i))
		}
		start := time.Now()
		for i := range 500 {
			l.push(d, 10_000+i, "wh_well", fmt.Sprint("c", i))
		}
		synctest.Wait()
		done := 0
		for _, r := range l.results {
			if r.Job.WebhookID == "wh_well" {
				done++
			}
		}
		if done != 500 || time.Since(start) != 0 {
			t.Errorf("%d of 500 arrived within %s", done, time.Since(start))
		}
		if n.most["wh-hangs"] != firstWindow {
			t.Errorf("%d requests in flight to an endpoint that never answered", n.most["wh-hangs"])
		}
		d.mu.Lock()
		if held := len(d.lanes["wh_hangs"].held); held > laneLength {
			t.Errorf("%d deliveries in memory", held)
		}
		d.mu.Unlock()
	})
}

func TestAConversationHasOneRequestInFlightAndKeepsItsOrder(t *testing.T) {
	l := newLedger(t)
	l.webhook("wh_1")
	n := newNetwork(func(string, string) (int, time.Duration) { return 200, time.Millisecond })
	run(t, l, n, func(t *testing.T, d *Dispatcher) {
		synctest.Wait()
		// Far more than a lane keeps in memory, of three conversations.
		for i := range 3 * laneLength {
			l.push(d, i, "wh_1", fmt.Sprint("c", i%3))
		}
		elapse(time.Hour)
		last := map[int]string{}
		for _, id := range n.asked {
			var i int
			fmt.Sscanf(id, "del_%d", &i)
			if id <= last[i%3] {
				t.Fatalf("%s came after %s", id, last[i%3])
			}
			last[i%3] = id
		}
		if len(n.asked) != 3*laneLength || n.most["wh-1"] != 3 {
			t.Errorf("%d sent, %d at once", len(n.asked), n.most["wh-1"])
		}
	})
}

func TestAStoreThatFailsIsAskedAgainAndNothingIsSentTwice(t *testing.T) {
	l := newLedger(t)
	l.webhook("wh_1")
	n := newNetwork(func(string, string) (int, time.Duration) { return 200, time.Second })
	run(t, l, n, func(t *testing.T, d *Dispatcher) {
		synctest.Wait()
		for i := range 10 {
			l.push(d, i, "wh_1", fmt.Sprint("c", i))
		}
		synctest.Wait()
		l.mu.Lock()
		l.fail = errors.New("disk full")
		l.mu.Unlock()
		elapse(time.Minute)
		l.mu.Lock()
		l.fail = nil
		l.mu.Unlock()
		elapse(time.Minute)
		if len(n.asked) != 10 || len(l.results) != 10 {
			t.Errorf("%d sent, %d on record", len(n.asked), len(l.results))
		}
	})
}

func TestAClosedLaneStartsNothingAndTellsWhatItStarted(t *testing.T) {
	l := newLedger(t)
	w := l.webhook("wh_1")
	n := newNetwork(func(string, string) (int, time.Duration) { return 200, time.Second })
	run(t, l, n, func(t *testing.T, d *Dispatcher) {
		synctest.Wait()
		for i := range 3 {
			l.push(d, i, "wh_1", "the same")
		}
		synctest.Wait()
		if started := d.Close("wh_1"); !slices.Equal(started, []string{"del_000000"}) {
			t.Errorf("started: %v", started)
		}
		elapse(time.Minute)
		if len(n.asked) != 1 {
			t.Errorf("a closed lane sent %v", n.asked)
		}
		d.Refresh(w)
		elapse(time.Minute)
		if !slices.Equal(n.asked, []string{"del_000000", "del_000001", "del_000002"}) {
			t.Errorf("opened again it sent %v", n.asked)
		}
	})
}

func TestAHaltedDispatcherFinishesWhatIsInFlightAndStartsNothing(t *testing.T) {
	l := newLedger(t)
	l.webhook("wh_1")
	n := newNetwork(func(string, string) (int, time.Duration) { return 200, 10 * time.Second })
	run(t, l, n, func(t *testing.T, d *Dispatcher) {
		synctest.Wait()
		l.push(d, 1, "wh_1", "c")
		l.push(d, 2, "wh_1", "c")
		synctest.Wait()
		d.Halt()
		elapse(time.Minute)
		if len(l.results) != 1 || l.results[0].Status != phone.Success || len(l.jobs) != 1 {
			t.Errorf("%d on record, %d left", len(l.results), len(l.jobs))
		}
	})
}

func TestTheTimeoutCoversTheWholeAttempt(t *testing.T) {
	l := newLedger(t)
	l.webhook("wh_1")
	n := newNetwork(func(string, string) (int, time.Duration) { return 200, 31 * time.Second })
	run(t, l, n, func(t *testing.T, d *Dispatcher) {
		synctest.Wait()
		l.push(d, 1, "wh_1", "c")
		elapse(30*time.Second + time.Millisecond)
		if len(l.results) != 1 || !strings.Contains(l.results[0].Attempt.Error, "timeout") || l.results[0].Attempt.Duration != 30*time.Second {
			t.Errorf("%+v", l.results)
		}
	})
}
