package nodes

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// load is events on their way through a fleet, and what is known of each.
type load struct {
	*fleet
	agents    []string
	receivers *httptest.Server

	accepted map[string]event // by delivery
	arrived  map[string][]arrival
	first    map[string][]string // deliveries in the order they arrived in first, by conversation and path
	hooks    map[string]string   // webhooks, by the path of their URL
	posts    int
	count    atomic.Int64
}

type event struct {
	conversation string
	n            int // in the order of acceptance within its conversation
}

type arrival struct {
	path string
	body string
	at   time.Time
}

func newLoad(f *fleet, agents int) *load {
	l := &load{fleet: f, accepted: map[string]event{}, arrived: map[string][]arrival{}, first: map[string][]string{}, hooks: map[string]string{}}
	l.receivers = httptest.NewServer(l)
	f.t.Cleanup(l.receivers.Close)
	l.set("")
	for i := range agents {
		a := f.agent(fmt.Sprintf("+1202555%04d", i))
		l.agents = append(l.agents, a)
		l.set(a)
	}
	return l
}

func (l *load) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	at := time.Now()
	body, _ := io.ReadAll(r.Body)
	id := r.Header.Get("X-Webhook-ID")
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.arrived[id]) == 0 {
		_, c, _ := strings.Cut(string(body), `"conversationId":"`)
		c, _, _ = strings.Cut(c, `"`)
		l.first[c+" "+r.URL.Path] = append(l.first[c+" "+r.URL.Path], id)
	}
	l.arrived[id] = append(l.arrived[id], arrival{r.URL.Path, string(body), at})
}

func hookPath(agent string) string {
	if agent == "" {
		return "/v1/webhooks"
	}
	return "/v1/agents/" + agent + "/webhook"
}

type webhook struct{ ID, URL string }

