// Package storetest is what a store must do, as tests. Every store runs all of
// it, whole; there is a function per concern.
package storetest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
)

// Store is what the suite needs of a store: what the program needs, and Close.
type Store interface {
	CreateProject(ctx context.Context, p phone.Project, k phone.Key) error
	CreateFirstProject(ctx context.Context, p phone.Project, k phone.Key) (made bool, err error)
	FirstProject(ctx context.Context) (phone.Project, bool, error)
	KeyByHash(ctx context.Context, hash [32]byte) (phone.Key, error)
	CreateKey(ctx context.Context, k phone.Key) error
	RevokeKey(ctx context.Context, projectID, id string, at time.Time) error
	Changes(ctx context.Context, projectID, before string, limit int) ([]phone.Change, bool, error)
	ActiveWebhooks(ctx context.Context) ([]phone.Webhook, error)
	Secrets(ctx context.Context) ([]store.Secret, error)
	ReplaceSecrets(ctx context.Context, old store.Secret, secret, previous string) error
	CreateAgent(ctx context.Context, a phone.Agent) error
	DeleteAgent(ctx context.Context, projectID, id string, at time.Time, inFlight []string) (phone.Agent, error)
	CreateNumber(ctx context.Context, n phone.Number) error
	Numbers(ctx context.Context, projectID string, limit, offset int) ([]phone.Number, int, error)
	NumberMessages(ctx context.Context, projectID, numberID string, p store.Page) ([]phone.Message, bool, error)
	Accept(ctx context.Context, events []*phone.NewEvent, room store.Room) []phone.Accepted
	SetWebhook(ctx context.Context, w phone.Webhook) (phone.Webhook, error)
	SetWebhookStatus(ctx context.Context, projectID, agentID string, status phone.WebhookStatus) (phone.Webhook, error)
	DeleteWebhook(ctx context.Context, projectID, agentID string, at time.Time, inFlight []string) error
	CreateTest(ctx context.Context, e phone.Event, w phone.Webhook, j *phone.Job, notBefore time.Time) error
	Due(ctx context.Context, webhookID string, now time.Time, limit int, strict bool) (store.Batch, error)
	HandBack(ctx context.Context, jobs []*phone.Job) error
	Hurry(ctx context.Context, webhookID string, now time.Time) error
	SetFailing(ctx context.Context, webhookID string, since time.Time) error
	DisableFailing(ctx context.Context, webhookID string, since time.Time) error
	Settle(ctx context.Context, webhookID string) error
	SettleAll(ctx context.Context) error
	Prune(ctx context.Context, before time.Time, after string) (string, error)
	Webhook(ctx context.Context, projectID, agentID string) (*phone.Webhook, error)
	Listener(ctx context.Context, projectID, agentID string) (*phone.Webhook, error)
	AddListener(ctx context.Context, w phone.Webhook, session, before string) (phone.Webhook, error)
	RemoveListener(ctx context.Context, id string, at time.Time, inFlight []string) error
	RemoveListeners(ctx context.Context, owner string, at time.Time) error
	Content(ctx context.Context, projectID, deliveryID string) (phone.Content, error)
	Record(ctx context.Context, results []*phone.Result) ([]store.Recorded, error)
	Retry(ctx context.Context, projectID, id string, now time.Time, attempts int) (phone.Job, error)
	RetryAll(ctx context.Context, f store.DeliveryFilter, now time.Time, attempts int) (int, []string, error)
	Delivery(ctx context.Context, projectID, id string) (store.DeliveryDetail, error)
	Deliveries(ctx context.Context, f store.DeliveryFilter) ([]phone.Delivery, int, error)
	Totals(ctx context.Context, projectID string) (store.Counts, error)
	Stats(ctx context.Context, projectID string, since time.Time) ([]store.HourCount, error)
	TurnStore
	Close() error
	LookStore
}

