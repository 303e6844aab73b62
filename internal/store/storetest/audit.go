package storetest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"switchhook.dev/switchhook/internal/phone"
)

// changed lists the audit log, oldest first, as "action target".
func (b *bench) changed(project string) (out []string) {
	b.Helper()
	all, more, err := b.Changes(b.Context(), project, "", 100)
	b.must(err)
	if more {
		b.Error("there is more than was ever written")
	}
	for _, c := range slices.Backward(all) {
		out = append(out, string(c.Action)+" "+c.Target)
	}
	return out
}

// audit: every change of configuration leaves an entry that says whose it is, and
// nothing else does.
func audit(b *bench) {
	before := len(b.changed(b.project))
	actor := phone.Actor{KeyID: "key_1", KeyName: "ops", Address: "192.0.2.7"}
	ctx := phone.WithActor(b.Context(), actor)
	k := phone.Key{ID: phone.NewID(phone.PrefixKey), ProjectID: b.project, Name: "ci", Hash: [32]byte{9}, Scopes: phone.ScopeIngest | phone.ScopeRead, CreatedAt: b.now}
	b.must(b.CreateKey(ctx, k))
	b.must(b.RevokeKey(ctx, b.project, k.ID, b.now))
	a := phone.Agent{ID: phone.NewID(phone.PrefixAgent), ProjectID: b.project, Name: "Ava", Settings: []byte("{}"), CreatedAt: b.now}
	b.must(b.CreateAgent(ctx, a))
	n := phone.Number{ID: phone.NewID(phone.PrefixNumber), ProjectID: b.project, PhoneNumber: "+12025550133", Country: "US", CreatedAt: b.now}
	b.must(b.CreateNumber(ctx, n))
	w := phone.Webhook{ID: phone.NewID(phone.PrefixWebhook), ProjectID: b.project, AgentID: a.ID, URL: "https://example.com/1", Secret: "whsec_1",
		Timeout: time.Second, Ordering: phone.OrderRelaxed, CreatedAt: b.now}
	w, err := b.SetWebhook(ctx, w)
	b.must(err)
	w.URL, w.Secret = "https://example.com/2", "whsec_2"
	_, err = b.SetWebhook(ctx, w)
	b.must(err)
	for _, status := range []phone.WebhookStatus{phone.WebhookDisabled, phone.WebhookDisabled, phone.WebhookActive} {
		_, err = b.SetWebhookStatus(ctx, b.project, a.ID, status)
		b.must(err)
	}
	b.must(b.DeleteWebhook(ctx, b.project, a.ID, b.now, nil))
	if err := b.DeleteWebhook(ctx, b.project, a.ID, b.now, nil); err == nil {
		b.Error("deleted twice")
	}
	b.accept("an event is no change", true)
	_, err = b.DeleteAgent(ctx, b.project, a.ID, b.now, nil)
	b.must(err)

	want := []string{
		"key.create " + k.ID, "key.revoke " + k.ID, "agent.create " + a.ID, "number.create " + n.ID, "webhook.set " + w.ID,
		"webhook.set " + w.ID, "webhook.disable " + w.ID, "webhook.enable " + w.ID, "webhook.delete " + w.ID, "agent.delete " + a.ID,
	}
	if got := b.changed(b.project)[before:]; !slices.Equal(got, want) {
		b.Errorf("%q, want %q", got, want)
	}
	all, _, err := b.Changes(b.Context(), b.project, "", 100)
	b.must(err)
	for _, c := range all[:len(want)] {
		if c.Actor != actor || c.ProjectID != b.project || c.At.IsZero() || c.Detail == "" {
			b.Errorf("%+v", c)
		}
		if strings.Contains(fmt.Sprint(c), "whsec_") {
			b.Errorf("a secret is in the log: %+v", c)
		}
	}
	if first := all[len(all)-1]; first.Actor != (phone.Actor{}) {
		b.Errorf("what nobody asked for is put down to %+v", first.Actor)
	}
	page, more, err := b.Changes(b.Context(), b.project, all[0].ID, 2)
	if err != nil || !more || len(page) != 2 || page[0] != all[1] || page[1] != all[2] {
		b.Errorf("a page: %v %v %+v", err, more, page)
	}
	if others, more, err := b.Changes(b.Context(), "prj_other", "", 10); err != nil || more || len(others) != 0 {
		b.Errorf("another project's: %v %+v", err, others)
	}
}

