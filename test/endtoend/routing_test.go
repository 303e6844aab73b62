package endtoend

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"switchhook.dev/switchhook/internal/deliver"
	"switchhook.dev/switchhook/webhook"
)

const avasNumber = "+12025550101"

// later is a schedule whose retries no test waits for.
var later = deliver.Schedule{time.Hour}

// The rows of the contract's table of consequences, and the rule itself.

func TestAnAgentsOwnWebhookWins(t *testing.T) {
	w := newWorld(t, later)
	own, def := newReceiver(t), newReceiver(t)
	ava := w.agent(avasNumber)
	w.set("", def.URL)
	hook := w.set(ava, own.URL)
	a := w.send(customer, avasNumber, "hi")
	w.untilStatus(a.DeliveryID, "success")
	if a.WebhookID != hook.ID || len(own.requests()) != 1 || len(def.requests()) != 0 {
		t.Fatalf("own %d, default %d", len(own.requests()), len(def.requests()))
	}
}

func TestAnAgentWithoutAWebhookGoesToTheDefault(t *testing.T) {
	w := newWorld(t, later)
	def := newReceiver(t)
	w.agent(avasNumber)
	hook := w.set("", def.URL)
	a := w.send(customer, avasNumber, "hi")
	w.untilStatus(a.DeliveryID, "success")
	if a.WebhookID != hook.ID || len(def.requests()) != 1 {
		t.Fatalf("%+v, default %d", a, len(def.requests()))
	}
}

func TestAnEventWithoutAWebhookIsKeptUnroutedAndCanBeReplayed(t *testing.T) {
	w := newWorld(t, later)
	w.agent(avasNumber)
	a := w.send(customer, avasNumber, "hi")
	if a.DeliveryID != "" || a.WebhookID != "" {
		t.Fatalf("%+v", a)
	}
	var list struct{ Items []deliveryView }
	w.ok("GET", "/v1/webhooks/deliveries?status=unrouted", nil, &list)
	if len(list.Items) != 1 || list.Items[0].Status != "unrouted" {
		t.Fatalf("%+v", list)
	}
	if code, body := w.call("POST", "/v1/deliveries/"+list.Items[0].ID+"/retry", nil); code != http.StatusConflict {
		t.Fatalf("retried to nowhere: %d %s", code, body)
	}
	def := newReceiver(t)
	w.set("", def.URL)
	var n struct{ Count int }
	w.ok("POST", "/v1/deliveries/retry", object{"since": time.Now().Add(-time.Hour), "status": "unrouted"}, &n)
	d := w.untilStatus(list.Items[0].ID, "success")
	if n.Count != 1 || len(def.requests()) != 1 || string(def.requests()[0].body) != d.Request.Body {
		t.Fatalf("%d retried, %d arrived", n.Count, len(def.requests()))
	}
}

func TestPendingEventsStayWithTheDefaultWhenTheAgentGetsItsOwn(t *testing.T) {
	w := newWorld(t, later)
	own, def := newReceiver(t), newReceiver(t)
	ava := w.agent(avasNumber)
	def.respond(status(500))
	w.set("", def.URL)
	first := w.send(customer, avasNumber, "one")
	<-def.came
	w.set(ava, own.URL)
	second := w.send(customer, avasNumber, "two")
	w.untilStatus(second.DeliveryID, "success")
	def.respond(nil)
	w.until(first.DeliveryID, func(d deliveryView) bool { return d.AttemptCount == 1 })
	w.ok("POST", "/v1/deliveries/"+first.DeliveryID+"/retry", nil, nil)
	w.untilStatus(first.DeliveryID, "success")
	if len(own.requests()) != 1 || own.requests()[0].delivery != second.DeliveryID || len(def.requests()) != 2 {
		t.Fatalf("own %d, default %d", len(own.requests()), len(def.requests()))
	}
}