// Run runs the suite. open opens the store at a place, as a start of the server
// does: the same place twice is a restart. What a store cannot do yet is left out by
// the start of its name, and said.
func Run(t *testing.T, open func(t *testing.T, place string) Store, without ...string) {
	for _, c := range append(turnTests, []concern{
		{"Keys", keys},
		{"TheFirstProject", firstProject},
		{"AcceptIsAllOrNothingForEachEvent", acceptEach},
		{"IdempotencyKeys", idempotency},
		{"HistoryIsWhatCameBefore", history},
		{"MessagesPageByPage", messages},
		{"HandedOverAndDeleted", handedAndDeleted},
		{"AfterACrash", crashed},
		{"MayBeSent", mayBeSent},
		{"MayBeSentBeforeAReplay", mayBeSentBeforeAReplay},
		{"ClockAhead", clockAhead},
		{"TestsAreNotHurried", testsAreNotHurried},
		{"LateResults", lateResults},
		{"RoundsOfAttempts", rounds},
		{"GoneDisables", gone},
		{"DueComesInOrder", due},
		{"StrictOrder", strict},
		{"FailingEndpoints", failing},
		{"SettlesInSlices", settlesInSlices},
		{"Listeners", listeners},
		{"AuditLog", audit},
		{"AuditLogOfTheServer", auditOfTheServer},
		{"Secrets", secrets},
		{"Prunes", prunes},
		{"CountersAgreeWithTheLog", counters},
		{"Timings", timings},
		{"MinutesOfEachProject", minutes},
		{"Sessions", sessions},
		{"LookPagesAndFilters", look},
		{"LookForText", lookForText},
		{"EndpointsInTrouble", troubles},
		{"WhatWaits", waitings},
		{"LooksAtAgents", agentLooks},
		{"Threads", threads},
		{"ManyConversations", manyConversations},
		{"ProgressOfAReplay", progress},
	}...) {
		t.Run(c.name, func(t *testing.T) {
			if slices.ContainsFunc(without, func(w string) bool { return strings.HasPrefix(c.name, w) }) {
				t.Skip("this store cannot do that yet")
			}
			b := &bench{T: t, open: open, place: t.TempDir()}
			b.Store = open(t, b.place)
			t.Cleanup(func() { _ = b.Close() })
			b.setUp()
			c.test(b)
		})
	}
}

// concern is a part of the suite.
type concern struct {
	name string
	test func(*bench)
}

// bench is a store with a project, an agent and its number.
type bench struct {
	*testing.T
	Store
	open    func(*testing.T, string) Store
	place   string
	project string
	agent   string
	now     time.Time
	count   int
}

const ours, theirs = "+12025550101", "+12025550199"

func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func (b *bench) setUp() {
	ctx := b.Context()
	b.now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	b.project, b.agent = phone.NewID(phone.PrefixProject), phone.NewID(phone.PrefixAgent)
	b.must(b.CreateProject(ctx, phone.Project{ID: b.project, Name: "p", CreatedAt: b.now},
		phone.Key{ID: phone.NewID(phone.PrefixKey), ProjectID: b.project, Hash: [32]byte{1}, CreatedAt: b.now}))
	b.must(b.CreateAgent(ctx, phone.Agent{ID: b.agent, ProjectID: b.project, Name: "a", Settings: []byte("{}"), CreatedAt: b.now}))
	b.must(b.CreateNumber(ctx, phone.Number{ID: phone.NewID(phone.PrefixNumber), ProjectID: b.project, PhoneNumber: ours, Country: "US", AgentID: b.agent, CreatedAt: b.now}))
}

// restart opens the store anew, as after a crash: nothing was handed back.
func (b *bench) restart() {
	b.Helper()
	b.must(b.Close())
	b.Store = b.open(b.T, b.place)
}

func (b *bench) hook(agent string) phone.Webhook {
	b.Helper()
	w, err := b.SetWebhook(b.Context(), phone.Webhook{
		ID: phone.NewID(phone.PrefixWebhook), ProjectID: b.project, AgentID: agent, URL: "https://example.com/" + agent,
		Secret: "whsec_", ContextLimit: 10, Timeout: 30 * time.Second, CreatedAt: b.now,
	})
	b.must(err)
	return w
}

