package storetest

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
)

// TurnStore is what turns of calls need of a store.
type TurnStore interface {
	AcceptTurn(ctx context.Context, e *phone.NewEvent) phone.Accepted
	AcceptAnswer(ctx context.Context, r *phone.TurnResult) (store.Recorded, error)
	SettleTurns(ctx context.Context, now time.Time) (int, error)
	RepeatedTurn(ctx context.Context, projectID, key string, now time.Time) (phone.Accepted, bool, error)
	Turn(ctx context.Context, projectID, callID, deliveryID string) (phone.Turn, error)
	Call(ctx context.Context, projectID, id string) (phone.Call, []phone.Turn, error)
	Calls(ctx context.Context, f store.CallFilter) ([]phone.Call, int, error)
}

var turnTests = []concern{
	{"TurnsJoinTheHistory", turnsJoin},
	{"TurnsAreNobodyElsesToSend", turnsAlone},
	{"TurnsWithoutAWebhook", turnsUnrouted},
	{"TurnsAfterACrash", turnsCrashed},
	{"TurnsWithAKey", turnsRepeated},
	{"TurnsOfAWebhookThatGoes", turnsOrphaned},
	{"CallsAndTheirEnd", callsEnd},
	{"CallsAreListed", callsListed},
}

func (b *bench) turnEvent(call, text string) *phone.NewEvent {
	e := b.event(text)
	e.Channel = phone.ChannelVoice
	e.Call = &phone.Call{ID: call, ProjectID: b.project, PhoneNumber: ours, Participant: theirs, Direction: phone.Inbound, Status: phone.CallInProgress, StartedAt: b.now}
	sure := 0.9
	e.Confidence = &sure
	data, err := json.Marshal(map[string]string{"callId": call})
	b.must(err)
	e.Data = func(string, string) []byte { return data }
	return e
}

// ask takes a turn in.
func (b *bench) ask(call, text string) phone.Accepted {
	b.Helper()
	a := b.AcceptTurn(b.Context(), b.turnEvent(call, text))
	b.must(a.Err)
	return a
}

// answer ends a turn, with an attempt.
func (b *bench) answer(a phone.Accepted, status phone.DeliveryStatus, text string) store.Recorded {
	b.Helper()
	b.count++
	b.now = b.now.Add(time.Second)
	r := phone.TurnResult{
		Job: a.Job, NumberID: a.NumberID, Number: ours, Participant: theirs, CallID: a.CallID, Status: status, Answer: text,
		MessageID: phone.NewID(phone.PrefixMessage), Reply: []byte(`{"text":` + fmt.Sprintf("%q", text) + `}`), At: b.now,
		Attempts: []phone.Attempt{{ID: fmt.Sprint("att_t", b.count), DeliveryID: a.DeliveryID, SentAt: b.now, HTTPStatus: 200}},
	}
	if status == phone.Failed {
		r.Attempts[0].Error = "superseded"
	}
	out, err := b.AcceptAnswer(b.Context(), &r)
	b.must(err)
	return out
}

func turnsJoin(b *bench) {
	w := b.hook("")
	b.accept("before", true)
	first := b.ask("c1", "where is it?")
	if first.Webhook == nil || first.Webhook.ID != w.ID || first.Webhook.URL != w.URL || first.Refused != "" || first.CallID != "c1" {
		b.Fatalf("%+v", first)
	}
	j := first.Job
	if !j.Handed || j.Event == nil || len(j.History) != 1 || j.Channel != phone.ChannelVoice {
		b.Errorf("%+v", j)
	}
	if d := b.state(first.DeliveryID); d.Status != phone.Pending || d.WebhookID != w.ID {
		b.Errorf("%+v", d)
	}
	if r := b.answer(first, phone.Success, "on its way"); !r.Applied || r.Number != 1 || r.Status != phone.Success {
		b.Errorf("%+v", r)
	}
	if d := b.state(first.DeliveryID); d.Status != phone.Success || d.Attempts != 1 || len(d.Log) != 1 {
		b.Errorf("%+v", d)
	}
	text := b.accept("a text, an hour later", true)
	c, err := b.Content(b.Context(), b.project, text.DeliveryID)
	b.must(err)
	var got []string
	for _, m := range c.History {
		got = append(got, fmt.Sprint(m.Body, " ", m.Direction, " ", m.Channel))
	}
	if fmt.Sprint(got) != "[before inbound sms where is it? inbound voice on its way outbound voice]" {
		b.Error(got)
	}
	if fmt.Sprintf("%+v", text.Job.History) != fmt.Sprintf("%+v", c.History) {
		b.Errorf("what a job carries, %+v, is not what is read, %+v", text.Job.History, c.History)
	}
	if r := b.answer(first, phone.Failed, "again"); r.Applied {
		b.Error("a turn ended twice")
	}
	silent := b.ask("c1", "hello?")
	b.answer(silent, phone.Success, "")
	if next := b.ask("c1", "still there?"); len(next.Job.History) != 5 {
		b.Errorf("silence joined the history: %+v", next.Job.History)
	}
}

