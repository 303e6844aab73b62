package postgres

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store/postgres/pgtest"
)

// fleet is a database with several nodes on it, and one project with an agent.
type fleet struct {
	t     *testing.T
	url   string
	conn  *pgx.Conn
	nodes []*Store
	hook  phone.Webhook
	next  int
}

const (
	fleetProject = "prj_1"
	fleetAgent   = "agt_1"
	fleetNumber  = "+12025550101"
)

func newFleet(t *testing.T, nodes int) *fleet {
	t.Helper()
	f := &fleet{t: t, url: pgtest.URL(t)}
	for range nodes {
		f.join()
	}
	at := time.Now().UTC()
	var err error
	if f.conn, err = pgx.Connect(t.Context(), f.url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.conn.Close(context.Background()) })
	s := f.nodes[0]
	f.must(s.CreateProject(t.Context(), phone.Project{ID: fleetProject, Name: "x", CreatedAt: at}, phone.Key{ID: "key_1", ProjectID: fleetProject, CreatedAt: at}))
	f.must(s.CreateAgent(t.Context(), phone.Agent{ID: fleetAgent, ProjectID: fleetProject, Name: "a", Settings: []byte("{}"), CreatedAt: at}))
	f.must(s.CreateNumber(t.Context(), phone.Number{ID: "num_1", ProjectID: fleetProject, PhoneNumber: fleetNumber, AgentID: fleetAgent, CreatedAt: at}))
	f.hook = f.set(0, fleetAgent, "https://a.example/")
	return f
}

// join starts another node.
func (f *fleet) join() *Store {
	f.t.Helper()
	s, err := Open(f.t.Context(), f.url)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = s.Close() })
	if _, err := s.Join(f.t.Context(), fmt.Sprint("node ", len(f.nodes)), time.Hour); err != nil {
		f.t.Fatal(err)
	}
	f.nodes = append(f.nodes, s)
	return s
}

func (f *fleet) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fleet) set(node int, agent, url string) phone.Webhook {
	f.t.Helper()
	w, err := f.nodes[node].SetWebhook(f.t.Context(), phone.Webhook{
		ID: phone.NewID(phone.PrefixWebhook), ProjectID: fleetProject, AgentID: agent, URL: url, Secret: "whsec_x", ContextLimit: 10,
		Timeout: 30 * time.Second, CreatedAt: time.Now().UTC(), Ordering: phone.OrderRelaxed,
	})
	f.must(err)
	return w
}

// memory has room, or has none.
type memory bool

func (m memory) Reserve(string) bool { return bool(m) }
func (m memory) Release(string)      {}

// accept takes an event in through a node, from a participant.
func (f *fleet) accept(node int, from string, room memory) *phone.Job {
	f.t.Helper()
	a := f.nodes[node].Accept(f.t.Context(), []*phone.NewEvent{f.event(from)}, room)[0]
	f.must(a.Err)
	return a.Job
}

func (f *fleet) event(from string) *phone.NewEvent {
	f.next++
	return &phone.NewEvent{
		ProjectID: fleetProject, Type: phone.EventMessage, Channel: phone.ChannelSMS, Direction: phone.Inbound, Number: fleetNumber, Participant: from,
		ID: phone.NewID(phone.PrefixEvent), MessageID: phone.NewID(phone.PrefixMessage), Body: fmt.Sprint(f.next), At: time.Now().UTC().Truncate(time.Microsecond),
		Data: func(string, string) []byte { return []byte("{}") },
	}
}

// given are the webhooks of which others gave a node deliveries, told once.
func (f *fleet) given(node int) ([]string, error) {
	return f.nodes[node].Given(f.t.Context(), f.run(node), func(string) bool { return false })
}

// dead ends a node's lease, as if it had not renewed it.
func (f *fleet) dead(node int) {
	f.t.Helper()
	_, err := f.conn.Exec(f.t.Context(), "UPDATE nodes SET lease_until = now() - interval '1 second' WHERE run = $1", f.run(node))
	f.must(err)
}