func (b *bench) event(text string) *phone.NewEvent {
	b.now = b.now.Add(time.Second)
	return &phone.NewEvent{
		ProjectID: b.project, Type: phone.EventMessage, Channel: phone.ChannelSMS, Direction: phone.Inbound,
		Number: ours, Participant: theirs, ID: phone.NewID(phone.PrefixEvent), MessageID: phone.NewID(phone.PrefixMessage),
		Body: text, At: b.now, Data: func(string, string) []byte { return []byte("{}") },
	}
}

// room says whether there is any, and counts what is promised.
type room struct {
	free     bool
	promised int
}

func (r *room) Reserve(string) bool {
	if r.free {
		r.promised++
	}
	return r.free
}
func (r *room) Release(string) { r.promised-- }

// accept takes one event in, with room for it in memory or without.
func (b *bench) accept(text string, free bool) phone.Accepted {
	b.Helper()
	a := b.Accept(b.Context(), []*phone.NewEvent{b.event(text)}, &room{free: free})[0]
	b.must(a.Err)
	return a
}

func (b *bench) state(id string) store.DeliveryDetail {
	b.Helper()
	d, err := b.Delivery(b.Context(), b.project, id)
	b.must(err)
	return d
}

func (b *bench) expect(id string, status phone.DeliveryStatus, webhook, fault string) {
	b.Helper()
	if d := b.state(id); d.Status != status || d.WebhookID != webhook || d.Error != fault {
		b.Errorf("%s is %s at %q (%q), want %s at %q (%q)", id, d.Status, d.WebhookID, d.Error, status, webhook, fault)
	}
}

// result records one attempt of a job.
func (b *bench) result(j *phone.Job, status phone.DeliveryStatus) store.Recorded {
	b.Helper()
	b.count++
	r := &phone.Result{Job: j, Status: status, Attempt: phone.Attempt{ID: fmt.Sprint("att_", b.count), DeliveryID: j.DeliveryID, SentAt: b.now, HTTPStatus: 200}}
	if status != phone.Success {
		r.Attempt.HTTPStatus, r.Attempt.Error, r.Body = 500, "answered 500", []byte("frozen")
	}
	if status == phone.Pending {
		r.NextAttemptAt = b.now.Add(time.Minute)
	}
	out, err := b.Record(b.Context(), []*phone.Result{r})
	b.must(err)
	return out[0]
}

func keys(b *bench) {
	ctx := b.Context()
	k := phone.Key{ID: phone.NewID(phone.PrefixKey), ProjectID: b.project, Hash: [32]byte{2}, Scopes: phone.ScopeRead | phone.ScopeIngest, CreatedAt: b.now}
	b.must(b.CreateKey(ctx, k))
	if err := b.CreateKey(ctx, k); phone.CodeOf(err) != phone.Conflict {
		b.Error("the same key again:", err)
	}
	if got, err := b.KeyByHash(ctx, k.Hash); err != nil || got.ProjectID != b.project || got.Scopes != k.Scopes {
		b.Error(got, err)
	}
	if err := b.RevokeKey(ctx, "prj_other", k.ID, b.now); phone.CodeOf(err) != phone.NotFound {
		b.Error("another project's key:", err)
	}
	b.must(b.RevokeKey(ctx, b.project, k.ID, b.now))
	if _, err := b.KeyByHash(ctx, k.Hash); phone.CodeOf(err) != phone.NotFound {
		b.Error("a revoked key:", err)
	}
}