// What a turn leaves pending no lane ever sees.
func turnsAlone(b *bench) {
	w := b.hook("")
	turn := b.ask("c1", "hello")
	later := b.now.Add(24 * time.Hour)
	if batch, err := b.Due(b.Context(), w.ID, later, 10, false); err != nil || len(batch.Jobs) != 0 || !batch.NextDue.IsZero() {
		b.Errorf("a turn is due: %+v %v", batch, err)
	}
	b.must(b.Hurry(b.Context(), w.ID, later))
	if batch, err := b.Due(b.Context(), w.ID, later, 10, false); err != nil || len(batch.Jobs) != 0 {
		b.Errorf("a turn is due: %+v %v", batch, err)
	}
	for _, again := range []bool{false, true} {
		if _, err := b.Retry(b.Context(), b.project, turn.DeliveryID, b.now, 6); phone.CodeOf(err) != phone.Conflict {
			b.Errorf("a turn was replayed (ended %v): %v", again, err)
		}
		b.answer(turn, phone.Failed, "")
	}
	text := b.accept("a text", true)
	b.result(text.Job, phone.Failed)
	if n, _, err := b.RetryAll(b.Context(), store.DeliveryFilter{ProjectID: b.project}, later, 6); n != 1 || err != nil {
		b.Errorf("%d were replayed, %v", n, err)
	}
	if c, err := b.Totals(b.Context(), b.project); err != nil || c != (store.Counts{Failed: 1, Pending: 1}) {
		b.Error(c, err)
	}
}

func turnsUnrouted(b *bench) {
	a := b.ask("c1", "anybody there?")
	if a.Refused != phone.ErrorTurnUnrouted || a.Job != nil || a.DeliveryID != "" {
		b.Errorf("%+v", a)
	}
	w := b.hook("")
	_, err := b.SetWebhookStatus(b.Context(), b.project, "", phone.WebhookDisabled)
	b.must(err)
	a = b.ask("c1", "anybody there?")
	if a.Refused != phone.ErrorWebhookDisabled || a.Job != nil {
		b.Errorf("%+v", a)
	}
	b.expect(a.DeliveryID, phone.Failed, w.ID, phone.ErrorWebhookDisabled)
	turn, err := b.Turn(b.Context(), b.project, "c1", a.DeliveryID)
	if err != nil || turn.Status != phone.Failed || string(turn.Reply) != string(phone.SilentReply(phone.ErrorWebhookDisabled)) {
		b.Errorf("%+v %v", turn, err)
	}
	stranger := b.turnEvent("c2", "x")
	stranger.Number = "+12025550123"
	if a := b.AcceptTurn(b.Context(), stranger); phone.CodeOf(a.Err) != phone.NotFound {
		b.Errorf("%+v", a)
	}
	if _, _, err := b.Call(b.Context(), b.project, "c2"); phone.CodeOf(err) != phone.NotFound {
		b.Error("a refused turn left its call:", err)
	}
}

// A crash between question and answer leaves a failed delivery that says so.
func turnsCrashed(b *bench) {
	w := b.hook("")
	lost, text := b.ask("c1", "hello"), b.accept("a text", true)
	b.restart()
	live := b.ask("c2", "hello")
	// A store may have done it when it was opened.
	if n, err := b.SettleTurns(b.Context(), b.now); n > 1 || err != nil {
		b.Error(n, err)
	}
	b.expect(lost.DeliveryID, phone.Failed, w.ID, phone.ErrorTurnLost)
	b.expect(live.DeliveryID, phone.Pending, w.ID, "")
	batch, err := b.Due(b.Context(), w.ID, b.now.Add(time.Hour), 10, false)
	if err != nil || len(batch.Jobs) != 1 || batch.Jobs[0].DeliveryID != text.DeliveryID {
		b.Errorf("%v %v", ids(batch.Jobs), err)
	}
	turn, err := b.Turn(b.Context(), b.project, "c1", lost.DeliveryID)
	if err != nil || turn.Status != phone.Failed || string(turn.Reply) != string(phone.SilentReply(phone.ErrorTurnLost)) {
		b.Errorf("%+v %v", turn, err)
	}
	if n, err := b.SettleTurns(b.Context(), b.now); n != 0 || err != nil {
		b.Error(n, err)
	}
	if c, err := b.Totals(b.Context(), b.project); err != nil || c != (store.Counts{Failed: 1, Pending: 2}) {
		b.Error(c, err)
	}
	b.answer(live, phone.Success, "hi")
}

