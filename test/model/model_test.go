package model

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
	"switchhook.dev/switchhook/internal/deliver"
	"switchhook.dev/switchhook/internal/netguard"
	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
	"switchhook.dev/switchhook/internal/store/sqlite"
	"switchhook.dev/switchhook/internal/switchboard"
)

const (
	agents   = 2
	senders  = 2
	attempts = 6
)

// TestTheStateMachineAgreesWithItsModel runs random programs. When one fails it
// prints the shortest that it finds; -rapid.checks=5000 runs so many.
func TestTheStateMachineAgreesWithItsModel(t *testing.T) {
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		// The same programs each time: new ones are for who has time to look into them.
		for name, value := range map[string]string{"rapid.checks": "40", "rapid.seed": "1"} {
			if err := flag.Set(name, value); err != nil {
				t.Fatal(err)
			}
		}
	}
	// A failure is no test data: the program it prints is to become a test of its own.
	if err := flag.Set("rapid.nofailfile", "true"); err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		p := program(rapid.SliceOfN(rapid.Custom(drawStep), 1, 40).Draw(rt, "program"))
		if wrong := runIn(t, p); wrong != "" {
			rt.Fatalf("%s\nthe program:\n%s", wrong, p)
		}
	})
}

func drawStep(t *rapid.T) step {
	who := rapid.IntRange(everybody, agents-1)
	// Events and time are most of what happens.
	ops := []op{opSet, opSet, opSet, opDelete, opDelete, opDisable, opEnable, opAccept, opAccept, opAccept, opAccept, opAccept, opAccept,
		opMood, opMood, opMood, opWait, opWait, opWait, opRetry, opRetry, opLag, opCrash, opCrash, opRestart}
	s := step{op: rapid.SampledFrom(ops).Draw(t, "op")}
	switch s.op {
	case opSet:
		s.who, s.strict = who.Draw(t, "who"), rapid.Bool().Draw(t, "strict")
	case opDelete, opDisable, opEnable:
		s.who = who.Draw(t, "who")
	case opAccept:
		s.who, s.which = rapid.IntRange(0, agents-1).Draw(t, "agent"), rapid.IntRange(0, senders-1).Draw(t, "from")
	case opMood:
		s.how = rapid.SampledFrom([]mood{well, well, fails, fails, gone, busy, hangs, slow, refuse}).Draw(t, "mood")
	case opWait:
		s.wait = rapid.SampledFrom([]time.Duration{time.Millisecond, 4 * time.Second, 6 * time.Second, 35 * time.Second, 3 * time.Minute, 2 * time.Hour}).Draw(t, "time")
	case opRetry:
		s.which = rapid.IntRange(0, 20).Draw(t, "event")
	case opLag:
		s.wait = rapid.SampledFrom([]time.Duration{0, 100 * time.Millisecond, 7 * time.Second}).Draw(t, "time")
	}
	return s
}

// memory is a folder in memory, where there is one: nothing here rests on the disk.
func memory() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return ""
}

var schema []byte

// empty is an empty database: its schema is made once.
func empty(t *testing.T) []byte {
	if schema != nil {
		return schema
	}
	path := filepath.Join(t.TempDir(), "empty.db")
	s, err := sqlite.Open(t.Context(), path)
	if err == nil {
		err = s.Close()
	}
	if err == nil {
		schema, err = os.ReadFile(path)
	}
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func runIn(t *testing.T, p program) (wrong string) {
	dir, err := os.MkdirTemp(memory(), "switchhook-model-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "model.db")
	if err := os.WriteFile(path, empty(t), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, model: newModel(), path: path, mood: well}
		wrong = w.run(p)
	})
	return wrong
}

// world is the real thing, with the model beside it.
type world struct {
	t     *testing.T
	path  string
	store *sqlite.Store
	life  *life
	disp  *deliver.Dispatcher
	board *switchboard.Switchboard

	project string
	agents  []string

	mu    sync.Mutex
	model *model
	mood  mood
	lag   time.Duration
	wrong []string
	steps int
}

// life is a store as one run of the server sees it. Once it is over nothing is
// written any more, as after a kill.
type life struct {
	*sqlite.Store
	w    *world
	mu   sync.Mutex
	over bool
}

var errOver = errors.New("this run of the server is over")

func (l *life) alive() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return errOver
	}
	return nil
}