func (f *fleet) run(node int) int64 { return f.nodes[node].run.Load() }

// due is what a node is handed of the webhook.
func (f *fleet) due(node int, w phone.Webhook) (ids []string) {
	f.t.Helper()
	b, err := f.nodes[node].Due(f.t.Context(), w.ID, time.Now(), 1000, false)
	f.must(err)
	for _, j := range b.Jobs {
		ids = append(ids, j.DeliveryID)
		if j.Run != f.run(node) {
			f.t.Errorf("%s is handed out for run %d", j.DeliveryID, j.Run)
		}
	}
	return ids
}

func (f *fleet) adopt(node int) (n int, webhooks []string) {
	f.t.Helper()
	a, err := f.nodes[node].Adopt(f.t.Context(), 500, func() {})
	f.must(err)
	return a.Deliveries, a.Webhooks
}

func (f *fleet) record(node int, j *phone.Job, status phone.DeliveryStatus) (applied bool) {
	f.t.Helper()
	r := &phone.Result{Job: j, Status: status, Attempt: phone.Attempt{ID: phone.NewID(phone.PrefixAttempt), DeliveryID: j.DeliveryID, SentAt: time.Now(), HTTPStatus: 200}}
	out, err := f.nodes[node].Record(f.t.Context(), []*phone.Result{r})
	f.must(err)
	return out[0].Applied
}

func (f *fleet) delivery(id string) phone.Delivery {
	f.t.Helper()
	d, err := f.nodes[len(f.nodes)-1].Delivery(f.t.Context(), fleetProject, id)
	f.must(err)
	return d.Delivery
}

func TestADeadRunIsAdoptedFromAndWritesNothingMore(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	held := f.accept(0, "+1", true)
	waits := f.accept(0, "+2", false)
	if n, _ := f.adopt(1); n != 0 {
		t.Fatalf("%d adopted of a run that lives", n)
	}
	f.dead(0)
	n, webhooks := f.adopt(1)
	if n != 2 || !slices.Equal(webhooks, []string{f.hook.ID}) {
		t.Fatalf("%d adopted, of %v", n, webhooks)
	}
	if alive, err := f.nodes[0].Renew(t.Context(), f.run(0), time.Hour); err != nil || alive {
		t.Errorf("the dead run was renewed (%v)", err)
	}
	if got := f.due(0, f.hook); got != nil {
		t.Errorf("the dead run is handed %v", got)
	}
	if f.record(0, held, phone.Success) {
		t.Error("the dead run's result was applied")
	}
	if d := f.delivery(held.DeliveryID); d.Status != phone.Pending {
		t.Errorf("%s after the dead run's result", d.Status)
	}
	if got := f.due(1, f.hook); !slices.Equal(got, []string{held.DeliveryID, waits.DeliveryID}) {
		t.Errorf("the heir is handed %v", got)
	}
	held.Run = f.run(1)
	if !f.record(1, held, phone.Success) {
		t.Error("the heir's result was not applied")
	}
}

func TestARenewedRunIsNotDead(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	f.accept(0, "+1", true)
	f.dead(0)
	if alive, err := f.nodes[0].Renew(t.Context(), f.run(0), time.Hour); err != nil || !alive {
		t.Fatalf("alive %v: %v: nobody had declared it dead", alive, err)
	}
	if n, _ := f.adopt(1); n != 0 {
		t.Errorf("%d adopted", n)
	}
}