func acceptEach(b *bench) {
	w := b.hook("")
	stranger, nobody := b.event("x"), b.event("x")
	stranger.Number = "+12025550123"
	nobody.AgentID = "agt_none"
	r := &room{free: true}
	out := b.Accept(b.Context(), []*phone.NewEvent{b.event("one"), stranger, b.event("two"), nobody}, r)
	if out[0].Err != nil || out[2].Err != nil || phone.CodeOf(out[1].Err) != phone.NotFound || phone.CodeOf(out[3].Err) != phone.NotFound {
		b.Fatalf("%+v", out)
	}
	if out[1].Job != nil || r.promised != 2 || !out[0].Job.Handed || out[0].WebhookID != w.ID {
		b.Errorf("%+v, %d promised", out, r.promised)
	}
	if _, total, err := b.Deliveries(b.Context(), store.DeliveryFilter{ProjectID: b.project, Limit: 10}); total != 2 || err != nil {
		b.Error(total, err)
	}
}

func idempotency(b *bench) {
	b.hook("")
	first, second := b.event("one"), b.event("again")
	first.IdempotencyKey, second.IdempotencyKey = "k", "k"
	out := b.Accept(b.Context(), []*phone.NewEvent{first, second}, &room{})
	if out[0].Duplicate || !out[1].Duplicate || out[0].EventID != out[1].EventID || out[1].Job != nil {
		b.Errorf("%+v", out)
	}
	b.now = b.now.Add(24*time.Hour + time.Second)
	later := b.event("a day later")
	later.IdempotencyKey = "k"
	if out := b.Accept(b.Context(), []*phone.NewEvent{later}, &room{}); out[0].Duplicate || out[0].Err != nil {
		b.Errorf("past the window: %+v", out)
	}
}

func history(b *bench) {
	b.hook("")
	b.accept("one", false)
	a := b.accept("two", false)
	b.accept("three", false)
	c, err := b.Content(b.Context(), b.project, a.DeliveryID)
	b.must(err)
	fresh := b.accept("four", true)
	held := fresh.Job.History
	read, err := b.Content(b.Context(), b.project, fresh.DeliveryID)
	b.must(err)
	if fmt.Sprintf("%+v", held) != fmt.Sprintf("%+v", read.History) || fmt.Sprintf("%+v", *fresh.Job.Event) != fmt.Sprintf("%+v", read.Event) || len(held) != 3 {
		b.Errorf("what a job carries, %+v with %+v, is not what is read, %+v", *fresh.Job.Event, held, read)
	}
	if len(c.History) != 1 || c.History[0].Body != "one" || c.Event.ID != a.EventID {
		b.Errorf("%+v", c)
	}
	b.result(a.Job, phone.Pending)
	if c, err = b.Content(b.Context(), b.project, a.DeliveryID); err != nil || string(c.Body) != "frozen" {
		b.Errorf("%q %v", c.Body, err)
	}
}

func handedAndDeleted(b *bench) {
	def, own := b.hook(""), b.hook(b.agent)
	queued, flying, spilled, tried := b.accept("queued", true), b.accept("flying", true), b.accept("spilled", false), b.accept("tried", true)
	b.result(tried.Job, phone.Pending)
	b.must(b.DeleteWebhook(b.Context(), b.project, b.agent, b.now, []string{flying.DeliveryID}))
	b.expect(queued.DeliveryID, phone.Pending, def.ID, "")
	b.expect(spilled.DeliveryID, phone.Pending, def.ID, "")
	b.expect(flying.DeliveryID, phone.Failed, own.ID, phone.ErrorWebhookDeleted)
	b.expect(tried.DeliveryID, phone.Failed, own.ID, phone.ErrorWebhookDeleted)
	b.must(b.DeleteWebhook(b.Context(), b.project, "", b.now, nil))
	b.expect(queued.DeliveryID, phone.Unrouted, "", "")
	if err := b.DeleteWebhook(b.Context(), b.project, "", b.now, nil); phone.CodeOf(err) != phone.NotFound {
		b.Error("deleted twice:", err)
	}
}