func (l *life) Record(ctx context.Context, results []*phone.Result) ([]store.Recorded, error) {
	if err := l.alive(); err != nil {
		return nil, err
	}
	out, err := l.Store.Record(ctx, results)
	l.w.mu.Lock()
	lag := l.w.lag
	l.w.mu.Unlock()
	time.Sleep(lag)
	if err := l.alive(); err != nil {
		return nil, err
	}
	return out, err
}

func (l *life) HandBack(ctx context.Context, jobs []*phone.Job) error {
	if err := l.alive(); err != nil {
		return err
	}
	return l.Store.HandBack(ctx, jobs)
}

func (l *life) Hurry(ctx context.Context, id string, now time.Time) error {
	if err := l.alive(); err != nil {
		return err
	}
	return l.Store.Hurry(ctx, id, now)
}

func (l *life) Due(ctx context.Context, id string, now time.Time, limit int, strict bool) (store.Batch, error) {
	if err := l.alive(); err != nil {
		return store.Batch{}, err
	}
	return l.Store.Due(ctx, id, now, limit, strict)
}

func (l *life) SetFailing(ctx context.Context, id string, since time.Time) error {
	if err := l.alive(); err != nil {
		return err
	}
	return l.Store.SetFailing(ctx, id, since)
}

func (l *life) Settle(ctx context.Context, id string) error {
	if err := l.alive(); err != nil {
		return err
	}
	return l.Store.Settle(ctx, id)
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) say(format string, args ...any) {
	w.wrong = append(w.wrong, fmt.Sprintf("step %d: ", w.steps)+fmt.Sprintf(format, args...))
}

func (w *world) run(p program) string {
	w.start()
	ctx := context.Background()
	w.project = phone.NewID(phone.PrefixProject)
	w.must(w.store.CreateProject(ctx, phone.Project{ID: w.project, Name: "p"}, phone.Key{ID: phone.NewID(phone.PrefixKey), ProjectID: w.project}))
	for i := range agents {
		a := phone.Agent{ID: phone.NewID(phone.PrefixAgent), ProjectID: w.project, Name: "a", Settings: []byte("{}")}
		w.must(w.store.CreateAgent(ctx, a))
		w.must(w.store.CreateNumber(ctx, phone.Number{ID: phone.NewID(phone.PrefixNumber), ProjectID: w.project, PhoneNumber: number(i), Country: "US", AgentID: a.ID}))
		w.agents = append(w.agents, a.ID)
	}
	for i, s := range p {
		w.steps = i
		w.do(s)
		synctest.Wait()
		w.ask()
		if len(w.wrong) > 0 {
			break
		}
	}
	w.steps = len(p)
	w.calm()
	w.stop(false)
	w.must(w.store.Close())
	return strings.Join(w.wrong, "\n")
}

// ask looks up what the model is not sure of.
func (w *world) ask() {
	for _, h := range w.model.hooks {
		w.mu.Lock()
		unsure := h.unsure && !h.disabled
		w.mu.Unlock()
		if !unsure {
			continue
		}
		v, err := w.store.WebhookByID(context.Background(), h.id)
		w.must(err)
		w.mu.Lock()
		if v != nil && v.Status == phone.WebhookDisabled {
			w.model.disable(h)
		}
		w.mu.Unlock()
	}
}

func number(agent int) string { return fmt.Sprintf("+1202555%04d", 100+agent) }

func (w *world) agent(who int) string {
	if who == everybody {
		return ""
	}
	return w.agents[who]
}

func (w *world) start() {
	var err error
	w.store, err = sqlite.Open(context.Background(), w.path)
	w.must(err)
	w.life = &life{Store: w.store, w: w}
	w.disp = deliver.New(deliver.Config{Store: w.life, Transport: w})
	w.must(w.disp.Start(context.Background()))
	w.board = switchboard.New(switchboard.Config{Store: w.life, Dispatcher: w.disp, Policy: netguard.Policy{AllowHTTP: true, AllowPrivate: true}})
}

// stop ends a run of the server, well or by a crash.
func (w *world) stop(crash bool) {
	ctx := context.Background()
	if crash {
		w.life.mu.Lock()
		w.life.over = true
		w.life.mu.Unlock()
		done, cancel := context.WithCancel(ctx)
		cancel()
		w.board.Close()
		_ = w.disp.Stop(done)
		return
	}
	w.disp.Halt()
	w.board.Close()
	if err := w.disp.Stop(ctx); err != nil {
		w.say("stop: %v", err)
	}
}