// auditOfTheServer: what the server does by itself is put down to it.
func auditOfTheServer(b *bench) {
	gone, tired := b.hook(""), b.hook(b.agent)
	b.must(b.SetFailing(b.Context(), tired.ID, b.now))
	b.must(b.DisableFailing(b.Context(), tired.ID, b.now))
	other := b.event("to the default")
	n := phone.Number{ID: phone.NewID(phone.PrefixNumber), ProjectID: b.project, PhoneNumber: "+12025550134", Country: "US", CreatedAt: b.now}
	a := phone.Agent{ID: phone.NewID(phone.PrefixAgent), ProjectID: b.project, Name: "b", Settings: []byte("{}"), CreatedAt: b.now}
	b.must(b.CreateAgent(b.Context(), a))
	n.AgentID = a.ID
	b.must(b.CreateNumber(b.Context(), n))
	other.Number = n.PhoneNumber
	job := b.Accept(b.Context(), []*phone.NewEvent{other}, &room{free: true})[0].Job
	_, err := b.Record(b.Context(), []*phone.Result{{Job: job, Status: phone.Failed, DisableWebhook: true, Body: []byte("x"),
		Attempt: phone.Attempt{ID: "att_1", DeliveryID: job.DeliveryID, URL: gone.URL, HTTPStatus: 410, Error: "gone", SentAt: b.now}}})
	b.must(err)
	b.must(b.Settle(b.Context(), gone.ID))
	all, _, err := b.Changes(b.Context(), b.project, "", 4)
	b.must(err)
	if c := all[0]; c.Action != phone.WebhookDisabledBy || c.Target != gone.ID || c.Actor != (phone.Actor{}) || !strings.Contains(c.Detail, "410") {
		b.Errorf("%+v", c)
	}
	if c := all[3]; c.Action != phone.WebhookDisabledBy || c.Target != tired.ID || c.Actor != (phone.Actor{}) || !strings.Contains(c.Detail, "failed since") {
		b.Errorf("%+v", c)
	}
}

// secrets: what is kept of a secret is made for the id that stays, and the one
// before it is kept for as long as was said.
func secrets(b *bench) {
	set := func(secret string) phone.Webhook {
		b.Helper()
		w, err := b.SetWebhook(b.Context(), phone.Webhook{
			ID: phone.NewID(phone.PrefixWebhook), ProjectID: b.project, AgentID: b.agent, URL: "https://example.com/", Secret: secret,
			SealSecret: func(id, secret string) string { return "sealed " + secret + " of " + id },
			Timeout:    time.Second, Ordering: phone.OrderRelaxed, CreatedAt: b.now, PreviousUntil: b.now.Add(24 * time.Hour),
		})
		b.must(err)
		return w
	}
	same := func(what string, w phone.Webhook, secret, previous string, until time.Time) {
		b.Helper()
		if w.Secret != secret || w.PreviousSecret != previous || !w.PreviousUntil.Equal(until) {
			b.Errorf("%s: %q, before it %q until %s; want %q, %q, %s", what, w.Secret, w.PreviousSecret, w.PreviousUntil, secret, previous, until)
		}
	}
	kept := func(secret, previous string, until time.Time) {
		b.Helper()
		w, err := b.Webhook(b.Context(), b.project, b.agent)
		b.must(err)
		same("read", *w, secret, previous, until)
		all, err := b.ActiveWebhooks(b.Context())
		b.must(err)
		same("read with all", all[0], secret, previous, until)
	}
	first := set("one")
	one := "sealed one of " + first.ID
	same("made", first, one, "", time.Time{})
	kept(one, "", time.Time{})
	second := set("two")
	two := "sealed two of " + first.ID
	if second.ID != first.ID {
		b.Error("the id changed")
	}
	same("set anew", second, two, one, b.now.Add(24*time.Hour))
	kept(two, one, b.now.Add(24*time.Hour))
	_, err := b.SetWebhookStatus(b.Context(), b.project, b.agent, phone.WebhookDisabled)
	b.must(err)
	w, err := b.SetWebhookStatus(b.Context(), b.project, b.agent, phone.WebhookActive)
	b.must(err)
	same("enabled", w, two, one, b.now.Add(24*time.Hour))

	// What is kept can be put in place of what it was, and of nothing else.
	all, err := b.Secrets(b.Context())
	b.must(err)
	if len(all) != 1 || all[0].WebhookID != first.ID || all[0].Secret != two || all[0].Previous != one {
		b.Fatalf("%+v", all)
	}
	stale := all[0]
	stale.Secret = "not what is kept"
	b.must(b.ReplaceSecrets(b.Context(), stale, "x", "y"))
	kept(two, one, b.now.Add(24*time.Hour))
	b.must(b.ReplaceSecrets(b.Context(), all[0], "new two", "new one"))
	kept("new two", "new one", b.now.Add(24*time.Hour))

	b.must(b.DeleteWebhook(b.Context(), b.project, b.agent, b.now, nil))
	if all, err := b.Secrets(b.Context()); err != nil || len(all) != 0 {
		b.Errorf("of a webhook that is gone: %v %+v", err, all)
	}
}
