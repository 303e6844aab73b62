package cli

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHealthcheck(t *testing.T) {
	ready := http.StatusOK
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/healthz":
			w.WriteHeader(http.StatusOK)
		case "/readyz":
			http.Error(w, "the database does not answer", ready)
		default:
			t.Errorf("asked for %s", r.URL)
		}
	}))
	defer srv.Close()
	check := func(c HealthcheckCmd) error { return c.Run(t.Context()) }
	if err := check(HealthcheckCmd{URL: srv.URL + "/"}); err != nil {
		t.Error(err)
	}
	ready = http.StatusServiceUnavailable
	if err := check(HealthcheckCmd{URL: srv.URL}); err == nil || !strings.Contains(err.Error(), "503: the database does not answer") {
		t.Errorf("not ready: %v", err)
	}
	if err := check(HealthcheckCmd{URL: srv.URL, Live: true}); err != nil {
		t.Error(err)
	}
	srv.Close()
	if err := check(HealthcheckCmd{URL: srv.URL}); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("no server: %v", err)
	}
}
