package endtoend

import (
	"context"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"switchhook.dev/switchhook/internal/deliver"
	"switchhook.dev/switchhook/internal/netguard"
	"switchhook.dev/switchhook/internal/server"
	"switchhook.dev/switchhook/internal/store/sqlite"
)

// serve starts a server on a database; the settings it is given are kept.
func serve(t *testing.T, cfg server.Config) (*world, func()) {
	t.Helper()
	cfg.Listen, cfg.Version, cfg.APIKey = "127.0.0.1:0", "test", chosenKey
	cfg.Policy = netguard.Policy{AllowHTTP: true, AllowPrivate: true}
	srv, err := server.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	stop := func() {
		if err := srv.Stop(context.Background()); err != nil {
			t.Error("stop:", err)
		}
	}
	t.Cleanup(stop)
	return &world{t: t, url: srv.URL, key: chosenKey}, stop
}

func nextRetry(t *testing.T, v deliveryView) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, v.NextRetryAt)
	if err != nil {
		t.Fatalf("nextRetryAt %q: %v", v.NextRetryAt, err)
	}
	return at
}

// What the API says of an outage is what will happen.
func TestAnOutageIsShownAsItIs(t *testing.T) {
	database := filepath.Join(t.TempDir(), "test.db")
	r := newReceiver(t)
	r.respond(status(http.StatusServiceUnavailable))
	w, stop := serve(t, server.Config{Database: "sqlite:" + database, Schedule: deliver.Schedule{time.Hour}})
	w.agent(avasNumber)
	hook := w.set("", r.URL)
	start := time.Now()
	first := w.send(customer, avasNumber, "one")
	d := w.until(first.DeliveryID, func(d deliveryView) bool { return d.AttemptCount == 1 })
	if in := nextRetry(t, d).Sub(start); in < 54*time.Minute || in > 70*time.Minute || d.Status != "pending" {
		t.Errorf("after its first attempt it is %s, and tried again in %s", d.Status, in)
	}
	var v settingsView
	if w.ok("GET", "/v1/webhooks", nil, &v); v.FailingSince != nil {
		t.Error("one delivery that fails is no outage:", *v.FailingSince)
	}
	stop()

	// Half a minute of failures would open the breaker; here an earlier run noted it.
	st, err := sqlite.Open(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	since := time.Now().Add(-time.Hour).UTC().Truncate(time.Second)
	if err := st.SetFailing(t.Context(), hook.ID, since); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	w, _ = serve(t, server.Config{Database: "sqlite:" + database, Schedule: deliver.Schedule{time.Hour}})
	start = time.Now()
	second, third := w.send(customer, avasNumber, "two"), w.send("+12025550198", avasNumber, "three")
	// The probe: of the second, as the first has its own time.
	w.until(second.DeliveryID, func(d deliveryView) bool { return d.AttemptCount == 1 })
	if w.ok("GET", "/v1/webhooks", nil, &v); v.FailingSince == nil || *v.FailingSince != since.Format(time.RFC3339) {
		t.Errorf("failingSince is %v, want %s", v.FailingSince, since)
	}
	for _, a := range []accepted{second, third} {
		// From before the probe, and from now: it was in between.
		if at := nextRetry(t, w.delivery(a.DeliveryID)); at.Sub(start) < 5*time.Second || time.Until(at) > 31*time.Second {
			t.Errorf("%s waits for the next probe, in half a minute, and not until %s; it began at %s", a.DeliveryID, at, start)
		}
	}
	for i, in := range r.requests() {
		if i == 0 != (in.delivery == first.DeliveryID) || in.delivery == third.DeliveryID {
			t.Errorf("request %d is for %s: one probes for all", i+1, in.delivery)
		}
	}
	r.respond(nil)
	w.ok("POST", "/v1/webhooks/test", nil, nil) // it answers: what waits goes out at once
	for _, a := range []accepted{first, second, third} {
		if d := w.untilStatus(a.DeliveryID, "success"); d.NextRetryAt != "" {
			t.Errorf("it ended, and is tried again at %s", d.NextRetryAt)
		}
	}
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(2 * time.Millisecond) {
		if w.ok("GET", "/v1/webhooks", nil, &v); v.FailingSince == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it works, and is shown as failing since", *v.FailingSince)
		}
	}
}

// With a retention a running server drops what is old and has ended, and nothing else.
func TestRetentionDropsWhatIsOld(t *testing.T) {
	database := "sqlite:" + filepath.Join(t.TempDir(), "test.db")
	r := newReceiver(t)
	w, stop := serve(t, server.Config{Database: database, Schedule: deliver.Schedule{time.Hour}})
	w.agent(avasNumber)
	w.set("", r.URL)
	old := w.send(customer, avasNumber, "old")
	w.untilStatus(old.DeliveryID, "success")
	r.respond(status(http.StatusInternalServerError))
	pending := w.send(customer, avasNumber, "pending")
	w.until(pending.DeliveryID, func(d deliveryView) bool { return d.AttemptCount == 1 })
	stop()

	w, _ = serve(t, server.Config{Database: database, Schedule: deliver.Schedule{time.Hour}, Retention: time.Millisecond})
	deadline := time.Now().Add(2 * time.Minute)
	for code := 0; code != http.StatusNotFound; time.Sleep(2 * time.Millisecond) {
		if code, _ = w.call("GET", "/v1/deliveries/"+old.DeliveryID, nil); time.Now().After(deadline) {
			t.Fatal("it is still there:", code)
		}
	}
	if d := w.delivery(pending.DeliveryID); d.Status != "pending" || d.AttemptCount != 1 {
		t.Errorf("%+v", d)
	}
	var all struct{ Total, Success int }
	if w.ok("GET", "/v1/webhooks/deliveries/all-time", nil, &all); all.Success != 1 {
		t.Errorf("counted: %+v", all)
	}
}
