package deliver

import (
	"net/http"
	"testing"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/webhook"
)

// TestThePreviousSecretSignsForItsTime: to the very end of it and no longer.
func TestThePreviousSecretSignsForItsTime(t *testing.T) {
	until := time.Unix(1_800_000_000, 0)
	e, err := newEndpoint(phone.Webhook{URL: "https://example.com/", Secret: webhook.NewSecret(), PreviousSecret: webhook.NewSecret(), PreviousUntil: until})
	if err != nil {
		t.Fatal(err)
	}
	body := []byte("{}")
	for at, good := range map[time.Time]bool{until.Add(-time.Second): true, until: false, until.Add(time.Hour): false} {
		h := http.Header{}
		e.sign("del_1", at, body).SetHeaders(h)
		now := webhook.Now(func() time.Time { return at })
		if err := webhook.VerifyStandard(h, body, []string{e.Secret}, now); err != nil {
			t.Errorf("%s: by the present secret: %v", at, err)
		}
		if err := webhook.VerifyStandard(h, body, []string{e.PreviousSecret}, now); (err == nil) != good {
			t.Errorf("%s: by the previous secret: %v", at, err)
		}
	}
}
