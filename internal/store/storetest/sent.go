package storetest

import (
	"time"

	"switchhook.dev/switchhook/internal/phone"
)

// What may have been received by one endpoint never goes to another by itself,
// however often the server has started, taken up and handed back since.
func mayBeSent(b *bench) {
	ctx := b.Context()
	def, own := b.hook(""), b.hook(b.agent)
	back, held, fresh := b.accept("handed back", true), b.accept("held", true), b.accept("fresh", false)
	b.restart() // the first two may have been sent
	batch, err := b.Due(ctx, own.ID, b.now, 10, false)
	b.must(err)
	if len(batch.Jobs) != 3 {
		b.Fatalf("%d are due after a crash", len(batch.Jobs))
	}
	b.must(b.HandBack(ctx, batch.Jobs[:1]))
	b.must(b.HandBack(ctx, batch.Jobs[2:]))
	b.must(b.DeleteWebhook(ctx, b.project, b.agent, b.now, nil))
	b.expect(back.DeliveryID, phone.Failed, own.ID, phone.ErrorWebhookDeleted)
	b.expect(held.DeliveryID, phone.Failed, own.ID, phone.ErrorWebhookDeleted)
	b.expect(fresh.DeliveryID, phone.Pending, def.ID, "")
}

// The same where its attempt was under way when the webhook was disabled, and
// nobody ever learned what came of it.
func mayBeSentBeforeAReplay(b *bench) {
	ctx := b.Context()
	for range 3 {
		b.accept("earlier", false) // unrouted, and history all the same
	}
	def, own := b.hook(""), b.hook(b.agent)
	flying := b.accept("flying", true)
	_, err := b.SetWebhookStatus(ctx, b.project, b.agent, phone.WebhookDisabled)
	b.must(err)
	b.expect(flying.DeliveryID, phone.Failed, own.ID, phone.ErrorWebhookDisabled)
	_, err = b.SetWebhookStatus(ctx, b.project, b.agent, phone.WebhookActive)
	b.must(err)
	before, err := b.Content(ctx, b.project, flying.DeliveryID)
	b.must(err)
	short := own
	short.ContextLimit = 1
	_, err = b.SetWebhook(ctx, short)
	b.must(err)
	_, err = b.Retry(ctx, b.project, flying.DeliveryID, b.now, 6)
	b.must(err)
	if after, err := b.Content(ctx, b.project, flying.DeliveryID); err != nil || len(after.History) != len(before.History) || len(before.History) != 3 {
		b.Errorf("its bytes change: a history of %d, then of %d, %v", len(before.History), len(after.History), err)
	}
	batch, err := b.Due(ctx, own.ID, b.now, 10, false)
	b.must(err)
	b.must(b.HandBack(ctx, batch.Jobs))
	b.restart()
	b.must(b.DeleteWebhook(ctx, b.project, b.agent, b.now, nil))
	b.expect(flying.DeliveryID, phone.Failed, own.ID, phone.ErrorWebhookDeleted)
	if n := b.accept("after", false); n.WebhookID != def.ID {
		b.Error(n)
	}
}

// What came in while the clock was an hour ahead does not wait for an hour once
// it goes right again.
func clockAhead(b *bench) {
	ctx := b.Context()
	now := time.Now().UTC().Truncate(time.Millisecond)
	b.now = now.Add(time.Hour)
	w := b.hook("")
	back, held, later := b.accept("handed back", true), b.accept("held", true), b.accept("waits", true)
	b.must(b.HandBack(ctx, []*phone.Job{back.Job}))
	due := func(when string, want ...phone.Accepted) {
		b.Helper()
		batch, err := b.Due(ctx, w.ID, time.Now(), 10, false)
		b.must(err)
		if len(batch.Jobs) != len(want) {
			b.Fatalf("%s %d are due, want %d", when, len(batch.Jobs), len(want))
		}
	}
	due("handed back,", back)
	b.result(later.Job, phone.Pending) // in more than an hour
	b.must(b.Hurry(ctx, w.ID, time.Now()))
	due("hurried,", later)
	b.restart()
	due("after a crash", back, held, later)
	b.must(b.DeleteWebhook(ctx, b.project, "", time.Now(), nil))
}

// A test of a webhook is made beside the lanes: that the endpoint works again
// does not make them send it too.
func testsAreNotHurried(b *bench) {
	ctx := b.Context()
	w := b.hook("")
	e := phone.Event{ID: phone.NewID(phone.PrefixEvent), ProjectID: b.project, AgentID: b.agent, Type: phone.EventMessage,
		Channel: phone.ChannelSMS, Direction: phone.Inbound, MessageID: phone.NewID(phone.PrefixMessage), Data: []byte("{}"), At: b.now}
	j := &phone.Job{DeliveryID: phone.DeliveryID(e.ID), ProjectID: b.project, AgentID: b.agent, WebhookID: w.ID, MessageID: e.MessageID,
		EventType: e.Type, Channel: e.Channel, Round: 1, RoundAttempts: 5, CreatedAt: b.now, Handed: true}
	b.must(b.CreateTest(ctx, e, w, j, b.now.Add(time.Minute)))
	b.must(b.Hurry(ctx, w.ID, b.now))
	if batch, err := b.Due(ctx, w.ID, b.now, 10, false); err != nil || len(batch.Jobs) != 0 {
		b.Errorf("%d due, %v", len(batch.Jobs), err)
	}
	if batch, err := b.Due(ctx, w.ID, b.now.Add(time.Hour), 10, false); err != nil || len(batch.Jobs) != 1 {
		b.Errorf("after a crash, say: %d due, %v", len(batch.Jobs), err)
	}
}
