package storetest

import (
	"context"
	"fmt"
	"strings"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
)

// LookStore is what the dashboard needs of a store.
type LookStore interface {
	SaveMinutes(ctx context.Context, process string, minutes []store.Minute, keep time.Time) error
	Minutes(ctx context.Context, projectID string, since, until time.Time) ([]store.Minute, error)
	CreateSession(ctx context.Context, v store.Session) error
	Session(ctx context.Context, projectID string, hash [32]byte, now time.Time) (store.Session, error)
	EndSession(ctx context.Context, projectID string, hash [32]byte) error
	Look(ctx context.Context, f store.LookFilter) (store.Look, error)
	CountDeliveries(ctx context.Context, f store.DeliveryFilter) (int, error)
	Troubles(ctx context.Context, projectID string, since time.Time) ([]store.Trouble, error)
	Waiting(ctx context.Context, projectID, webhookID string) (store.Waiting, error)
	AgentLooks(ctx context.Context, projectID string, agentIDs []string) (map[string]store.AgentLook, error)
	MessageDeliveries(ctx context.Context, projectID string, messages []phone.Message) (map[string]phone.Delivery, error)
	RecentConversations(ctx context.Context, projectID, agentID string, limit int) ([]phone.Conversation, bool, error)
	ConversationsWith(ctx context.Context, projectID, participant string, limit int) ([]phone.Conversation, error)
	Messages(ctx context.Context, projectID, conversationID string, p store.Page) ([]phone.Message, bool, error)
}

func minutes(b *bench) {
	ctx := b.Context()
	at := b.now.Truncate(time.Minute)
	m := store.Minute{ProjectID: b.project, At: at, Accepted: 3, Attempts: 2, Success: 1, Failed: 1, Pending: 5}
	m.Latency.Observe(time.Second)
	b.must(b.SaveMinutes(ctx, "a", []store.Minute{m}, at.Add(-time.Hour)))
	m.Accepted = 4 // the same process, later in the minute: in place of what it wrote
	b.must(b.SaveMinutes(ctx, "a", []store.Minute{m}, at.Add(-time.Hour)))
	m.Pending = 7
	b.must(b.SaveMinutes(ctx, "b", []store.Minute{m}, at.Add(-time.Hour)))
	other := m
	other.ProjectID = "prj_other"
	next := m
	next.At = at.Add(time.Minute)
	b.must(b.SaveMinutes(ctx, "a", []store.Minute{other, next}, at.Add(-time.Hour)))
	got, err := b.Minutes(ctx, b.project, at, at.Add(2*time.Minute))
	b.must(err)
	if len(got) != 2 || !got[0].At.Equal(at) || got[0].Accepted != 8 || got[0].Success != 2 || got[0].Pending != 7 || got[0].Latency.Count() != 2 {
		b.Errorf("%+v", got)
	}
	if got, _ := b.Minutes(ctx, b.project, at, at.Add(time.Minute)); len(got) != 1 {
		b.Error("until is not exclusive, or since not inclusive:", len(got))
	}
	b.must(b.SaveMinutes(ctx, "a", []store.Minute{next}, at.Add(time.Minute)))
	if got, _ := b.Minutes(ctx, b.project, at.Add(-time.Hour), at.Add(time.Hour)); len(got) != 1 || !got[0].At.Equal(next.At) {
		b.Errorf("what is too old stays: %+v", got)
	}
	if got, _ := b.Minutes(ctx, "prj_other", at, at.Add(time.Hour)); len(got) != 1 {
		b.Error("another project's is gone with it")
	}
}

func sessions(b *bench) {
	ctx := b.Context()
	v := store.Session{ProjectID: b.project, Hash: [32]byte{7}, KeyHash: [32]byte{1}, CreatedAt: b.now, ExpiresAt: b.now.Add(time.Hour)}
	b.must(b.CreateSession(ctx, v))
	if got, err := b.Session(ctx, b.project, v.Hash, b.now); err != nil || got != v {
		b.Error(got, err)
	}
	gone := func(why, project string, hash [32]byte, now time.Time) {
		b.Helper()
		if _, err := b.Session(ctx, project, hash, now); phone.CodeOf(err) != phone.NotFound {
			b.Error(why, err)
		}
	}
	gone("an unknown token:", b.project, [32]byte{8}, b.now)
	gone("in another project:", "prj_other", v.Hash, b.now)
	gone("past its time:", b.project, v.Hash, v.ExpiresAt)
	later := v
	later.Hash, later.CreatedAt, later.ExpiresAt = [32]byte{9}, v.ExpiresAt.Add(time.Second), v.ExpiresAt.Add(time.Hour)
	b.must(b.CreateSession(ctx, later))
	gone("dropped once it had run out:", b.project, v.Hash, b.now)
	b.must(b.EndSession(ctx, b.project, later.Hash))
	gone("ended:", b.project, later.Hash, later.CreatedAt)
	b.must(b.EndSession(ctx, b.project, later.Hash))
}

