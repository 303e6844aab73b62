package endtoend

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"switchhook.dev/switchhook/internal/deliver"
)

// settingsView is what a webhook shows of its settings.
type settingsView struct {
	ID, Secret, Ordering string
	RateLimit            *int
	FailingSince         *string
}

func TestAWebhooksOrderingAndRate(t *testing.T) {
	w := newWorld(t, nil)
	r := newReceiver(t)
	var v settingsView
	w.ok("POST", "/v1/webhooks", map[string]any{"url": r.URL}, &v)
	if v.Ordering != "relaxed" || v.RateLimit != nil || v.FailingSince != nil {
		t.Errorf("by default: %+v", v)
	}
	w.ok("POST", "/v1/webhooks", map[string]any{"url": r.URL, "ordering": "strict", "rateLimit": 50}, &v)
	w.ok("GET", "/v1/webhooks", nil, &v)
	if v.Ordering != "strict" || v.RateLimit == nil || *v.RateLimit != 50 {
		t.Errorf("as asked for: %+v", v)
	}
	for _, wrong := range []map[string]any{
		{"url": r.URL, "ordering": "odd"}, {"url": r.URL, "rateLimit": 0}, {"url": r.URL, "rateLimit": 10_001}, {"url": r.URL, "rateLimit": "fast"},
	} {
		if status, body := w.call("POST", "/v1/webhooks", wrong); status != http.StatusUnprocessableEntity {
			t.Errorf("%v: %d %s", wrong, status, body)
		}
	}
}

// In strict order a message whose predecessor fails comes after it has succeeded.
func TestStrictOrderHoldsTheConversationBack(t *testing.T) {
	w := newWorld(t, deliver.Schedule{200 * time.Millisecond})
	r := newReceiver(t)
	first := true
	r.respond(func(rw http.ResponseWriter, _ request) {
		if first {
			first = false
			rw.WriteHeader(http.StatusInternalServerError)
		}
	})
	agent := w.agent("+12025550101")
	w.ok("POST", "/v1/agents/"+agent+"/webhook", map[string]any{"url": r.URL, "ordering": "strict"}, nil)
	var ids []string
	for i := range 5 {
		ids = append(ids, w.send(customer, "+12025550101", fmt.Sprint("text ", i)).DeliveryID)
	}
	w.untilStatus(ids[4], "success")
	want := append([]string{ids[0]}, ids...)
	for i, got := range r.requests() {
		if got.delivery != want[i] {
			t.Fatalf("request %d was %s, want %s", i, got.delivery, want[i])
		}
	}
}