func TestAConversationIsOneRunsWhoeverAccepts(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	first := f.accept(0, "+1", true)
	second := f.accept(1, "+1", true)
	if second.Run != f.run(0) || second.Handed {
		t.Fatalf("the second is run %d's (in memory: %v), not the first's", second.Run, second.Handed)
	}
	if other := f.accept(1, "+2", true); other.Run != f.run(1) || !other.Handed {
		t.Errorf("another conversation is run %d's", other.Run)
	}
	given, err := f.given(0)
	if f.must(err); !slices.Equal(given, []string{f.hook.ID}) {
		t.Errorf("given: %v", given)
	}
	if given, err = f.given(0); len(given) != 0 || err != nil {
		t.Errorf("given again: %v, %v", given, err)
	}
	if got := f.due(0, f.hook); !slices.Equal(got, []string{second.DeliveryID}) {
		t.Errorf("the owner is handed %v", got)
	}
	// Dead or not: whoever adopts the first two adopts the third too.
	f.dead(0)
	third := f.accept(2, "+1", true)
	if third.Run != f.run(0) {
		t.Errorf("the third is run %d's", third.Run)
	}
	if n, _ := f.adopt(1); n != 3 {
		t.Errorf("%d adopted", n)
	}
	if got := f.due(1, f.hook); !slices.Equal(got, []string{first.DeliveryID, second.DeliveryID, third.DeliveryID}) {
		t.Errorf("the heir is handed %v", got)
	}
	fourth := f.accept(2, "+1", true)
	if fourth.Run != f.run(1) {
		t.Errorf("the fourth is run %d's, the heir is %d", fourth.Run, f.run(1))
	}
	// Once nothing is pending, it is whose who accepts.
	for _, j := range []*phone.Job{first, second, third, fourth} {
		j.Run = f.run(1)
		f.record(1, j, phone.Success)
	}
	if fifth := f.accept(2, "+1", true); fifth.Run != f.run(2) || !fifth.Handed {
		t.Errorf("the fifth is run %d's", fifth.Run)
	}
}

func TestALeavingRunKeepsWhatItHasInFlight(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	flying := f.accept(0, "+1", true)
	behind := f.accept(0, "+1", false)
	free := f.accept(0, "+2", false)
	f.must(f.nodes[0].Leave(t.Context(), f.run(0)))
	if n, _ := f.adopt(1); n != 1 {
		t.Fatalf("%d adopted, and not the one whose conversation is free", n)
	}
	if got := f.due(1, f.hook); !slices.Equal(got, []string{free.DeliveryID}) {
		t.Errorf("the heir is handed %v", got)
	}
	if !f.record(0, flying, phone.Success) {
		t.Error("the result of what was in flight was not applied")
	}
	if n, _ := f.adopt(1); n != 1 {
		t.Errorf("%d adopted once nothing was in flight", n)
	}
	if got := f.due(1, f.hook); !slices.Equal(got, []string{behind.DeliveryID}) {
		t.Errorf("the heir is handed %v", got)
	}
	f.must(f.nodes[0].End(t.Context(), f.run(0)))
	if n, _ := f.adopt(1); n != 0 {
		t.Errorf("%d adopted of nothing", n)
	}
}

// A transaction of a run that is forgotten may commit late.
func TestWhatStrangersOwnIsFound(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	j := f.accept(0, "+1", true)
	if _, err := f.conn.Exec(t.Context(), "DELETE FROM nodes WHERE run = $1", f.run(0)); err != nil {
		t.Fatal(err)
	}
	total := 0
	for range strangersEvery {
		n, _ := f.adopt(1)
		total += n
	}
	if got := f.due(1, f.hook); total != 1 || !slices.Equal(got, []string{j.DeliveryID}) {
		t.Errorf("%d adopted, handed %v", total, got)
	}
}

