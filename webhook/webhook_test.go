package webhook_test

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	standard "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"switchhook.dev/switchhook/webhook"
)

var (
	sentAt = time.Unix(1736942400, 0)
	body   = []byte(`{"event":"agent.message","data":{"message":"Grüße"}}`)
)

func signed(t testing.TB, secret string, at time.Time) http.Header {
	t.Helper()
	s, err := webhook.Sign(secret, "del_1", at, body)
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{}
	s.SetHeaders(h)
	return h
}

func clock(at time.Time) webhook.Option { return webhook.Now(func() time.Time { return at }) }

func TestVerify(t *testing.T) {
	other := webhook.NewSecret()
	drop := func(prefix string) func(http.Header) {
		return func(h http.Header) {
			for k := range h {
				if strings.HasPrefix(k, prefix) {
					delete(h, k)
				}
			}
		}
	}
	set := func(k, v string) func(http.Header) { return func(h http.Header) { h.Set(k, v) } }
	for _, c := range []struct {
		name    string
		change  func(http.Header)
		body    string
		secrets []string
		age     time.Duration
		want    error
	}{
		{name: "as sent"},
		{name: "standard alone", change: drop("X-Webhook")},
		{name: "X- alone", change: drop("Webhook")},
		{name: "the second secret", secrets: []string{other, secret}},
		{name: "several signatures", change: func(h http.Header) {
			h.Set("webhook-signature", "v1,AAAA v2,zzz "+h.Get("webhook-signature"))
		}},
		{name: "at the tolerance", age: 5 * time.Minute},
		{name: "wrong secret", secrets: []string{other}, want: webhook.ErrMismatch},
		{name: "wrong secret, X- alone", change: drop("Webhook"), secrets: []string{other}, want: webhook.ErrMismatch},
		{name: "no secret", secrets: []string{}, want: webhook.ErrMismatch},
		{name: "no secret of ours", secrets: []string{"hunter2"}, want: webhook.ErrBadSecret},
		{name: "tampered body", body: "{}", want: webhook.ErrMismatch},
		{name: "tampered id", change: set("webhook-id", "del_2"), want: webhook.ErrMismatch},
		{name: "tampered time", change: set("webhook-timestamp", "1736942401"), want: webhook.ErrMismatch},
		{name: "too old", age: 5*time.Minute + time.Second, want: webhook.ErrTooOld},
		{name: "too new", age: -5*time.Minute - time.Second, want: webhook.ErrTooNew},
		{name: "no time", change: set("webhook-timestamp", "soon"), want: webhook.ErrBadTimestamp},
		{name: "unsigned", change: func(h http.Header) { clear(h) }, want: webhook.ErrNoSignature},
		{name: "no base64", change: set("webhook-signature", "v1,%%%"), want: webhook.ErrMismatch},
		{name: "no hex", change: func(h http.Header) { drop("Webhook")(h); h.Set("X-Webhook-Signature", "sha256=zz") }, want: webhook.ErrMismatch},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := signed(t, secret, sentAt)
			if c.change != nil {
				c.change(h)
			}
			b, secrets := body, []string{secret}
			if c.body != "" {
				b = []byte(c.body)
			}
			if c.secrets != nil {
				secrets = c.secrets
			}
			err := webhook.Verify(h, b, secrets, clock(sentAt.Add(c.age)))
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestTolerance(t *testing.T) {
	h := signed(t, secret, sentAt)
	if err := webhook.Verify(h, body, []string{secret}, clock(sentAt.Add(time.Hour)), webhook.Tolerance(time.Hour)); err != nil {
		t.Fatal(err)
	}
}

func TestAPublicStandardWebhooksLibraryAgrees(t *testing.T) {
	s := webhook.NewSecret()
	theirs, err := standard.NewWebhook(s)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	h := signed(t, s, now)
	if err := theirs.Verify(body, h); err != nil {
		t.Error("they refuse what we sign:", err)
	}
	sig, err := theirs.Sign("del_9", now, body)
	if err != nil {
		t.Fatal(err)
	}
	h = http.Header{}
	h.Set(webhook.HeaderStandardID, "del_9")
	h.Set(webhook.HeaderStandardTimestamp, signed(t, s, now).Get(webhook.HeaderStandardTimestamp))
	h.Set(webhook.HeaderStandardSignature, sig)
	if err := webhook.VerifyStandard(h, body, []string{s}); err != nil {
		t.Error("we refuse what they sign:", err)
	}
}

func TestNewSecret(t *testing.T) {
	a, b := webhook.NewSecret(), webhook.NewSecret()
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(a, "whsec_"))
	if a == b || err != nil || len(raw) != 32 {
		t.Fatalf("%q, %q: %v", a, b, err)
	}
	for _, bad := range []string{"", "whsec_", "whsec_%", strings.TrimPrefix(a, "whsec_")} {
		if _, err := webhook.NewSigner(bad); !errors.Is(err, webhook.ErrBadSecret) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// FuzzVerify: no header may panic, and nothing but the right signature verifies.
func FuzzVerify(f *testing.F) {
	good := signed(f, secret, sentAt)
	f.Add("del_1", "1736942400", good.Get(webhook.HeaderStandardSignature), good.Get(webhook.HeaderSignature), body)
	f.Add("", "", "v1,", "sha256=", []byte{})
	f.Add("x", "-9223372036854775808", "v1,a v1,b  v2,c", "sha256=00", []byte("{}"))
	f.Fuzz(func(t *testing.T, id, ts, std, legacy string, b []byte) {
		h := http.Header{}
		h.Set(webhook.HeaderStandardID, id)
		h.Set(webhook.HeaderStandardTimestamp, ts)
		h.Set(webhook.HeaderStandardSignature, std)
		h.Set(webhook.HeaderTimestamp, ts)
		h.Set(webhook.HeaderSignature, legacy)
		want, err := webhook.Sign(secret, id, sentAt, b)
		if err != nil {
			t.Fatal(err)
		}
		if webhook.VerifyStandard(h, b, []string{secret}, clock(sentAt)) == nil && !strings.Contains(std, want.Standard) {
			t.Errorf("%q verifies", std)
		}
		if webhook.VerifyLegacy(h, b, []string{secret}, clock(sentAt)) == nil && !strings.EqualFold(legacy, want.Legacy) {
			t.Errorf("%q verifies", legacy)
		}
	})
}

func BenchmarkSign(b *testing.B) {
	s, err := webhook.NewSigner(secret)
	if err != nil {
		b.Fatal(err)
	}
	payload := make([]byte, 2048)
	b.ReportAllocs()
	b.SetBytes(int64(len(payload)))
	for b.Loop() {
		s.Sign("del_1", sentAt, payload)
	}
}