func TestPendingDeliveriesFollowAWebhooksNewURLAndSecret(t *testing.T) {
	w := newWorld(t, later)
	old, fresh := newReceiver(t), newReceiver(t)
	w.agent(avasNumber)
	old.respond(status(500))
	before := w.set("", old.URL)
	a := w.send(customer, avasNumber, "hi")
	w.until(a.DeliveryID, func(d deliveryView) bool { return d.AttemptCount == 1 })
	after := w.set("", fresh.URL)
	if before.ID != after.ID || before.Secret == after.Secret {
		t.Fatalf("updated %+v to %+v", before, after)
	}
	w.ok("POST", "/v1/deliveries/"+a.DeliveryID+"/retry", nil, nil)
	w.untilStatus(a.DeliveryID, "success")
	got := fresh.requests()
	if len(got) != 1 || string(got[0].body) != string(old.requests()[0].body) {
		t.Fatalf("%d at the new URL", len(got))
	}
	if err := webhook.Verify(got[0].header, got[0].body, []string{after.Secret}); err != nil {
		t.Error("new secret:", err)
	}
	// The other scheme takes the old one too for a day: TestASecretChangesWithoutAGap.
	if err := webhook.VerifyLegacy(got[0].header, got[0].body, []string{before.Secret}); err == nil {
		t.Error("the old secret still verifies")
	}
}

// stuck makes an endpoint with one delivery in flight and another behind it, of
// the same conversation, that was therefore never sent.
func stuck(t *testing.T, w *world, agent string) (r *receiver, inFlight, behind accepted, release func()) {
	r = newReceiver(t)
	answer, release := hold()
	t.Cleanup(release)
	r.respond(answer)
	w.set(agent, r.URL)
	inFlight = w.send(customer, avasNumber, "one")
	<-r.came
	behind = w.send(customer, avasNumber, "two")
	return r, inFlight, behind, release
}

func TestADeletedWebhooksUnsentDeliveriesAreBoundToTheDefault(t *testing.T) {
	w := newWorld(t, later)
	def := newReceiver(t)
	ava := w.agent(avasNumber)
	w.set("", def.URL)
	own, inFlight, behind, release := stuck(t, w, ava)
	w.ok("DELETE", hookPath(ava), nil, nil)
	w.untilStatus(behind.DeliveryID, "success")
	release()
	// The one in flight was received by the agent's own: that, and nothing else, is the truth of it.
	w.untilStatus(inFlight.DeliveryID, "success")
	if len(own.requests()) != 1 || len(def.requests()) != 1 || def.requests()[0].delivery != behind.DeliveryID {
		t.Fatalf("own %d, default %d", len(own.requests()), len(def.requests()))
	}
}

func TestADeletedWebhooksUnsentDeliveriesBecomeUnroutedWithoutADefault(t *testing.T) {
	w := newWorld(t, later)
	ava := w.agent(avasNumber)
	_, _, behind, release := stuck(t, w, ava)
	w.ok("DELETE", hookPath(ava), nil, nil)
	if d := w.delivery(behind.DeliveryID); d.Status != "unrouted" || d.NextRetryAt != "" {
		t.Fatalf("%+v", d)
	}
	release()
}

func TestADeletedWebhooksAttemptedDeliveriesFailAndCanBeReplayed(t *testing.T) {
	w := newWorld(t, later)
	own, def := newReceiver(t), newReceiver(t)
	ava := w.agent(avasNumber)
	w.set("", def.URL)
	own.respond(status(500))
	w.set(ava, own.URL)
	a := w.send(customer, avasNumber, "hi")
	w.until(a.DeliveryID, func(d deliveryView) bool { return d.AttemptCount == 1 })
	w.ok("DELETE", hookPath(ava), nil, nil)
	d := w.delivery(a.DeliveryID)
	if d.Status != "failed" || d.ErrorMessage != "webhook deleted" || len(def.requests()) != 0 {
		t.Fatalf("%+v, default %d", d, len(def.requests()))
	}
	w.ok("POST", "/v1/deliveries/"+a.DeliveryID+"/retry", nil, nil)
	w.untilStatus(a.DeliveryID, "success")
	if len(def.requests()) != 1 || len(own.requests()) != 1 {
		t.Fatalf("own %d, default %d", len(own.requests()), len(def.requests()))
	}
}