func TestEachRunSettlesWhatItOwnsOfADeletedWebhook(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	def := f.set(0, "", "https://default.example/")
	mine := f.accept(0, "+1", true)
	flying := f.accept(1, "+2", true)
	unsent := f.accept(1, "+3", true)
	stored := f.accept(1, "+4", false)
	lost := f.accept(2, "+5", true)
	f.must(f.nodes[0].DeleteWebhook(t.Context(), fleetProject, fleetAgent, time.Now(), nil))
	if d := f.delivery(mine.DeliveryID); d.WebhookID != def.ID || d.Status != phone.Pending {
		t.Errorf("what was not sent is %s, of %s", d.Status, d.WebhookID)
	}
	if d := f.delivery(unsent.DeliveryID); d.WebhookID != f.hook.ID {
		t.Error("another run's delivery was settled: it alone knows whether it was sent")
	}
	if unsettled, err := f.nodes[0].Unsettled(t.Context(), f.hook.ID); err != nil || !unsettled {
		t.Errorf("unsettled %v, %v", unsettled, err)
	}
	if got := f.due(1, f.hook); got != nil {
		t.Errorf("%v handed out of a deleted webhook", got)
	}
	if p, err := f.nodes[1].SettleOwned(t.Context(), f.hook.ID, []string{flying.DeliveryID}); err != nil || p != fleetProject {
		t.Error(p, err)
	}
	for _, j := range []*phone.Job{unsent, stored} {
		if d := f.delivery(j.DeliveryID); d.WebhookID != def.ID || d.Status != phone.Pending {
			t.Errorf("what was not sent is %s, of %s", d.Status, d.WebhookID)
		}
	}
	if d := f.delivery(flying.DeliveryID); d.Status != phone.Failed || d.WebhookID != f.hook.ID || d.Error != phone.ErrorWebhookDeleted {
		t.Errorf("what was in flight is %s (%s), of %s", d.Status, d.Error, d.WebhookID)
	}
	// Of a dead run nobody knows what was sent.
	f.dead(2)
	f.adopt(1)
	if _, err := f.nodes[1].SettleOwned(t.Context(), f.hook.ID, nil); err != nil {
		t.Error(err)
	}
	if d := f.delivery(lost.DeliveryID); d.Status != phone.Failed || d.WebhookID != f.hook.ID {
		t.Errorf("what a dead run may have sent is %s, of %s", d.Status, d.WebhookID)
	}
	if unsettled, err := f.nodes[0].Unsettled(t.Context(), f.hook.ID); err != nil || unsettled {
		t.Errorf("unsettled %v, %v", unsettled, err)
	}
}

func TestADisabledWebhookIsEachRunsToSettleAndMayComeBackFirst(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	one, two := f.accept(1, "+1", true), f.accept(2, "+2", false)
	status := func(s phone.WebhookStatus) {
		_, err := f.nodes[0].SetWebhookStatus(t.Context(), fleetProject, fleetAgent, s)
		f.must(err)
	}
	status(phone.WebhookDisabled)
	if _, err := f.nodes[1].SettleOwned(t.Context(), f.hook.ID, nil); err != nil {
		t.Error(err)
	}
	if d := f.delivery(one.DeliveryID); d.Status != phone.Failed || d.Error != phone.ErrorWebhookDisabled {
		t.Errorf("%s (%s)", d.Status, d.Error)
	}
	status(phone.WebhookActive) // before the other had looked
	if _, err := f.nodes[2].SettleOwned(t.Context(), f.hook.ID, nil); err != nil {
		t.Error(err)
	}
	if got := f.due(2, f.hook); !slices.Equal(got, []string{two.DeliveryID}) {
		t.Errorf("of a webhook that is active again, handed out: %v", got)
	}
}

// An owner does not know at once what others gave it: until it does, what it accepts
// itself goes by the store too, and comes out behind.
func TestWhatOthersGaveIsNotOvertaken(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	f.accept(0, "+1", true)
	second := f.accept(1, "+1", true)
	third := f.accept(0, "+1", true)
	if third.Run != f.run(0) || third.Handed {
		t.Fatalf("the third is run %d's (in memory: %v): it would overtake the second", third.Run, third.Handed)
	}
	woken := func(string) bool {
		// The lane looks into the store before anything else is accepted.
		if got := f.due(0, f.hook); !slices.Equal(got, []string{second.DeliveryID, third.DeliveryID}) {
			t.Errorf("the owner is handed %v", got)
		}
		return true
	}
	if rest, err := f.nodes[0].Given(t.Context(), f.run(0), woken); err != nil || len(rest) != 0 {
		t.Errorf("%v, %v", rest, err)
	}
	if fourth := f.accept(0, "+1", true); !fourth.Handed {
		t.Error("the fourth went by the store, where nothing is left")
	}
}