// After a crash nobody knows what was in flight: what had been handed over counts
// as sent, and only what had not is bound anew.
func crashed(b *bench) {
	def, own := b.hook(""), b.hook(b.agent)
	handed, spilled, back := b.accept("handed", true), b.accept("spilled", false), b.accept("handed back", true)
	b.must(b.HandBack(b.Context(), []*phone.Job{back.Job}))
	b.restart()
	b.must(b.DeleteWebhook(b.Context(), b.project, b.agent, b.now, nil))
	b.expect(handed.DeliveryID, phone.Failed, own.ID, phone.ErrorWebhookDeleted)
	b.expect(spilled.DeliveryID, phone.Pending, def.ID, "")
	b.expect(back.DeliveryID, phone.Pending, def.ID, "")
}

func lateResults(b *bench) {
	own := b.hook(b.agent)
	good, bad, replayed := b.accept("good", true), b.accept("bad", true), b.accept("replayed", true)
	b.must(b.DeleteWebhook(b.Context(), b.project, b.agent, b.now, []string{good.DeliveryID, bad.DeliveryID, replayed.DeliveryID}))
	if r := b.result(good.Job, phone.Success); !r.Applied {
		b.Errorf("%+v", r)
	}
	b.expect(good.DeliveryID, phone.Success, own.ID, "")
	if r := b.result(bad.Job, phone.Pending); r.Applied || r.Status != phone.Failed {
		b.Errorf("%+v", r)
	}
	b.expect(bad.DeliveryID, phone.Failed, own.ID, phone.ErrorWebhookDeleted)
	def := b.hook("")
	_, err := b.Retry(b.Context(), b.project, replayed.DeliveryID, b.now, 6)
	b.must(err)
	if r := b.result(replayed.Job, phone.Success); r.Applied {
		b.Error("a result of an earlier round was applied")
	}
	b.expect(replayed.DeliveryID, phone.Pending, def.ID, "")
	if d := b.state(replayed.DeliveryID); len(d.Log) != 1 {
		b.Errorf("%d attempts are logged", len(d.Log))
	}
}

func rounds(b *bench) {
	b.hook("")
	a := b.accept("x", true)
	b.result(a.Job, phone.Failed)
	j, err := b.Retry(b.Context(), b.project, a.DeliveryID, b.now, 6)
	b.must(err)
	if j.Round != 2 || j.RoundAttempts != 0 || j.Attempts != 1 {
		b.Errorf("a failed one: %+v", j)
	}
	b.result(&j, phone.Success)
	j, err = b.Retry(b.Context(), b.project, a.DeliveryID, b.now, 6)
	b.must(err)
	if j.Round != 3 || j.RoundAttempts != 5 {
		b.Errorf("one that succeeded: %+v", j)
	}
	if d, l := b.state(a.DeliveryID), b.looked(store.LookFilter{}, 1); d.Round != 3 || len(l) != 1 || l[0].Round != 3 {
		b.Errorf("read it is %+v, looked at %+v", d, l)
	}
	if _, err := b.Retry(b.Context(), "prj_other", a.DeliveryID, b.now, 6); phone.CodeOf(err) != phone.NotFound {
		b.Error("another project's:", err)
	}
	second := b.accept("y", true)
	b.result(second.Job, phone.Failed)
	n, hooks, err := b.RetryAll(b.Context(), store.DeliveryFilter{ProjectID: b.project}, b.now.Add(time.Hour), 6)
	if n != 1 || len(hooks) != 1 || err != nil {
		b.Error(n, hooks, err)
	}
}