// set gives an agent, or ("") the project, a webhook with a URL that no other has had.
func (l *load) set(agent string) {
	l.mu.Lock()
	l.posts++
	path := fmt.Sprintf("/hook/%d", l.posts)
	l.mu.Unlock()
	var w *webhook
	err := l.call(nil, "POST", hookPath(agent), "", object{"url": l.receivers.URL + path}, &w)
	for err != nil {
		// Whether it was set is not known: ask, and set it once more.
		if err = l.must("GET", hookPath(agent), "", nil, &w); err == nil && (w == nil || !strings.HasSuffix(w.URL, path)) {
			err = l.call(nil, "POST", hookPath(agent), "", object{"url": l.receivers.URL + path}, &w)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hooks[path] = w.ID
}

// remove takes an agent's webhook away. 404 says that an earlier try had done it.
func (l *load) remove(agent string) { _ = l.must("DELETE", hookPath(agent), "", nil, nil) }

// churn changes webhooks of some agents until ctx ends.
func (l *load) churn(ctx context.Context, agents []string, every time.Duration) {
	for ctx.Err() == nil {
		a := agents[rand.IntN(len(agents))]
		if rand.IntN(3) == 0 {
			l.remove(a)
		}
		l.set(a)
		select {
		case <-ctx.Done():
		case <-time.After(every):
		}
	}
}

// send sends events over connections until so many are accepted. Each conversation
// is one connection's, which sends one after the other: so their order is known.
func (l *load) send(events, connections, conversations int) {
	var senders sync.WaitGroup
	for c := range connections {
		senders.Go(func() {
			for i := c; i < events; i += connections {
				l.sendOne(c, i/connections, conversations)
			}
		})
	}
	senders.Wait()
}

func (l *load) sendOne(connection, n, conversations int) {
	agent := (connection + n*7) % len(l.agents)
	from := fmt.Sprintf("+1303%03d%04d", connection, n%conversations)
	var a struct{ DeliveryID, ConversationID string }
	err := l.must("POST", "/v1/events", fmt.Sprintf("%d/%d", connection, n), object{
		"event": "agent.message", "channel": "sms",
		"data": object{"from": from, "to": fmt.Sprintf("+1202555%04d", agent), "message": fmt.Sprint("message ", n)},
	}, &a)
	if err != nil {
		l.t.Errorf("connection %d, event %d: %v", connection, n, err)
		return
	}
	l.mu.Lock()
	l.accepted[a.DeliveryID] = event{a.ConversationID, n}
	l.mu.Unlock()
	l.count.Add(1)
}

// until waits until so many events are accepted.
func (l *load) until(events int) {
	deadline := time.Now().Add(patience)
	for l.count.Load() < int64(events) && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
}

// state is what the database says of a delivery.
type state struct {
	status, ended, webhook string
	successes              int
}

// settled waits until nothing is pending, and reads what became of everything.
func (l *load) settled(t *testing.T, database string) map[string]state {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	deadline := time.Now().Add(patience)
	for {
		var pending int
		if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM deliveries WHERE status = 'pending'").Scan(&pending); err != nil {
			t.Fatal(err)
		}
		if pending == 0 {
			break
		}
		if time.Now().After(deadline) {
			rows, _ := conn.Query(t.Context(), `SELECT id || ' owner ' || owner || ' handed ' || handed || ' next ' || next_attempt_at || ' attempts ' || attempts ||
				' webhook ' || webhook_id FROM deliveries WHERE status = 'pending' LIMIT 10`)
			some, _ := pgx.CollectRows(rows, pgx.RowTo[string])
			rows, _ = conn.Query(t.Context(), `SELECT nodes::text FROM nodes`)
			nodes, _ := pgx.CollectRows(rows, pgx.RowTo[string])
			t.Fatalf("%d deliveries stay pending:\n%s\nnodes:\n%s", pending, strings.Join(some, "\n"), strings.Join(nodes, "\n"))
		}
		time.Sleep(50 * time.Millisecond)
	}
	out := map[string]state{}
	rows, err := conn.Query(t.Context(), `SELECT d.id, d.status, d.ended, d.webhook_id,
		(SELECT count(*) FROM attempts a WHERE a.project_id = d.project_id AND a.delivery_id = d.id AND a.http_status = 200) FROM deliveries d`)
	if err != nil {
		t.Fatal(err)
	}
	var id string
	var s state
	if _, err := pgx.ForEachRow(rows, []any{&id, &s.status, &s.ended, &s.webhook, &s.successes}, func() error { out[id] = s; return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

// diedBetween says whether a node died between two arrivals of a delivery: then the
// first may have been the dead one's, and not on record. A request is read a while
// after it was sent.
func (l *load) diedBetween(a, b time.Time) bool {
	return slices.ContainsFunc(l.deaths, func(at time.Time) bool { return at.After(a.Add(-2*time.Second)) && at.Before(b) })
}

// tally is what became of a load.
type tally struct {
	accepted, succeeded, deleted, lost, twoEndpoints, twice, unexplained, recordedTwice, outOfOrder, differing int
	killed, outlived                                                                                           int
}

// check compares what was promised, what arrived and what is on record.
func (l *load) check(t *testing.T, database string) (n tally) {
	t.Helper()
	states := l.settled(t, database)
	l.mu.Lock()
	defer l.mu.Unlock()
	n.accepted, n.killed, n.outlived = len(l.accepted), l.killed, l.outlived
	for id := range l.accepted {
		s := states[id]
		got := l.arrived[id]
		switch {
		case s.status == "success" && len(got) > 0:
			n.succeeded++
		case s.status == "failed" && s.ended == "webhook deleted":
			n.deleted++
		default:
			n.lost++
			t.Errorf("%s was accepted, arrived %d times, and is %+v", id, len(got), s)
		}
		if s.successes > 1 {
			n.recordedTwice++
		}
	}
	for id, got := range l.arrived {
		for i := range got[:max(0, len(got)-1)] {
			n.twice++
			if !l.diedBetween(got[i].at, got[i+1].at) {
				n.unexplained++
				t.Errorf("%s arrived once more, and no node had died: %v", id, got)
			}
		}
		hooks := map[string]bool{}
		for _, a := range got {
			hooks[l.hooks[a.path]] = true
			if a.body != got[0].body {
				n.differing++
			}
		}
		if len(hooks) > 1 {
			n.twoEndpoints++
			t.Errorf("%s arrived at several endpoints: %v", id, got)
		}
	}
	for at, ids := range l.first {
		last := -1
		for _, id := range ids {
			e, known := l.accepted[id]
			if !known {
				continue
			}
			if e.n < last {
				n.outOfOrder++
				t.Logf("out of order at %s: %d after %d", at, e.n, last)
			}
			last = max(last, e.n)
		}
	}
	return n
}

func (n tally) String() string {
	return fmt.Sprintf("%d accepted, %d delivered, %d ended with their webhook; %d lost, %d to two endpoints, %d arrived once more under their id (%d of them without a death), "+
		"%d successes recorded twice, %d out of order, %d with other bytes; %d nodes killed, %d declared dead that lived",
		n.accepted, n.succeeded, n.deleted, n.lost, n.twoEndpoints, n.twice, n.unexplained, n.recordedTwice, n.outOfOrder, n.differing, n.killed, n.outlived)
}

// pick returns some of the agents.
func pick(agents []string, n int) []string { return slices.Clone(agents[:min(n, len(agents))]) }

// databaseName is the last part of a database's URL.
func databaseName(url string) string {
	url, _, _ = strings.Cut(url, "?")
	return url[strings.LastIndex(url, "/")+1:]
}
