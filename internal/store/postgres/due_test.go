package postgres

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"switchhook.dev/switchhook/internal/phone"
)

// backlog gives a fleet more agents, each with a webhook and deliveries that are due.
func (f *fleet) backlog(agents, deliveries int) map[string][]string {
	f.t.Helper()
	want := map[string][]string{}
	for i := range agents {
		id, number := fmt.Sprintf("agt_more%d", i), fmt.Sprintf("+1202555%04d", i)
		at := time.Now().UTC()
		f.must(f.nodes[0].CreateAgent(f.t.Context(), phone.Agent{ID: id, ProjectID: fleetProject, Name: "a", Settings: []byte("{}"), CreatedAt: at}))
		f.must(f.nodes[0].CreateNumber(f.t.Context(), phone.Number{ID: "num_" + id, ProjectID: fleetProject, PhoneNumber: number, AgentID: id, CreatedAt: at}))
		w := f.set(0, id, "https://b.example/")
		for range deliveries {
			e := f.event("+2")
			e.Number = number
			a := f.nodes[0].Accept(f.t.Context(), []*phone.NewEvent{e}, memory(false))[0]
			f.must(a.Err)
			want[w.ID] = append(want[w.ID], a.DeliveryID)
		}
	}
	return want
}

// Many webhooks at once: each call gets what is its own, oldest first, and nothing
// twice, however they are answered.
func TestDueForManyWebhooksAtOnce(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	want := f.backlog(20, 3)
	got := make(map[string][]string)
	var mu sync.Mutex
	var calls sync.WaitGroup
	for id := range want {
		for range 3 { // the same webhook too
			calls.Go(func() {
				b, err := f.nodes[0].Due(t.Context(), id, time.Now(), 2, false)
				if err != nil || len(b.Jobs) > 2 || b.More != (len(b.Jobs) == 2) {
					t.Errorf("%+v, %v", b, err)
				}
				mu.Lock()
				defer mu.Unlock()
				for _, j := range b.Jobs {
					if j.WebhookID != id || !j.Handed || j.Event == nil {
						t.Errorf("%+v for %s", j, id)
					}
					got[id] = append(got[id], j.DeliveryID)
				}
			})
		}
	}
	calls.Wait()
	for id := range want {
		// Which of the calls for one webhook came first is not known.
		slices.Sort(got[id])
		if !slices.Equal(got[id], want[id]) {
			t.Errorf("%s: %v, want %v", id, got[id], want[id])
		}
	}
}

// A call whose webhook is being changed waits for that, and nobody waits for it.
func TestDueOfAChangingWebhookHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	want := f.backlog(2, 1)
	var ids []string
	for id := range want {
		ids = append(ids, id)
	}
	changes, err := f.conn.Begin(t.Context())
	f.must(err)
	_, err = changes.Exec(t.Context(), query("lockWebhook"), ids[0])
	f.must(err)
	first := make(chan []string, 1)
	go func() { first <- f.due(0, phone.Webhook{ID: ids[0]}) }()
	// Once it waits, it is out of the others' way.
	observer, err := pgx.Connect(t.Context(), f.url)
	f.must(err)
	defer observer.Close(t.Context())
	for waits := false; !waits; {
		f.must(observer.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))").Scan(&waits))
	}
	if got := f.due(0, phone.Webhook{ID: ids[1]}); !slices.Equal(got, want[ids[1]]) {
		t.Errorf("the other got %v", got)
	}
	select {
	case got := <-first:
		t.Errorf("the changing one got %v before it was changed", got)
	default:
	}
	f.must(changes.Rollback(t.Context()))
	if got := <-first; !slices.Equal(got, want[ids[0]]) {
		t.Errorf("the first got %v", got)
	}
}

func TestCallsWaitForOneOfTheirProject(t *testing.T) {
	var w dueCalls
	call := func(id string) *dueCall { return &dueCall{webhookID: id, lead: make(chan struct{})} }
	first, again, second, other := call("a"), call("a"), call("b"), call("c")
	if !w.add("p", first) || w.add("p", again) || w.add("p", second) || !w.add("q", other) {
		t.Fatal("the first of each project is to answer, and nobody else")
	}
	// A webhook is asked for once in a transaction: its own locks do not keep it out.
	if got := w.take("p"); !slices.Equal(got, []*dueCall{first, second}) {
		t.Errorf("%v", got)
	}
	w.pass("p")
	<-again.lead
	if got := w.take("p"); !slices.Equal(got, []*dueCall{again}) {
		t.Errorf("%v", got)
	}
	w.pass("p")
	if !w.add("p", second) {
		t.Error("nobody answers any more, so the next that comes has to")
	}
}

// Where what is due cannot be held, nothing is handed out, and it is due as before.
func TestDueThatFails(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	for id, want := range f.backlog(1, 3) {
		f.nodes[0].tails = tailCache{} // so that history is read
		for _, text := range []string{
			"CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$",
			"CREATE TRIGGER full_disk BEFORE UPDATE ON deliveries FOR EACH ROW EXECUTE FUNCTION full_disk()",
		} {
			_, err := f.conn.Exec(t.Context(), text)
			f.must(err)
		}
		if b, err := f.nodes[0].Due(t.Context(), id, time.Now(), 10, false); phone.CodeOf(err) != phone.Unavailable || len(b.Jobs) != 0 {
			t.Errorf("%+v, %v", b, err)
		}
		_, err := f.conn.Exec(t.Context(), "DROP TRIGGER full_disk ON deliveries")
		f.must(err)
		b, err := f.nodes[0].Due(t.Context(), id, time.Now(), 10, false)
		f.must(err)
		if len(b.Jobs) != len(want) {
			t.Fatalf("%d are due, want %d", len(b.Jobs), len(want))
		}
		for i, j := range b.Jobs {
			if j.DeliveryID != want[i] || len(j.History) != i {
				t.Errorf("%s with %d messages before it, want %s with %d", j.DeliveryID, len(j.History), want[i], i)
			}
		}
	}
}