// look pages through the log and filters it, whatever the page's length.
func look(b *bench) {
	ctx := b.Context()
	w := b.hook("")
	var want []string // newest first
	for i := range 7 {
		a := b.accept(fmt.Sprint("text ", i), true)
		if i%3 == 0 {
			b.result(a.Job, phone.Failed)
		} else {
			b.result(a.Job, phone.Success)
		}
		want = append([]string{a.DeliveryID}, want...)
	}
	b.must(b.DeleteWebhook(ctx, b.project, "", b.now, nil))
	b.accept("nowhere", true)
	all := b.looked(store.LookFilter{}, 3)
	if len(all) != 8 || strings.Join(idsOf(all[1:]), " ") != strings.Join(want, " ") || all[0].Status != phone.Unrouted || all[1].HTTPStatus != 500 {
		b.Errorf("%v\nis not unrouted, then %v", idsOf(all), want)
	}
	of := func(f store.DeliveryFilter) store.LookFilter { return store.LookFilter{DeliveryFilter: f} }
	for _, c := range []struct {
		name string
		f    store.LookFilter
		n    int
	}{
		{"failed", of(store.DeliveryFilter{Status: phone.Failed}), 3},
		{"unrouted", of(store.DeliveryFilter{Status: phone.Unrouted}), 1},
		{"success", of(store.DeliveryFilter{Status: phone.Success}), 4},
		{"pending", of(store.DeliveryFilter{Status: phone.Pending}), 0},
		{"the agent's", of(store.DeliveryFilter{AgentID: b.agent}), 8},
		{"another agent's", of(store.DeliveryFilter{AgentID: "agt_other"}), 0},
		{"the agent's that failed", of(store.DeliveryFilter{AgentID: b.agent, Status: phone.Failed}), 3},
		{"a webhook's", of(store.DeliveryFilter{WebhookID: w.ID}), 7},
		{"by event and channel", of(store.DeliveryFilter{EventType: phone.EventMessage, Channel: phone.ChannelSMS}), 8},
		{"of another channel", of(store.DeliveryFilter{Channel: phone.ChannelVoice}), 0},
		{"since", of(store.DeliveryFilter{Since: all[2].CreatedAt}), 3},
		{"until", of(store.DeliveryFilter{Until: all[2].CreatedAt}), 5},
		{"until, failed", of(store.DeliveryFilter{Until: all[2].CreatedAt, Status: phone.Failed}), 2},
		{"another project's", of(store.DeliveryFilter{ProjectID: "prj_other"}), 0},
	} {
		if got := b.looked(c.f, 2); len(got) != c.n {
			b.Errorf("%s: %d, want %d", c.name, len(got), c.n)
		}
	}
	for _, c := range []struct {
		f store.DeliveryFilter
		n int
	}{
		{store.DeliveryFilter{}, 3 + 1}, // as RetryAll takes them
		{store.DeliveryFilter{Status: phone.Failed}, 3},
		{store.DeliveryFilter{Status: phone.Success}, 4},
		{store.DeliveryFilter{AgentID: "agt_other"}, 0},
		{store.DeliveryFilter{Since: all[2].CreatedAt}, 2},
		{store.DeliveryFilter{Until: all[2].CreatedAt}, 2},
		{store.DeliveryFilter{ProjectID: "prj_other"}, 0},
		{store.DeliveryFilter{WebhookID: w.ID, AgentID: b.agent}, 3},
	} {
		if c.f.ProjectID == "" {
			c.f.ProjectID = b.project
		}
		if got, err := b.CountDeliveries(ctx, c.f); err != nil || got != c.n {
			b.Errorf("%+v: counted %d, want %d: %v", c.f, got, c.n, err)
		}
	}
}

func idsOf(ds []phone.Delivery) (out []string) {
	for _, d := range ds {
		out = append(out, d.ID)
	}
	return out
}

// looked goes through all pages of a look.
func (b *bench) looked(f store.LookFilter, limit int) (out []phone.Delivery) {
	b.Helper()
	if f.ProjectID == "" {
		f.ProjectID = b.project
	}
	f.Limit = limit
	for {
		l, err := b.Look(b.Context(), f)
		b.must(err)
		if len(l.Deliveries) > limit || l.Short {
			b.Fatalf("%d on a page of %d, short %v", len(l.Deliveries), limit, l.Short)
		}
		out = append(out, l.Deliveries...)
		if l.Next == (store.Place{}) {
			return out
		}
		f.After = l.Next
	}
}

