package switchboard_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"switchhook.dev/switchhook/internal/deliver"
	"switchhook.dev/switchhook/internal/netguard"
	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
	"switchhook.dev/switchhook/internal/store/sqlite"
	"switchhook.dev/switchhook/internal/switchboard"
)

// board is a switchboard on a real store and a real dispatcher.
type board struct {
	*switchboard.Switchboard
	t        testing.TB
	store    *sqlite.Store
	recorded chan *phone.Result
	project  string
}

const (
	ours   = "+12025550100"
	theirs = "+12025550199"
)

func newBoard(t testing.TB, schedule deliver.Schedule) *board {
	t.Helper()
	st, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "test.db"))
	if err != nil {
		t.Fatal(err)
	}
	b := &board{t: t, store: st, recorded: make(chan *phone.Result, 10_000), project: phone.NewID(phone.PrefixProject)}
	if err := st.CreateProject(t.Context(), phone.Project{ID: b.project, Name: "p"}, phone.Key{ID: phone.NewID(phone.PrefixKey), ProjectID: b.project}); err != nil {
		t.Fatal(err)
	}
	d := deliver.New(deliver.Config{
		Store: st, Transport: &http.Transport{MaxIdleConnsPerHost: 32}, Schedule: schedule, UserAgent: "Switchhook/test",
		Recorded: func(rs []*phone.Result, _ []store.Recorded) {
			for _, r := range rs {
				b.recorded <- r
			}
		},
	})
	if err := d.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.Switchboard = switchboard.New(switchboard.Config{Store: st, Dispatcher: d, Policy: netguard.Policy{AllowHTTP: true, AllowPrivate: true}})
	t.Cleanup(func() {
		b.Close()
		ctx := context.Background()
		if err := d.Stop(ctx); err != nil {
			t.Error(err)
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func (b *board) agent(number string) string {
	b.t.Helper()
	a := phone.Agent{ID: phone.NewID(phone.PrefixAgent), ProjectID: b.project, Name: "a", Settings: []byte("{}")}
	if err := b.store.CreateAgent(b.t.Context(), a); err != nil {
		b.t.Fatal(err)
	}
	n := phone.Number{ID: phone.NewID(phone.PrefixNumber), ProjectID: b.project, PhoneNumber: number, Country: "US", AgentID: a.ID}
	if err := b.store.CreateNumber(b.t.Context(), n); err != nil {
		b.t.Fatal(err)
	}
	return a.ID
}

func (b *board) webhook(agent, url string) phone.Webhook {
	b.t.Helper()
	w, err := b.SetWebhook(b.t.Context(), b.project, agent, switchboard.WebhookSettings{URL: url, ContextLimit: 10, Timeout: 30 * time.Second})
	if err != nil {
		b.t.Fatal(err)
	}
	return w
}

func text(from, to, direction, message string) json.RawMessage {
	return fmt.Appendf(nil, `{"from":%q,"to":%q,"direction":%q,"message":%q}`, from, to, direction, message)
}

func (b *board) send(data json.RawMessage) phone.Accepted {
	b.t.Helper()
	a, err := b.Accept(b.t.Context(), switchboard.Submission{ProjectID: b.project, Type: phone.EventMessage, Channel: phone.ChannelSMS, Data: data})
	if err != nil {
		b.t.Fatal(err)
	}
	return a
}

// receiver keeps what it was sent, and answers what it is told to.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	bodies [][]byte
	status func(n int) int
}

func newReceiver(t *testing.T, status func(n int) int) *receiver {
	r := &receiver{status: status}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		r.bodies = append(r.bodies, body)
		n := len(r.bodies)
		r.mu.Unlock()
		if r.status != nil {
			w.WriteHeader(r.status(n))
		}
		fmt.Fprint(w, "seen")
	}))
	t.Cleanup(r.Close)
	return r
}

func TestAnEventArrivesWithItsHistoryFromBothDirections(t *testing.T) {
	b := newBoard(t, nil)
	agent := b.agent(ours)
	r := newReceiver(t, nil)
	w := b.webhook("", r.URL)

	b.send(text(theirs, ours, "inbound", "one"))
	<-b.recorded
	b.send(text(ours, theirs, "outbound", "two"))
	a := b.send(text(theirs, ours, "", "three"))
	res := <-b.recorded

	if res.Status != phone.Success || a.WebhookID != w.ID || a.AgentID != agent {
		t.Fatalf("result %+v of %+v", res, a)
	}
	var got struct {
		AgentID string `json:"agentId"`
		Data    struct{ Message, Direction, ConversationID string }
		History []struct{ Content, Direction string } `json:"recentHistory"`
	}
	if err := json.Unmarshal(r.bodies[1], &got); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got.History) != "[{one inbound} {two outbound}]" || got.Data.Message != "three" || got.Data.ConversationID != a.ConversationID {
		t.Fatalf("body %s", r.bodies[1])
	}
	d, err := b.Delivery(t.Context(), b.project, a.DeliveryID)
	if err != nil || d.Status != phone.Success || len(d.Log) != 1 || string(d.Body) != string(r.bodies[1]) || d.ResponseBody != "seen" {
		t.Fatalf("delivery %+v, %v", d, err)
	}
}

func TestRetriesSendTheSameBytesAndEndAsTheScheduleSays(t *testing.T) {
	b := newBoard(t, deliver.Schedule{time.Millisecond, time.Millisecond})
	b.agent(ours)
	r := newReceiver(t, func(int) int { return 500 })
	b.webhook("", r.URL)
	a := b.send(text(theirs, ours, "", "hi"))
	for range 3 {
		<-b.recorded
	}
	d, err := b.Delivery(t.Context(), b.project, a.DeliveryID)
	if err != nil || d.Status != phone.Failed || d.Attempts != 3 || len(d.Log) != 3 {
		t.Fatalf("delivery %+v, %v", d, err)
	}
	for _, body := range r.bodies {
		if string(body) != string(r.bodies[0]) {
			t.Fatalf("%s is not %s", body, r.bodies[0])
		}
	}
	if len(r.bodies) != 3 {
		t.Fatalf("%d requests", len(r.bodies))
	}
	r.status = func(int) int { return 200 }
	if _, err := b.RetryDelivery(t.Context(), b.project, a.DeliveryID); err != nil {
		t.Fatal(err)
	}
	<-b.recorded
	d, _ = b.Delivery(t.Context(), b.project, a.DeliveryID)
	if d.Status != phone.Success || d.Attempts != 4 || string(r.bodies[3]) != string(r.bodies[0]) {
		t.Fatalf("after the retry: %+v", d)
	}
}