func (w *world) do(s step) {
	ctx, m := context.Background(), w.model
	h := m.hooks[s.who]
	switch s.op {
	case opSet:
		w.mu.Lock()
		h = m.set(s.who, s.strict)
		w.mu.Unlock()
		set := switchboard.WebhookSettings{URL: url(h), ContextLimit: 3, Timeout: 30 * time.Second, Ordering: phone.OrderRelaxed}
		if s.strict {
			set.Ordering = phone.OrderStrict
		}
		// The id is of no account before the first event that is bound to it.
		v, err := w.board.SetWebhook(ctx, w.project, w.agent(s.who), set)
		w.must(err)
		h.id = v.ID
	case opDelete:
		err := w.board.DeleteWebhook(ctx, w.project, w.agent(s.who))
		if (err == nil) != (h != nil) {
			w.say("%s: %v", s, err)
		}
		if h != nil {
			w.mu.Lock()
			m.delete(s.who, w.is)
			w.mu.Unlock()
		}
	case opDisable, opEnable:
		if h == nil {
			return
		}
		status := phone.WebhookActive
		if s.op == opDisable {
			status = phone.WebhookDisabled
		}
		_, err := w.board.SetWebhookStatus(ctx, w.project, w.agent(s.who), status)
		w.must(err)
		w.mu.Lock()
		if s.op == opDisable {
			m.disable(h)
		} else {
			h.disabled = false
		}
		w.mu.Unlock()
	case opAccept:
		w.accept(s)
	case opMood:
		w.mu.Lock()
		w.mood = s.how
		w.mu.Unlock()
	case opLag:
		w.mu.Lock()
		w.lag = s.wait
		w.mu.Unlock()
	case opWait:
		time.Sleep(s.wait)
	case opRetry:
		w.retry(s)
	case opCrash, opRestart:
		w.mu.Lock()
		if s.op == opCrash {
			for _, e := range m.events {
				if e.state == pending {
					e.unsure = true
				}
			}
		}
		w.mu.Unlock()
		w.stop(s.op == opCrash)
		w.must(w.store.Close())
		w.start()
	}
}

func url(h *hook) string { return fmt.Sprintf("http://hook-%d-%d.test/", h.who+1, h.life) }

// accept hands an event in. It is in the model before the answer: its first
// request may come earlier.
func (w *world) accept(s step) {
	w.mu.Lock()
	e := &event{n: len(w.model.events), who: s.who, from: s.which, round: 1, flying: map[string]int{}}
	e.bound, e.state = w.model.route(s.who)
	w.model.events = append(w.model.events, e)
	w.mu.Unlock()
	a, err := w.board.Accept(context.Background(), switchboard.Submission{
		ProjectID: w.project, Type: phone.EventMessage, Channel: phone.ChannelSMS,
		Data: fmt.Appendf(nil, `{"from":"+1303555%04d","to":%q,"message":"text %d"}`, 100+s.which, number(s.who), e.n),
	})
	w.must(err)
	w.mu.Lock()
	defer w.mu.Unlock()
	e.delivery = phone.DeliveryID(a.EventID)
}

func (w *world) retry(s step) {
	if len(w.model.events) == 0 {
		return
	}
	e := w.model.events[s.which%len(w.model.events)]
	_, err := w.board.RetryDelivery(context.Background(), w.project, e.delivery)
	w.mu.Lock()
	defer w.mu.Unlock()
	_, st := w.model.route(e.who)
	if h, _ := w.model.route(e.who); err != nil && !h.maybe() && (st == pending || w.is(e) == pending) {
		w.say("%s: %v", s, err)
	}
}

// Retry tells the model what became of a delivery before anything can be sent of
// it: whether it was pending, the store alone knows.
func (l *life) Retry(ctx context.Context, project, id string, now time.Time, attempts int) (phone.Job, error) {
	w := l.w
	w.mu.Lock()
	defer w.mu.Unlock()
	j, err := l.Store.Retry(ctx, project, id, now, attempts)
	e := w.model.byDelivery(id)
	if err != nil || j.Round == e.round {
		return j, err
	}
	h, st := w.model.route(e.who)
	if !h.maybe() && (st != pending || h.id != j.WebhookID) {
		w.say("event %d is sent again to %s, and would go %s, where it is %s", e.n, j.WebhookID, h, st)
	}
	e.bound, e.state, e.round, e.answered, e.once = h, pending, j.Round, false, j.RoundAttempts > 0
	return j, nil
}