func lookForText(b *bench) {
	b.hook("")
	for _, text := range []string{"Where is my ORDER?", `say "hi"`, "100 % <b>", "grüße"} {
		e := b.event(text)
		e.Data = func(string, string) []byte { return []byte(`{"message":` + quoted(text) + `}`) }
		b.must(b.Accept(b.Context(), []*phone.NewEvent{e}, &room{free: true})[0].Err)
	}
	for text, n := range map[string]int{"order": 1, `"HI"`: 1, "100 %": 1, "%": 1, "grüße": 1, "nothing of it": 0, "_": 0} {
		if got := b.looked(store.LookFilter{Text: text}, 2); len(got) != n {
			b.Errorf("%q is found %d times, want %d", text, len(got), n)
		}
	}
}

// quoted writes a text as the switchboard writes it into an event's data.
func quoted(text string) string {
	return `"` + strings.NewReplacer(`"`, `\"`, "<", `\u003c`, ">", `\u003e`).Replace(text) + `"`
}

func troubles(b *bench) {
	ctx := b.Context()
	nothing := func(why string) {
		b.Helper()
		if got, err := b.Troubles(ctx, b.project, b.now.Add(-time.Hour)); err != nil || len(got) != 0 {
			b.Error(why, got, err)
		}
	}
	def := b.hook("")
	ok := b.accept("well", true)
	nothing("one is on its way:")
	b.result(ok.Job, phone.Success)
	nothing("all is well:")
	b.result(b.accept("failed", true).Job, phone.Failed)
	again := b.accept("again", true)
	b.result(again.Job, phone.Pending)
	got, err := b.Troubles(ctx, b.project, b.now.Add(-time.Hour))
	b.must(err)
	if len(got) != 1 || got[0].Webhook == nil || got[0].Webhook.ID != def.ID || got[0].Failed != 1 || got[0].Retrying != 1 ||
		got[0].Waiting != 1 || got[0].Last.ID != again.DeliveryID || got[0].Last.Error != "answered 500" {
		b.Errorf("%+v", got)
	}
	if got, _ := b.Troubles(ctx, b.project, b.now.Add(time.Hour)); len(got) != 0 {
		b.Errorf("of another time: %+v", got)
	}
	own := b.hook(b.agent)
	b.must(b.SetFailing(ctx, own.ID, b.now))
	got, err = b.Troubles(ctx, b.project, b.now.Add(-time.Hour))
	b.must(err)
	if len(got) != 2 || got[0].Webhook.ID != own.ID || got[0].AgentID != b.agent || got[0].Last.ID != "" {
		b.Errorf("the endpoint that is out does not come first: %+v", got)
	}
	_, err = b.SetWebhookStatus(ctx, b.project, "", phone.WebhookDisabled)
	b.must(err)
	if got, _ = b.Troubles(ctx, b.project, b.now.Add(-time.Hour)); len(got) != 2 || got[0].Webhook.ID != def.ID {
		b.Errorf("the disabled one does not come first: %+v", got)
	}
	b.must(b.DeleteWebhook(ctx, b.project, b.agent, b.now, nil))
	b.must(b.DeleteWebhook(ctx, b.project, "", b.now, nil))
	b.accept("nowhere", true)
	if got, _ = b.Troubles(ctx, b.project, b.now.Add(-time.Hour)); len(got) != 1 || got[0].Webhook != nil || got[0].AgentID != b.agent || got[0].Unrouted != 1 {
		b.Errorf("an agent without any: %+v", got)
	}
}

func waitings(b *bench) {
	ctx := b.Context()
	w := b.hook("")
	b.accept("fresh", false)
	b.accept("on its way", true)
	b.result(b.accept("tried", true).Job, phone.Pending)
	if got, err := b.Waiting(ctx, b.project, w.ID); err != nil || got != (store.Waiting{Fresh: 1, Tried: 1}) {
		b.Error(got, err)
	}
	if got, err := b.Waiting(ctx, "prj_other", w.ID); err != nil || got != (store.Waiting{}) {
		b.Error("another project's:", got, err)
	}
}

