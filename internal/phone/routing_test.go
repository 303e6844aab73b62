package phone

import "testing"

// A row for each line of the contract's routing table.
func TestRoute(t *testing.T) {
	own := &Webhook{ID: "wh_own", Status: WebhookActive}
	def := &Webhook{ID: "wh_default", Status: WebhookActive}
	listener := &Webhook{ID: "wh_listener", Status: WebhookActive, Listener: true}
	off := func(w *Webhook) *Webhook { c := *w; c.Status = WebhookDisabled; return &c }
	for _, c := range []struct {
		name               string
		listener, own, def *Webhook
		to                 string
		status             DeliveryStatus
		err                string
	}{
		{"own alone", nil, own, nil, "wh_own", Pending, ""},
		{"own before the default", nil, own, def, "wh_own", Pending, ""},
		{"the default otherwise", nil, nil, def, "wh_default", Pending, ""},
		{"none", nil, nil, nil, "", Unrouted, ""},
		{"own disabled: no leak to the default", nil, off(own), def, "wh_own", Failed, ErrorWebhookDisabled},
		{"the default disabled", nil, nil, off(def), "wh_default", Failed, ErrorWebhookDisabled},
		{"own, with the default disabled", nil, own, off(def), "wh_own", Pending, ""},
		{"who listens before all", listener, own, def, "wh_listener", Pending, ""},
		{"who listens, where own is disabled", listener, off(own), def, "wh_listener", Pending, ""},
		{"who listens alone", listener, nil, nil, "wh_listener", Pending, ""},
		{"a listener disabled by a 410: no leak", off(listener), own, def, "wh_listener", Failed, ErrorWebhookDisabled},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := Route(c.listener, c.own, c.def)
			id := ""
			if b.Webhook != nil {
				id = b.Webhook.ID
			}
			if id != c.to || b.Status != c.status || b.Error != c.err {
				t.Errorf("%s %s %q", id, b.Status, b.Error)
			}
			if again := AfterWebhookDeleted(false, c.listener, c.own, c.def); again != b {
				t.Errorf("one that was never sent is bound to %+v, not by the rule", again)
			}
			sent := AfterWebhookDeleted(true, c.listener, c.own, c.def)
			if sent != (Binding{Status: Failed, Error: ErrorWebhookDeleted}) {
				t.Errorf("one that may have been sent is bound to %+v", sent)
			}
		})
	}
}
