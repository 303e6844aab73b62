package endtoend

import (
	"errors"
	"strings"
	"testing"

	standard "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"switchhook.dev/switchhook/webhook"
)

// TestASecretChangesWithoutAGap: for a day after an update a receiver that still
// has the previous secret, and one that has the new one, both verify by Standard
// Webhooks, with our library and with somebody else's. X-Webhook-Signature is by
// the new one alone.
func TestASecretChangesWithoutAGap(t *testing.T) {
	w := newWorld(t, later)
	r := newReceiver(t)
	w.agent("+12025550101")
	first := w.set("", r.URL)
	second := w.set("", r.URL)
	if first.ID != second.ID || first.Secret == second.Secret {
		t.Fatalf("%+v, then %+v", first, second)
	}
	w.untilStatus(w.send(customer, "+12025550101", "hi").DeliveryID, "success")
	got := r.requests()[0]
	for name, secret := range map[string]string{"new": second.Secret, "previous": first.Secret} {
		if err := webhook.VerifyStandard(got.header, got.body, []string{secret}); err != nil {
			t.Errorf("by the %s secret: %v", name, err)
		}
		theirs, err := standard.NewWebhook(secret)
		if err != nil {
			t.Fatal(err)
		}
		if err := theirs.Verify(got.body, got.header); err != nil {
			t.Errorf("by the %s secret, with the public library: %v", name, err)
		}
	}
	if err := webhook.VerifyLegacy(got.header, got.body, []string{second.Secret}); err != nil {
		t.Error(err)
	}
	if err := webhook.VerifyLegacy(got.header, got.body, []string{first.Secret}); !errors.Is(err, webhook.ErrMismatch) {
		t.Error("X-Webhook-Signature by the previous secret:", err)
	}
	if n := len(strings.Fields(got.header.Get("webhook-signature"))); n != 2 {
		t.Errorf("%d signatures: %s", n, got.header.Get("webhook-signature"))
	}

	// A third secret ends the first.
	third := w.set("", r.URL)
	w.untilStatus(w.send(customer, "+12025550101", "hi again").DeliveryID, "success")
	got = r.requests()[1]
	for secret, want := range map[string]error{third.Secret: nil, second.Secret: nil, first.Secret: webhook.ErrMismatch} {
		if err := webhook.VerifyStandard(got.header, got.body, []string{secret}); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	// A webhook that is deleted and set anew has no previous secret.
	w.ok("DELETE", "/v1/webhooks", nil, nil)
	w.set("", r.URL)
	w.untilStatus(w.send(customer, "+12025550101", "and again").DeliveryID, "success")
	if sig := r.requests()[2].header.Get("webhook-signature"); len(strings.Fields(sig)) != 1 {
		t.Errorf("of a new webhook: %s", sig)
	}
}
