package postgres

import (
	"fmt"
	"testing"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store/postgres/pgtest"
)

// TestAWeekThatIsOverIsDroppedWhole: with its attempts and events, and without
// touching a row, unless something of it is pending; then the rest of it goes.
func TestAWeekThatIsOverIsDroppedWhole(t *testing.T) {
	s, w := seeded(t)
	ctx, now := t.Context(), time.Now().UTC()
	over, withPending := partitionOf(now).Add(-9*partitionSpan), partitionOf(now).Add(-8*partitionSpan)
	if err := s.MakePartitions(ctx, over, withPending); err != nil {
		t.Fatal(err)
	}
	done, pending, ended := w.accept(t, s, over), w.accept(t, s, withPending), w.accept(t, s, withPending.Add(time.Hour))
	young := w.accept(t, s, partitionOf(now).Add(-time.Hour))
	w.finish(t, s, done, ended, young)
	names := func() (out map[string]bool) {
		all, err := s.partitions(ctx)
		if err != nil {
			t.Fatal(err)
		}
		out = map[string]bool{}
		for _, p := range all {
			out[p.name] = true
		}
		return out
	}
	if n := names(); !n[partitionName("attempts", over)] || !n[partitionName("events", withPending)] {
		t.Fatal(n)
	}
	before := now.Add(-4 * partitionSpan)
	for after := "x"; after != ""; {
		if after == "x" {
			after = ""
		}
		next, err := s.Prune(ctx, before, after)
		if err != nil {
			t.Fatal(err)
		}
		after = next
	}
	for table, want := range map[string]bool{
		partitionName("deliveries", over): false, partitionName("attempts", over): false, partitionName("events", over): false,
		partitionName("deliveries", withPending): true, partitionName("attempts", withPending): true,
	} {
		if names()[table] != want {
			t.Errorf("%s is there: %v, want %v", table, !want, want)
		}
	}
	for id, there := range map[string]bool{done.DeliveryID: false, ended.DeliveryID: false, pending.DeliveryID: true, young.DeliveryID: true} {
		if _, err := s.Delivery(ctx, w.project, id); (err == nil) != there {
			t.Errorf("%s: %v", id, err)
		}
	}
	w.finish(t, s, pending)
	if _, err := s.Prune(ctx, before, ""); err != nil || names()[partitionName("deliveries", withPending)] {
		t.Error("it stays once nothing of it is pending:", err)
	}
	// Rows of a time without a partition are kept all the same.
	late := w.accept(t, s, over)
	if _, err := s.Delivery(ctx, w.project, late.DeliveryID); err != nil {
		t.Error(err)
	}
	w.finish(t, s, late)
	if _, err := s.Prune(ctx, before, ""); err != nil {
		t.Error(err)
	}
	if _, err := s.Delivery(ctx, w.project, late.DeliveryID); phone.CodeOf(err) != phone.NotFound {
		t.Error("the rest is not pruned:", err)
	}
}

// world is a project with an agent, its number and a webhook.
type world struct {
	project, agent string
	webhook        phone.Webhook
	events         int
}

const ours, theirs = "+12025550101", "+12025550199"

func seeded(t testing.TB) (*Store, *world) {
	t.Helper()
	s, err := Open(t.Context(), pgtest.URL(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, seed(t, s)
}

func seed(t testing.TB, s *Store) *world {
	t.Helper()
	w := &world{project: phone.NewID(phone.PrefixProject), agent: phone.NewID(phone.PrefixAgent)}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	key := phone.Key{ID: phone.NewID(phone.PrefixKey), ProjectID: w.project}
	copy(key.Hash[:], w.project)
	must(s.CreateProject(ctx, phone.Project{ID: w.project}, key))
	must(s.CreateAgent(ctx, phone.Agent{ID: w.agent, ProjectID: w.project, Settings: []byte("{}")}))
	must(s.CreateNumber(ctx, phone.Number{ID: phone.NewID(phone.PrefixNumber), ProjectID: w.project, PhoneNumber: ours, AgentID: w.agent}))
	var err error
	w.webhook, err = s.SetWebhook(ctx, phone.Webhook{ID: phone.NewID(phone.PrefixWebhook), ProjectID: w.project, URL: "https://example.com/", Secret: "whsec_",
		ContextLimit: 10, Timeout: 30 * time.Second})
	must(err)
	return w
}

type roomy struct{ free bool }

func (r roomy) Reserve(string) bool { return r.free }
func (roomy) Release(string)        {}

// event is one that was made at a time.
func (w *world) event(at time.Time) *phone.NewEvent {
	w.events++
	id := fmt.Sprintf("%s%04d", phone.FirstID(at), w.events)
	return &phone.NewEvent{
		ProjectID: w.project, Type: phone.EventMessage, Channel: phone.ChannelSMS, Direction: phone.Inbound,
		Number: ours, Participant: theirs, ID: phone.PrefixEvent + id, MessageID: phone.PrefixMessage + id,
		Body: "hello", At: at, Data: func(string, string) []byte { return []byte("{}") },
	}
}

func (w *world) accept(t testing.TB, s *Store, at time.Time) phone.Accepted {
	t.Helper()
	a := s.Accept(t.Context(), []*phone.NewEvent{w.event(at)}, roomy{true})[0]
	if a.Err != nil {
		t.Fatal(a.Err)
	}
	return a
}

func (w *world) finish(t testing.TB, s *Store, all ...phone.Accepted) {
	t.Helper()
	var results []*phone.Result
	for _, a := range all {
		results = append(results, &phone.Result{Job: a.Job, Status: phone.Success, Attempt: phone.Attempt{ID: phone.NewID(phone.PrefixAttempt), SentAt: time.Now(), HTTPStatus: 200}})
	}
	recorded, err := s.Record(t.Context(), results)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range recorded {
		if !r.Applied {
			t.Fatalf("%+v", r)
		}
	}
}