func agentLooks(b *bench) {
	b.hook("")
	b.result(b.accept("1", true).Job, phone.Success)
	b.result(b.accept("2", true).Job, phone.Failed)
	b.accept("3", true)
	got, err := b.AgentLooks(b.Context(), b.project, []string{b.agent, "agt_none"})
	want := store.AgentLook{Counts: store.Counts{Success: 1, Failed: 1, Pending: 1}, LastAt: b.now}
	if err != nil || len(got) != 1 || got[b.agent] != want {
		b.Errorf("%+v, want %+v: %v", got, want, err)
	}
	if got, _ := b.AgentLooks(b.Context(), "prj_other", []string{b.agent}); len(got) != 0 {
		b.Error("from another project:", got)
	}
}

func threads(b *bench) {
	ctx := b.Context()
	b.hook("")
	first := b.accept("first", true)
	b.result(first.Job, phone.Failed)
	said := b.event("said by the agent")
	said.Direction = phone.Outbound
	b.must(b.Accept(ctx, []*phone.NewEvent{said}, &room{})[0].Err)
	other := b.event("another's")
	other.Participant = "+12025550188"
	latest := b.Accept(ctx, []*phone.NewEvent{other}, &room{free: true})[0]
	b.must(latest.Err)

	messages, _, err := b.Messages(ctx, b.project, first.ConversationID, store.Page{Limit: 10})
	b.must(err)
	got, err := b.MessageDeliveries(ctx, b.project, messages)
	if err != nil || len(messages) != 2 || len(got) != 1 || got[first.MessageID].ID != first.DeliveryID || got[first.MessageID].HTTPStatus != 500 {
		b.Errorf("%+v of %d messages: %v", got, len(messages), err)
	}
	for agent, n := range map[string]int{"": 2, b.agent: 2} {
		cs, exact, err := b.RecentConversations(ctx, b.project, agent, 10)
		if err != nil || !exact || len(cs) != n || cs[0].ID != latest.ConversationID {
			b.Errorf("%+v, exact %v: %v", cs, exact, err)
		}
	}
	if cs, _, _ := b.RecentConversations(ctx, b.project, "", 1); len(cs) != 1 {
		b.Error("more than were asked for")
	}
	if _, _, err := b.RecentConversations(ctx, b.project, "agt_none", 10); phone.CodeOf(err) != phone.NotFound {
		b.Error("of no agent:", err)
	}
	if cs, err := b.ConversationsWith(ctx, b.project, theirs, 10); err != nil || len(cs) != 1 || cs[0].ID != first.ConversationID {
		b.Errorf("%+v: %v", cs, err)
	}
	if cs, _ := b.ConversationsWith(ctx, "prj_other", theirs, 10); len(cs) != 0 {
		b.Error("from another project:", cs)
	}
}

// manyConversations are listed by what happened last.
func manyConversations(b *bench) {
	ctx := b.Context()
	b.hook("")
	var events []*phone.NewEvent
	for i := range store.ConversationScan + 1 {
		e := b.event("x")
		e.Participant = fmt.Sprintf("+1202%07d", i)
		events = append(events, e)
	}
	accepted := b.Accept(ctx, events, &room{})
	last := accepted[len(accepted)-1]
	b.must(last.Err)
	for _, agent := range []string{"", b.agent} {
		cs, exact, err := b.RecentConversations(ctx, b.project, agent, 10)
		if err != nil || exact || len(cs) != 10 || cs[0].ID != last.ConversationID {
			b.Errorf("%d, exact %v: %v", len(cs), exact, err)
		}
	}
}

func progress(b *bench) {
	b.hook("")
	for range 3 {
		b.result(b.accept("x", true).Job, phone.Failed)
	}
	told := 0
	n, _, err := b.RetryAll(b.Context(), store.DeliveryFilter{ProjectID: b.project, Progress: func(taken int) { told = taken }}, b.now.Add(time.Hour), 6)
	if err != nil || n != 3 || told != 3 {
		b.Error(n, told, err)
	}
}

// timings are kept with the attempt they are of.
func timings(b *bench) {
	b.hook("")
	a := b.accept("x", true)
	want := phone.Timing{DNS: 1 * time.Millisecond, Connect: 2 * time.Millisecond, TLS: 3 * time.Millisecond, FirstByte: 7 * time.Millisecond}
	_, err := b.Record(b.Context(), []*phone.Result{{Job: a.Job, Status: phone.Success, Attempt: phone.Attempt{
		ID: "att_t", DeliveryID: a.DeliveryID, SentAt: b.now, HTTPStatus: 200, Timing: want,
	}}})
	b.must(err)
	if d := b.state(a.DeliveryID); len(d.Log) != 1 || d.Log[0].Timing != want {
		b.Errorf("%+v", d.Log)
	}
}