func TestADeletedAgentsWebhookGoesAndItsNumbersStay(t *testing.T) {
	w := newWorld(t, later)
	def := newReceiver(t)
	ava := w.agent(avasNumber)
	w.set("", def.URL)
	_, inFlight, behind, release := stuck(t, w, ava)
	w.ok("DELETE", "/v1/agents/"+ava, nil, nil)
	if d := w.delivery(inFlight.DeliveryID); d.Status != "failed" || d.ErrorMessage != "webhook deleted" {
		t.Fatalf("%+v", d)
	}
	release()
	w.untilStatus(behind.DeliveryID, "success")
	var numbers struct {
		Data []struct {
			PhoneNumber string
			AgentID     *string
		}
	}
	w.ok("GET", "/v1/numbers", nil, &numbers)
	if len(numbers.Data) != 1 || numbers.Data[0].AgentID != nil {
		t.Fatalf("%+v", numbers)
	}
	if code, body := w.call("POST", "/v1/events", textEvent(customer, avasNumber, "hi")); code != http.StatusNotFound {
		t.Fatalf("%d %s", code, body)
	}
}

func TestADisabledWebhookKeepsItsEventsAsFailed(t *testing.T) {
	for _, by := range []string{"hand", "410"} {
		t.Run("by "+by, func(t *testing.T) {
			w := newWorld(t, later)
			own, def := newReceiver(t), newReceiver(t)
			ava := w.agent(avasNumber)
			w.set("", def.URL)
			w.set(ava, own.URL)
			if by == "hand" {
				w.ok("PATCH", hookPath(ava), object{"status": "disabled"}, nil)
			} else {
				own.respond(status(http.StatusGone))
				gone := w.send(customer, avasNumber, "bye")
				if d := w.untilStatus(gone.DeliveryID, "failed"); d.AttemptCount != 1 {
					t.Fatalf("%+v", d)
				}
				own.respond(nil)
			}
			a := w.send(customer, avasNumber, "hi")
			if d := w.delivery(a.DeliveryID); d.Status != "failed" || d.ErrorMessage != "webhook disabled" || d.AttemptCount != 0 {
				t.Fatalf("%+v", d)
			}
			var h webhookView
			w.ok("GET", hookPath(ava), nil, &h)
			if h.Status != "disabled" {
				t.Fatalf("%+v", h)
			}
			if code, body := w.call("POST", "/v1/deliveries/"+a.DeliveryID+"/retry", nil); code != http.StatusConflict {
				t.Fatalf("%d %s", code, body)
			}
			w.ok("PATCH", hookPath(ava), object{"status": "active"}, nil)
			w.ok("POST", "/v1/deliveries/"+a.DeliveryID+"/retry", nil, nil)
			w.untilStatus(a.DeliveryID, "success")
			if len(def.requests()) != 0 {
				t.Fatal("it leaked to the default")
			}
		})
	}
}

func TestDisablingEndsWhatIsPending(t *testing.T) {
	w := newWorld(t, later)
	ava := w.agent(avasNumber)
	_, _, behind, release := stuck(t, w, ava)
	w.ok("PATCH", hookPath(ava), object{"status": "disabled"}, nil)
	release()
	if d := w.delivery(behind.DeliveryID); d.Status != "failed" || d.ErrorMessage != "webhook disabled" {
		t.Fatalf("%+v", d)
	}
	var all struct{ Total, Success, Failed int }
	w.ok("GET", "/v1/webhooks/deliveries/all-time", nil, &all)
	if all.Total != 2 {
		t.Fatalf("%+v", all)
	}
}

func TestTheDefaultsDeletionBindsByTodaysRule(t *testing.T) {
	w := newWorld(t, later)
	own := newReceiver(t)
	ava := w.agent(avasNumber)
	def, _, behind, release := stuck(t, w, "")
	w.set(ava, own.URL)
	w.ok("DELETE", hookPath(""), nil, nil)
	w.untilStatus(behind.DeliveryID, "success")
	release()
	if len(own.requests()) != 1 || len(def.requests()) != 1 {
		t.Fatalf("own %d, default %d", len(own.requests()), len(def.requests()))
	}
}

func TestMessagesOfAConversationArriveInOrder(t *testing.T) {
	w := newWorld(t, later)
	def := newReceiver(t)
	w.agent(avasNumber)
	w.set("", def.URL)
	var last accepted
	for i := range 200 {
		last = w.send(customer, avasNumber, fmt.Sprint(i))
	}
	w.untilStatus(last.DeliveryID, "success")
	previous := ""
	for _, r := range def.requests() {
		if r.delivery <= previous {
			t.Fatalf("%s came after %s", r.delivery, previous)
		}
		previous = r.delivery
	}
	if n := len(def.requests()); n != 200 {
		t.Fatalf("%d arrived", n)
	}
}