func TestARetryThroughAnotherNode(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	waits := f.accept(0, "+1", true)
	waits.RoundAttempts = 0
	r := &phone.Result{Job: waits, Status: phone.Pending, NextAttemptAt: time.Now().Add(time.Hour), Body: []byte("{}"),
		Attempt: phone.Attempt{ID: phone.NewID(phone.PrefixAttempt), DeliveryID: waits.DeliveryID, SentAt: time.Now(), HTTPStatus: 500, Error: "500"}}
	if _, err := f.nodes[0].Record(t.Context(), []*phone.Result{r}); err != nil {
		t.Fatal(err)
	}
	// A pending one stays its owner's, who is told.
	if _, err := f.nodes[1].Retry(t.Context(), fleetProject, waits.DeliveryID, time.Now(), 6); err != nil {
		t.Fatal(err)
	}
	if given, err := f.given(0); err != nil || !slices.Equal(given, []string{f.hook.ID}) {
		t.Errorf("given: %v, %v", given, err)
	}
	if got := f.due(0, f.hook); !slices.Equal(got, []string{waits.DeliveryID}) {
		t.Errorf("the owner is handed %v", got)
	}
	// One that ended is the run's that was asked, but where its conversation is another's.
	ended := f.accept(1, "+2", true)
	f.record(1, ended, phone.Success)
	if _, err := f.nodes[0].Retry(t.Context(), fleetProject, ended.DeliveryID, time.Now(), 6); err != nil {
		t.Fatal(err)
	}
	if got := f.due(0, f.hook); !slices.Equal(got, []string{ended.DeliveryID}) {
		t.Errorf("who was asked is handed %v", got)
	}
	other := f.accept(1, "+1", true)
	if other.Run != f.run(0) {
		t.Fatalf("run %d", other.Run)
	}
	waits.Attempts++
	f.record(0, waits, phone.Failed)
	if _, err := f.nodes[1].Retry(t.Context(), fleetProject, waits.DeliveryID, time.Now(), 6); err != nil {
		t.Fatal(err)
	}
	if got := f.due(1, f.hook); got != nil {
		t.Errorf("handed out of a conversation that is another's: %v", got)
	}
	if got := f.due(0, f.hook); len(got) != 2 {
		t.Errorf("its owner is handed %v", got)
	}
}

func TestNodesAreTold(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	ctx, cancel := context.WithCancel(t.Context())
	heard := make(chan struct{}, 100)
	ended := make(chan error, 1)
	go func() { ended <- f.nodes[0].Listen(ctx, f.run(0), func() { heard <- struct{}{} }) }()
	<-heard // it listens
	f.accept(0, "+1", true)
	f.accept(1, "+1", true)
	<-heard
	f.set(1, fleetAgent, "https://b.example/")
	<-heard
	changed, err := f.nodes[0].ChangedWebhooks(t.Context(), time.Minute)
	if f.must(err); changed[f.hook.ID] != f.hook.Revision+1 {
		t.Errorf("changed: %v", changed)
	}
	cancel()
	if err := <-ended; err == nil {
		t.Error("it ended without a reason")
	}
}

func TestWhatNobodyHasInMemoryIsTakenUp(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	j := f.accept(0, "+1", true)
	ids, err := f.nodes[0].InMemory(t.Context(), f.run(0))
	if f.must(err); !slices.Equal(ids, []string{j.DeliveryID}) {
		t.Fatal(ids)
	}
	webhooks, err := f.nodes[0].TakeUp(t.Context(), f.run(0), ids)
	if f.must(err); !slices.Equal(webhooks, []string{f.hook.ID}) {
		t.Error(webhooks)
	}
	if got := f.due(0, f.hook); !slices.Equal(got, ids) {
		t.Errorf("handed %v", got)
	}
}