func (w *world) detail(e *event) store.DeliveryDetail {
	d, err := w.store.Delivery(context.Background(), w.project, e.delivery)
	w.must(err)
	return d
}

func (w *world) is(e *event) state { return state(w.detail(e).Status) }

// RoundTrip is every receiver.
func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(r.Body)
	w.mu.Lock()
	e, mood := w.arrived(r, string(body)), w.mood
	sets := 0
	if e != nil && e.bound != nil {
		sets = e.bound.sets
	}
	w.mu.Unlock()
	if e == nil {
		return nil, errors.New("unknown")
	}
	status, delay, header := http.StatusOK, time.Millisecond, http.Header{}
	switch mood {
	case fails:
		status = http.StatusInternalServerError
	case gone:
		status = http.StatusGone
	case busy:
		status = http.StatusTooManyRequests
		header.Set("Retry-After", "20")
	case hangs:
		delay = 90 * time.Second
	case slow:
		delay = 10 * time.Second
	}
	var err error
	select {
	case <-time.After(delay):
	case <-r.Context().Done():
		err = r.Context().Err()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	e.flying[r.URL.String()]--
	switch {
	case mood == refuse:
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	case err != nil:
		return nil, err
	case status == http.StatusOK:
		e.answered = true
	case status == http.StatusGone && w.life.alive() == nil:
		if h := e.bound; h != nil && !h.deleted && !h.disabled && url(h) == r.URL.String() {
			e.state = failed
			if h.sets == sets {
				w.model.disable(h)
			} else {
				h.unsure = true
			}
		}
	}
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader("ok"))}, nil
}

// arrived checks a request as it comes.
func (w *world) arrived(r *http.Request, body string) *event {
	id := r.Header.Get("X-Webhook-ID")
	e := w.model.byDelivery(id)
	if e == nil { // its accept is not answered yet: it is the last one
		e = w.model.events[len(w.model.events)-1]
		if e.delivery != "" {
			w.say("%s is sent, and nobody knows it", id)
			return nil
		}
		e.delivery = id
	}
	e.flying[r.URL.String()]++
	e.sentEver++
	switch {
	case e.bound == nil || url(e.bound) != r.URL.String():
		w.say("event %d is sent to %s, and belongs to %s", e.n, r.URL, e.bound)
	case e.state != pending:
		w.say("event %d is sent to %s, and is %s", e.n, r.URL, e.state)
	case e.flying[r.URL.String()] > 1:
		w.say("event %d is sent twice at once", e.n)
	case e.body != "" && e.body != body:
		w.say("event %d is sent with %s, and was with %s", e.n, body, e.body)
	}
	e.body = body
	if e.bound != nil && e.bound.strict {
		for _, other := range w.model.events[:e.n] {
			if other.who == e.who && other.from == e.from && other.bound == e.bound && other.flying[r.URL.String()] > 0 {
				w.say("event %d is sent while event %d of its conversation is under way", e.n, other.n)
			}
		}
	}
	return e
}

// calm lets everything come to an end, and compares.
func (w *world) calm() {
	w.mu.Lock()
	w.mood, w.lag = well, 0
	w.mu.Unlock()
	time.Sleep(3 * time.Hour) // the longest wait is an hour, and a tenth
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.model.events {
		d := w.detail(e)
		switch got := state(d.Status); {
		case got == pending:
			w.say("event %d stays pending at %s", e.n, e.bound)
		case e.state == unrouted && got != unrouted, e.state != unrouted && got == unrouted:
			w.say("event %d is %s, and should be %s", e.n, got, e.state)
		case got == success && e.sentEver == 0:
			w.say("event %d is a success that nobody saw", e.n)
		case e.state == failed && got == success && !e.answered:
			w.say("event %d is a success, and nobody answered so", e.n)
		case e.state == pending && got == failed && d.Error == phone.ErrorWebhookDisabled && e.bound.maybe():
		case e.state == pending && got == failed && !e.once && len(d.Log) < attempts && !strings.Contains(d.Error, "410"):
			w.say("event %d failed after %d attempts: %s", e.n, len(d.Log), d.Error)
		case e.state == pending && e.answered && got != success:
			w.say("event %d was answered well, and is %s", e.n, got)
		}
	}
}