func gone(b *bench) {
	w := b.hook("")
	a, behind := b.accept("x", true), b.accept("y", false)
	r := &phone.Result{Job: a.Job, Status: phone.Failed, DisableWebhook: true,
		Attempt: phone.Attempt{ID: "att_1", DeliveryID: a.DeliveryID, URL: w.URL, HTTPStatus: 410, Error: "answered 410 Gone", SentAt: b.now}}
	_, err := b.Record(b.Context(), []*phone.Result{r})
	b.must(err)
	b.must(b.Settle(b.Context(), w.ID))
	b.expect(a.DeliveryID, phone.Failed, w.ID, "answered 410 Gone")
	b.expect(behind.DeliveryID, phone.Failed, w.ID, phone.ErrorWebhookDisabled)
	late := b.accept("z", true)
	b.expect(late.DeliveryID, phone.Failed, w.ID, phone.ErrorWebhookDisabled)
	if late.Job != nil {
		b.Error("it was handed to the dispatcher")
	}
	// It is set anew before anybody came to settle: what is pending by now is sent.
	unsettled := b.hook("")
	again := b.accept("again", true)
	r = &phone.Result{Job: again.Job, Status: phone.Failed, DisableWebhook: true,
		Attempt: phone.Attempt{ID: "att_2", DeliveryID: again.DeliveryID, URL: unsettled.URL, HTTPStatus: 410, Error: "answered 410 Gone", SentAt: b.now}}
	_, err = b.Record(b.Context(), []*phone.Result{r})
	b.must(err)
	b.hook("")
	_, err = b.Retry(b.Context(), b.project, again.DeliveryID, b.now, 6)
	b.must(err)
	b.must(b.Settle(b.Context(), w.ID))
	b.expect(again.DeliveryID, phone.Pending, w.ID, "answered 410 Gone")
	_, err = b.SetWebhookStatus(b.Context(), b.project, "", phone.WebhookDisabled)
	b.must(err)
	if _, err := b.SetWebhookStatus(b.Context(), b.project, "", phone.WebhookActive); err != nil {
		b.Error(err)
	}
	if again := b.accept("again", true); again.Job == nil {
		b.Error("enabled, and still not sent")
	}
}

func due(b *bench) {
	w := b.hook("")
	var want []string
	for i := range 5 {
		want = append(want, b.accept(fmt.Sprint(i), false).DeliveryID)
	}
	later := b.accept("later", true)
	b.result(later.Job, phone.Pending) // due in a minute
	take := func(at time.Time, limit int) ([]string, store.Batch) {
		batch, err := b.Due(b.Context(), w.ID, at, limit, false)
		b.must(err)
		return ids(batch.Jobs), batch
	}
	got, batch := take(b.now, 3)
	if !slices.Equal(got, want[:3]) || !batch.More {
		b.Errorf("%v, want %v; %+v", got, want[:3], batch)
	}
	if got, batch := take(b.now, 10); !slices.Equal(got, want[3:]) || !batch.NextDue.Equal(b.now.Add(time.Minute)) {
		b.Errorf("what is held is handed out again, or the rest is not: %v %+v", got, batch)
	}
	b.must(b.HandBack(b.Context(), batch.Jobs[1:2]))
	b.must(b.HandBack(b.Context(), batch.Jobs[1:2])) // twice does nothing more
	got, batch = take(b.now.Add(time.Hour), 10)
	if !slices.Equal(got, []string{want[1], later.DeliveryID}) || batch.Jobs[1].Attempts != 1 || batch.More || !batch.NextDue.IsZero() {
		b.Errorf("%v %+v", got, batch)
	}
	b.restart()
	if got, _ := take(b.now.Add(time.Hour), 10); len(got) != 6 {
		b.Errorf("after a crash %d of 6 are due", len(got))
	}
}

func ids(jobs []*phone.Job) (out []string) {
	for _, j := range jobs {
		out = append(out, j.DeliveryID)
	}
	return out
}