func TestAConversationWhoseRowNamesNobodyIsItsPendingDeliverysOwners(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	f.accept(0, "+1303", memory(true))
	_, err := f.conn.Exec(t.Context(), "UPDATE conversations SET owner = 0")
	f.must(err)
	if j := f.accept(1, "+1303", memory(true)); j.Run != f.run(0) || j.Handed {
		t.Errorf("%+v", j)
	}
	_, err = f.conn.Exec(t.Context(), "UPDATE deliveries SET owner = -1 WHERE status = 'pending'")
	f.must(err)
	if j := f.accept(1, "+1303", memory(true)); j.Run != -1 || j.Handed {
		t.Errorf("%+v", j)
	}
}

// What a run is handed out carries what it is rendered from, the same as is read one
// by one, whoever accepted it and whatever is in memory already.
func TestWhatIsDueCarriesItsContent(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	for i := range 30 {
		for _, from := range []string{"+13035550001", "+13035550002"} {
			f.accept(i%2, from, memory(false)) // all of them are the first node's
		}
	}
	b, err := f.nodes[0].Due(t.Context(), f.hook.ID, time.Now(), 1000, false)
	f.must(err)
	if len(b.Jobs) != 60 {
		t.Fatal(len(b.Jobs))
	}
	for _, j := range b.Jobs {
		c, err := f.nodes[1].Content(t.Context(), fleetProject, j.DeliveryID)
		f.must(err)
		if j.Event == nil || !reflect.DeepEqual(*j.Event, c.Event) {
			t.Errorf("%s carries %+v, and is %+v", j.DeliveryID, j.Event, c.Event)
		}
		if len(j.History) != len(c.History) || len(c.History) > 0 && !reflect.DeepEqual(j.History, c.History) {
			t.Errorf("%s carries the history %v, and has %v", j.DeliveryID, j.History, c.History)
		}
		if len(c.History) > 10 {
			t.Error(len(c.History))
		}
	}
}

func TestTailsAreGoneOnWith(t *testing.T) {
	t.Parallel()
	messages := func(from, to int64) (out []phone.Message) {
		for n := from; n <= to; n++ {
			out = append(out, phone.Message{Seq: n})
		}
		return out
	}
	var c tailCache
	c.remember("c", messages(5, 20))
	c.remember("c", messages(1, 10)) // what ends earlier says nothing new
	for _, w := range []struct{ after, upTo, first, last, rest int64 }{
		{10, 20, 5, 20, 20}, // all of it
		{10, 25, 5, 20, 20}, // others have written since
		{4, 12, 5, 12, 12},  // an earlier event's
		{3, 20, 0, 0, 3},    // the first of them is not known
		{20, 25, 0, 0, 20},  // nothing of it is
		{1, 4, 0, 0, 1},     // it begins later
	} {
		tail, rest := c.get("c", w.after, w.upTo)
		first, last := int64(0), int64(0)
		if len(tail) > 0 {
			first, last = tail[0].Seq, tail[len(tail)-1].Seq
		}
		if first != w.first || last != w.last || rest != w.rest {
			t.Errorf("behind %d up to %d: %d to %d, the rest behind %d", w.after, w.upTo, first, last, rest)
		}
	}
}

