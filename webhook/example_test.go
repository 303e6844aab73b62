package webhook_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"switchhook.dev/switchhook/webhook"
)

const secret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="

// A receiver reads the raw body, verifies it, and only then looks inside.
func ExampleVerify() {
	receiver := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			http.Error(w, "cannot read the body", http.StatusBadRequest)
			return
		}
		if err := webhook.Verify(r.Header, body, []string{secret}); err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		fmt.Printf("%s: %s\n", r.Header.Get(webhook.HeaderEvent), body)
	})

	body := `{"event":"agent.message"}`
	signature, err := webhook.Sign(secret, "del_1", time.Now(), []byte(body))
	if err != nil {
		panic(err)
	}
	r := httptest.NewRequest(http.MethodPost, "/hook", strings.NewReader(body))
	signature.SetHeaders(r.Header)
	r.Header.Set(webhook.HeaderEvent, "agent.message")
	receiver.ServeHTTP(httptest.NewRecorder(), r)
	// Output: agent.message: {"event":"agent.message"}
}

func ExampleSign() {
	s, err := webhook.Sign(secret, "del_1", time.Unix(1736942400, 0), []byte(`{"event":"agent.message"}`))
	if err != nil {
		panic(err)
	}
	fmt.Println(s.Legacy)
	fmt.Println(s.Standard)
	// Output:
	// sha256=2f0103c19e6997df892a8c9b9f35a50ec543a1ed58ec8d5ad8bdf796f8420cbe
	// v1,HRBnge0q3ZhIQgG0HOR8Q0CAaJbtmwVd1lweQBoJ0mo=
}