func turnsRepeated(b *bench) {
	b.hook("")
	first := b.turnEvent("c1", "hello")
	first.IdempotencyKey = "k"
	a := b.AcceptTurn(b.Context(), first)
	b.must(a.Err)
	again := b.turnEvent("c1", "hello")
	again.IdempotencyKey = "k"
	if r := b.AcceptTurn(b.Context(), again); r.Err != nil || !r.Duplicate || r.DeliveryID != a.DeliveryID || r.CallID != "c1" || r.Job != nil || r.Webhook != nil {
		b.Errorf("%+v", r)
	}
	got, found, err := b.RepeatedTurn(b.Context(), b.project, "k", b.now)
	if err != nil || !found || !got.Duplicate || got.DeliveryID != a.DeliveryID || got.CallID != "c1" {
		b.Errorf("%+v %v %v", got, found, err)
	}
	if _, found, err := b.RepeatedTurn(b.Context(), "prj_other", "k", b.now); found || err != nil {
		b.Error("another project's key", err)
	}
	if turn, err := b.Turn(b.Context(), b.project, "c1", a.DeliveryID); err != nil || turn.Reply != nil || turn.Status != phone.Pending {
		b.Errorf("%+v %v", turn, err)
	}
	b.answer(a, phone.Success, "hi")
	if turn, err := b.Turn(b.Context(), b.project, "c1", a.DeliveryID); err != nil || string(turn.Reply) != `{"text":"hi"}` || turn.Answer != "hi" {
		b.Errorf("%+v %v", turn, err)
	}
	if _, err := b.Turn(b.Context(), "prj_other", "c1", a.DeliveryID); phone.CodeOf(err) != phone.NotFound {
		b.Error("another project's turn:", err)
	}
}

// A turn under way when its webhook goes ends by itself, and is bound to no other.
func turnsOrphaned(b *bench) {
	b.hook("")
	own := b.hook(b.agent)
	good, bad := b.ask("c1", "one"), b.ask("c2", "two")
	b.must(b.DeleteWebhook(b.Context(), b.project, b.agent, b.now, nil))
	b.expect(good.DeliveryID, phone.Pending, own.ID, "")
	b.answer(good, phone.Success, "yes")
	b.answer(bad, phone.Failed, "")
	b.expect(good.DeliveryID, phone.Success, own.ID, "")
	b.expect(bad.DeliveryID, phone.Failed, own.ID, "superseded")
}