func TestWhatMayHaveChangedIsReadThroughAnyNode(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	changing := func(since time.Time, ids ...string) (out []string) {
		t.Helper()
		all, err := f.nodes[1].Changing(t.Context(), fleetProject, since, ids)
		f.must(err)
		for _, d := range all {
			out = append(out, fmt.Sprint(d.ID, " ", d.Status, " ", d.Attempts, " ", d.HTTPStatus))
		}
		return out
	}
	ended, waits := f.accept(0, "+1", true), f.accept(0, "+2", true)
	f.record(0, ended, phone.Success)
	later := time.Now().Add(time.Hour)
	if got, want := changing(time.Now().Add(-time.Hour)), []string{ended.DeliveryID + " success 1 200", waits.DeliveryID + " pending 0 0"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := changing(later), []string{waits.DeliveryID + " pending 0 0"}; !slices.Equal(got, want) {
		t.Errorf("of what is older than the time: %q, want %q", got, want)
	}
	if got := changing(later, ended.DeliveryID); len(got) != 2 {
		t.Errorf("with an id: %q", got)
	}
	if all, err := f.nodes[1].Changing(t.Context(), "prj_other", time.Time{}, []string{ended.DeliveryID}); err != nil || len(all) > 0 {
		t.Errorf("another project is shown %v (%v)", all, err)
	}
	f.must(f.nodes[0].DeleteWebhook(t.Context(), fleetProject, fleetAgent, time.Now(), nil))
	f.must(f.nodes[0].Settle(t.Context(), f.hook.ID))
	unrouted := f.accept(0, "+3", true)
	if got := changing(time.Now().Add(-time.Hour)); len(got) != 1 {
		t.Errorf("with %v and what was settled, which are unrouted: %q", unrouted, got)
	}
}

// turn takes a turn of a call in through a node.
func (f *fleet) turn(node int, call string, at time.Time) phone.Accepted {
	f.t.Helper()
	id := phone.NewID("")
	a := f.nodes[node].AcceptTurn(f.t.Context(), &phone.NewEvent{
		ProjectID: fleetProject, Type: phone.EventMessage, Channel: phone.ChannelVoice, Direction: phone.Inbound, Number: fleetNumber, Participant: "+9",
		ID: phone.PrefixEvent + id, MessageID: phone.PrefixMessage + id, Body: "hello", At: at,
		Call: &phone.Call{ID: call}, Data: func(string, string) []byte { return []byte("{}") },
	})
	f.must(a.Err)
	return a
}

// TestTheLastQuestionOfACallSupersedesTheOthers: whichever nodes they were asked
// through, and whatever their clocks say.
func TestTheLastQuestionOfACallSupersedesTheOthers(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	now := time.Now().UTC().Truncate(time.Millisecond)
	superseded := func(node int, calls []string, turns ...phone.Accepted) []string {
		t.Helper()
		var ids []string
		for _, a := range turns {
			ids = append(ids, a.Job.DeliveryID)
		}
		out, err := f.nodes[node].Superseded(t.Context(), fleetProject, calls, ids)
		f.must(err)
		slices.Sort(out)
		return out
	}
	heard := make(chan struct{}, 100)
	listening, stop := context.WithCancel(t.Context())
	defer stop()
	go func() { _ = f.nodes[0].Listen(listening, f.run(0), func() { heard <- struct{}{} }) }()
	<-heard // a look is worthwhile once it listens

	first, other := f.turn(0, "call_1", now), f.turn(0, "call_2", now)
	if got := superseded(0, []string{"call_1", "call_2"}, first, other); got != nil {
		t.Errorf("%v before there is another", got)
	}
	second := f.turn(1, "call_1", now.Add(-time.Minute)) // its clock is behind
	select {
	case <-heard:
	case <-time.After(time.Minute):
		t.Error("the node that passes the first answer on was not told")
	}
	if got := superseded(0, []string{"call_1", "call_2"}, first, other); !slices.Equal(got, []string{first.Job.DeliveryID}) {
		t.Errorf("%v, want the first, %s", got, first.Job.DeliveryID)
	}
	if got := superseded(1, []string{"call_1"}, second); got != nil {
		t.Errorf("the last one is among %v", got)
	}
	third := f.turn(2, "call_1", now)
	if got := superseded(1, []string{"call_1"}, second); !slices.Equal(got, []string{second.Job.DeliveryID}) {
		t.Errorf("%v, want the second", got)
	}
	if got := superseded(2, []string{"call_1"}, third); got != nil {
		t.Errorf("the last one is among %v", got)
	}
	// Turns are with whoever asks them: nothing takes them for lost in memory.
	if held, err := f.nodes[0].InMemory(t.Context(), f.run(0)); err != nil || len(held) > 0 {
		t.Errorf("in memory: %v (%v)", held, err)
	}
}
