package storetest

import (
	"time"

	"switchhook.dev/switchhook/internal/phone"
)

func (b *bench) listener(owner string) phone.Webhook {
	b.Helper()
	w, err := b.AddListener(b.Context(), phone.Webhook{
		ID: phone.NewID(phone.PrefixWebhook), ProjectID: b.project, AgentID: b.agent, URL: "listen://x", Secret: "whsec_",
		ContextLimit: 10, Timeout: 30 * time.Second, Ordering: phone.OrderRelaxed, CreatedAt: b.now, Owner: owner,
	}, "a session", "")
	b.must(err)
	return w
}

// Who listens counts as the agent's own webhook, in place of the one that is set,
// for as long as it is there.
func listeners(b *bench) {
	ctx := b.Context()
	def, own := b.hook(""), b.hook(b.agent)
	if w, err := b.Listener(ctx, b.project, b.agent); w != nil || err != nil {
		b.Error("nobody listens:", w, err)
	}
	before := b.accept("before", false)
	l := b.listener("")
	if w, err := b.Listener(ctx, b.project, b.agent); err != nil || w == nil || w.ID != l.ID || !w.Listener {
		b.Error(w, err)
	}
	if w, err := b.Webhook(ctx, b.project, b.agent); err != nil || w == nil || w.ID != own.ID {
		b.Error("the webhook that is set:", w, err)
	}
	if _, err := b.AddListener(ctx, l, "another", "a third"); phone.CodeOf(err) != phone.Conflict {
		b.Error("a second one:", err)
	}
	if _, err := b.AddListener(ctx, phone.Webhook{ID: "wh_x", ProjectID: b.project, AgentID: "agt_none"}, "x", ""); phone.CodeOf(err) != phone.NotFound {
		b.Error("for no agent:", err)
	}
	b.expect(before.DeliveryID, phone.Pending, own.ID, "")
	queued, flying, spilled, tried := b.accept("queued", true), b.accept("flying", true), b.accept("spilled", false), b.accept("tried", true)
	b.expect(queued.DeliveryID, phone.Pending, l.ID, "")
	b.result(tried.Job, phone.Pending)

	// What is set may change meanwhile: the listener goes on.
	b.must(b.DeleteWebhook(ctx, b.project, b.agent, b.now, nil))
	b.expect(before.DeliveryID, phone.Pending, l.ID, "")
	own = b.hook(b.agent)

	b.must(b.RemoveListener(ctx, own.ID, b.now, nil)) // no listener: left alone
	b.must(b.RemoveListener(ctx, l.ID, b.now, []string{flying.DeliveryID}))
	b.must(b.RemoveListener(ctx, l.ID, b.now, nil))
	b.expect(queued.DeliveryID, phone.Pending, own.ID, "")
	b.expect(spilled.DeliveryID, phone.Pending, own.ID, "")
	b.expect(flying.DeliveryID, phone.Failed, l.ID, phone.ErrorWebhookDeleted)
	b.expect(tried.DeliveryID, phone.Failed, l.ID, phone.ErrorWebhookDeleted)
	b.expect(b.accept("after", false).DeliveryID, phone.Pending, own.ID, "")

	// A start removes what an earlier run of the node left.
	l = b.listener("node-1")
	left := b.accept("left", false)
	handed := b.accept("handed", true)
	b.restart()
	b.must(b.RemoveListeners(ctx, "node-1", b.now))
	b.must(b.SettleAll(ctx))
	b.expect(left.DeliveryID, phone.Pending, own.ID, "")
	b.expect(handed.DeliveryID, phone.Failed, l.ID, phone.ErrorWebhookDeleted)

	// With its agent a listener goes too.
	l = b.listener("")
	last := b.accept("last", false)
	_, err := b.DeleteAgent(ctx, b.project, b.agent, b.now, nil)
	b.must(err)
	b.expect(last.DeliveryID, phone.Pending, def.ID, "")
	if w, err := b.Listener(ctx, b.project, b.agent); w != nil || err != nil {
		b.Error("after its agent:", w, err)
	}
}