func callsEnd(b *bench) {
	b.hook("")
	began := b.now.Add(time.Second)
	b.answer(b.ask("c1", "where is it?"), phone.Success, "on its way")
	c, turns, err := b.Call(b.Context(), b.project, "c1")
	b.must(err)
	if c.Status != phone.CallInProgress || !c.StartedAt.Equal(began) || !c.EndedAt.IsZero() || c.AgentID != b.agent || c.PhoneNumber != ours ||
		c.Participant != theirs || c.LastSnippet != "on its way" || c.Transcript != nil || c.CallSuccessful != nil {
		b.Errorf("%+v", c)
	}
	if len(turns) != 1 || turns[0].Question != "where is it?" || turns[0].Answer != "on its way" || *turns[0].Confidence != 0.9 || turns[0].Status != phone.Success {
		b.Errorf("%+v", turns)
	}
	if _, _, err := b.Call(b.Context(), "prj_other", "c1"); phone.CodeOf(err) != phone.NotFound {
		b.Error("another project's call:", err)
	}
	e := b.event("")
	took, why := 12.5, "user_hangup"
	e.Type, e.Channel, e.MessageID = phone.EventCallEnded, phone.ChannelVoice, ""
	e.Call = &phone.Call{ID: "c1", Status: "completed", Direction: phone.Inbound, EndedAt: b.now, DurationSeconds: &took, DisconnectionReason: &why,
		CallSuccessful: []byte("true"), Transcript: []phone.Utterance{{Role: "user", Content: "where is it?"}, {Role: "agent", Content: "bye"}}}
	b.must(b.Accept(b.Context(), []*phone.NewEvent{e}, &room{})[0].Err)
	c, turns, err = b.Call(b.Context(), b.project, "c1")
	b.must(err)
	if c.Status != "completed" || !c.StartedAt.Equal(began) || !c.EndedAt.Equal(b.now) || *c.DurationSeconds != took || *c.DisconnectionReason != why ||
		string(c.CallSuccessful) != "true" || c.LastSnippet != "bye" || len(c.Transcript) != 2 || len(turns) != 1 || c.Summary != nil {
		b.Errorf("%+v %+v", c, turns)
	}
	// A call that is known from its end alone, and a number that is not its.
	e2 := b.event("")
	e2.Type, e2.Channel, e2.MessageID = phone.EventCallEnded, phone.ChannelVoice, ""
	e2.Call = &phone.Call{ID: "c2", Status: "failed", Direction: phone.Outbound, StartedAt: b.now.Add(-time.Minute), EndedAt: b.now}
	b.must(b.Accept(b.Context(), []*phone.NewEvent{e2}, &room{})[0].Err)
	if c, turns, err := b.Call(b.Context(), b.project, "c2"); err != nil || c.Status != "failed" || !c.StartedAt.Equal(b.now.Add(-time.Minute)) || len(turns) != 0 || c.Direction != phone.Outbound {
		b.Errorf("%+v %+v %v", c, turns, err)
	}
	other := phone.Number{ID: phone.NewID(phone.PrefixNumber), ProjectID: b.project, PhoneNumber: "+12025550102", Country: "US", AgentID: b.agent}
	b.must(b.CreateNumber(b.Context(), other))
	stray := b.turnEvent("c1", "hello")
	stray.Number = other.PhoneNumber
	if a := b.AcceptTurn(b.Context(), stray); phone.CodeOf(a.Err) != phone.Conflict {
		b.Errorf("a call on two numbers: %+v", a)
	}
	e3 := b.event("")
	e3.Type, e3.Channel, e3.MessageID, e3.Number = phone.EventCallEnded, phone.ChannelVoice, "", other.PhoneNumber
	e3.Call = &phone.Call{ID: "c1", Status: "failed", Direction: phone.Inbound, EndedAt: b.now}
	b.must(b.Accept(b.Context(), []*phone.NewEvent{e3}, &room{})[0].Err)
	if c, _, err := b.Call(b.Context(), b.project, "c1"); err != nil || c.Status != "completed" || c.NumberID == other.ID {
		b.Errorf("an end told of another number changed the call: %+v %v", c, err)
	}
}

func callsListed(b *bench) {
	b.hook("")
	for i := range 5 {
		b.ask(fmt.Sprint("c", i), fmt.Sprint("question ", i))
	}
	list := func(f store.CallFilter) string {
		b.Helper()
		f.ProjectID = b.project
		if f.Limit == 0 {
			f.Limit = 10
		}
		calls, total, err := b.Calls(b.Context(), f)
		b.must(err)
		out := fmt.Sprint(total, ":")
		for _, c := range calls {
			out += " " + c.ID
		}
		return out
	}
	for _, c := range []struct {
		f    store.CallFilter
		want string
	}{
		{store.CallFilter{}, "5: c4 c3 c2 c1 c0"},
		{store.CallFilter{Limit: 2, Offset: 1}, "5: c3 c2"},
		{store.CallFilter{AgentID: b.agent, Status: phone.CallInProgress, Direction: phone.Inbound, Search: "5550199"}, "5: c4 c3 c2 c1 c0"},
		{store.CallFilter{AgentID: "agt_other"}, "0:"},
		{store.CallFilter{NumberID: "num_other"}, "0:"},
		{store.CallFilter{Status: "completed"}, "0:"},
		{store.CallFilter{Direction: phone.Outbound}, "0:"},
		{store.CallFilter{Search: "%"}, "0:"},
	} {
		if got := list(c.f); got != c.want {
			b.Errorf("%+v: %s, want %s", c.f, got, c.want)
		}
	}
}