// In strict order nothing passes a delivery of its conversation that waits.
func strict(b *bench) {
	w, err := b.SetWebhook(b.Context(), phone.Webhook{ID: phone.NewID(phone.PrefixWebhook), ProjectID: b.project, URL: "https://example.com/",
		Secret: "whsec_", ContextLimit: 10, Timeout: 30 * time.Second, CreatedAt: b.now, Ordering: phone.OrderStrict})
	b.must(err)
	head, next, last := b.accept("head", true), b.accept("next", false), b.accept("last", false)
	b.result(head.Job, phone.Pending) // due in a minute
	due := b.now.Add(time.Minute)
	batch, err := b.Due(b.Context(), w.ID, b.now, 10, true)
	b.must(err)
	if len(batch.Jobs) != 0 || !b.state(next.DeliveryID).NextAttemptAt.Equal(due) {
		b.Errorf("%v; it waits until %s, the one before it until %s", ids(batch.Jobs), b.state(next.DeliveryID).NextAttemptAt, due)
	}
	if batch, err = b.Due(b.Context(), w.ID, due, 10, true); err != nil || !slices.Equal(ids(batch.Jobs), []string{head.DeliveryID, next.DeliveryID, last.DeliveryID}) {
		b.Fatalf("%v %v", ids(batch.Jobs), err)
	}
	b.must(b.HandBack(b.Context(), batch.Jobs[1:]))
	b.result(batch.Jobs[0], phone.Pending)
	late := b.accept("late", false)
	// Nobody looked while the head waited: it goes first all the same.
	at := b.now.Add(2 * time.Minute)
	batch, err = b.Due(b.Context(), w.ID, at, 10, true)
	b.must(err)
	rest, err := b.Due(b.Context(), w.ID, at, 10, true)
	b.must(err)
	if !slices.Equal(ids(batch.Jobs), []string{head.DeliveryID}) || !batch.More || !slices.Equal(ids(rest.Jobs), []string{next.DeliveryID, last.DeliveryID, late.DeliveryID}) {
		b.Errorf("%v %v, then %v", ids(batch.Jobs), batch.More, ids(rest.Jobs))
	}
}

// A probe spends no attempt; when the endpoint is back everything is due, oldest first.
func failing(b *bench) {
	w := b.hook("")
	first, second := b.accept("first", true), b.accept("second", false)
	since := b.now
	b.must(b.SetFailing(b.Context(), w.ID, since))
	if got, err := b.Webhook(b.Context(), b.project, ""); err != nil || !got.FailingSince.Equal(since) {
		b.Error(got, err)
	}
	_, err := b.Record(b.Context(), []*phone.Result{{Job: first.Job, Probe: true, Status: phone.Pending, NextAttemptAt: first.Job.CreatedAt,
		Attempt: phone.Attempt{ID: "att_p", DeliveryID: first.DeliveryID, SentAt: b.now, Error: "refused"}, Body: []byte("{}")}})
	b.must(err)
	batch, err := b.Due(b.Context(), w.ID, b.now, 1, false)
	b.must(err)
	if j := batch.Jobs[0]; j.DeliveryID != first.DeliveryID || j.Attempts != 1 || j.RoundAttempts != 0 {
		b.Errorf("after a probe: %+v", j)
	}
	b.result(batch.Jobs[0], phone.Pending)
	b.must(b.Hurry(b.Context(), w.ID, b.now))
	if batch, err = b.Due(b.Context(), w.ID, b.now, 10, false); err != nil || !slices.Equal(ids(batch.Jobs), []string{first.DeliveryID, second.DeliveryID}) {
		b.Errorf("%v %v", ids(batch.Jobs), err)
	}
	b.must(b.DisableFailing(b.Context(), w.ID, since.Add(time.Second)))
	b.expect(second.DeliveryID, phone.Pending, w.ID, "")
	b.must(b.DisableFailing(b.Context(), w.ID, since))
	b.expect(second.DeliveryID, phone.Failed, w.ID, phone.ErrorWebhookDisabled)
	if again := b.hook(""); !again.FailingSince.IsZero() || again.Status != phone.WebhookActive {
		b.Errorf("set anew: %+v", again)
	}
}

// More than one transaction settles is settled all the same.
func settlesInSlices(b *bench) {
	own := b.hook(b.agent)
	var all []phone.Accepted
	for range 3 {
		events := make([]*phone.NewEvent, 500)
		for i := range events {
			events[i] = b.event("x")
		}
		all = append(all, b.Accept(b.Context(), events, &room{})...)
	}
	def := b.hook("")
	b.must(b.DeleteWebhook(b.Context(), b.project, b.agent, b.now, nil))
	for _, i := range []int{0, 999, 1000, 1499} {
		b.expect(all[i].DeliveryID, phone.Pending, def.ID, "")
	}
	if c, err := b.Totals(b.Context(), b.project); err != nil || c.Pending != 1500 {
		b.Error(c, err)
	}
	if batch, err := b.Due(b.Context(), own.ID, b.now, 1, false); err != nil || len(batch.Jobs) != 0 {
		b.Error("something is left at the old webhook", err)
	}
	b.must(b.SettleAll(b.Context()))
}

// Old deliveries go, what is pending and the counters stay.
func prunes(b *bench) {
	b.hook("")
	b.now = time.Now().UTC().Truncate(time.Millisecond) // ids carry the real time
	var done []phone.Accepted
	for i := range 450 {
		a := b.accept(fmt.Sprint(i), true)
		if i%2 == 0 {
			b.result(a.Job, phone.Success)
		}
		done = append(done, a)
	}
	out := b.event("said by the agent")
	out.Direction = phone.Outbound
	b.must(b.Accept(b.Context(), []*phone.NewEvent{out}, &room{})[0].Err)
	before, err := b.Totals(b.Context(), b.project)
	b.must(err)
	prune := func(cut time.Time) {
		after, slices := "", 0
		for {
			next, err := b.Prune(b.Context(), cut, after)
			b.must(err)
			if after = next; next == "" {
				break
			}
			if slices++; slices > 100 {
				b.Fatal("pruning does not end")
			}
		}
	}
	prune(time.Now().Add(-time.Hour))
	if d := b.state(done[0].DeliveryID); d.Attempts != 1 || len(d.Log) != 1 {
		b.Errorf("a young one was dropped: %+v", d)
	}
	prune(time.Now().Add(time.Hour))
	for i, a := range done {
		_, err := b.Delivery(b.Context(), b.project, a.DeliveryID)
		if gone := phone.CodeOf(err) == phone.NotFound; gone != (i%2 == 0) {
			b.Fatalf("delivery %d: %v", i, err)
		}
	}
	if after, err := b.Totals(b.Context(), b.project); err != nil || after != before {
		b.Errorf("%+v, before %+v, %v", after, before, err)
	}
	if next := b.accept("after it", true); len(next.Job.History) != 10 {
		b.Errorf("a history of %d messages", len(next.Job.History))
	}
}

func counters(b *bench) {
	def, _ := b.hook(""), b.hook(b.agent)
	for i := range 20 {
		b.now = b.now.Add(20 * time.Minute)
		a := b.accept(fmt.Sprint(i), i%2 == 0)
		if i%3 == 0 {
			b.result(a.Job, []phone.DeliveryStatus{phone.Success, phone.Failed, phone.Pending}[i/3%3])
		}
	}
	b.must(b.DeleteWebhook(b.Context(), b.project, b.agent, b.now, nil))
	b.must(b.DeleteWebhook(b.Context(), b.project, "", b.now, nil))
	b.hook("")
	_, _, err := b.RetryAll(b.Context(), store.DeliveryFilter{ProjectID: b.project, Status: phone.Unrouted}, b.now.Add(time.Hour), 6)
	b.must(err)
	var want store.Counts
	for status, n := range map[phone.DeliveryStatus]*int{phone.Success: &want.Success, phone.Failed: &want.Failed, phone.Pending: &want.Pending} {
		_, total, err := b.Deliveries(b.Context(), store.DeliveryFilter{ProjectID: b.project, Status: status, Limit: 1})
		b.must(err)
		*n = total
	}
	got, err := b.Totals(b.Context(), b.project)
	b.must(err)
	var hourly store.Counts
	hours, err := b.Stats(b.Context(), b.project, b.now.Add(-24*time.Hour))
	b.must(err)
	for _, h := range hours {
		hourly.Success += h.Success
		hourly.Failed += h.Failed
		hourly.Pending += h.Pending
	}
	if got != want || hourly != want || want.Total() != 20 || len(hours) < 6 {
		b.Errorf("in all %+v, by the hour %+v (%d hours), in the log %+v (default %s)", got, hourly, len(hours), want, def.ID)
	}
}
