package endtoend

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	standard "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"switchhook.dev/switchhook/internal/deliver"
)

// parse reads the body of a delivery.
func parse(t *testing.T, r request) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(r.body, &m); err != nil {
		t.Fatalf("%v in %s", err, r.body)
	}
	return m
}

func TestAReceiverGetsWhatTheContractSays(t *testing.T) {
	w := newWorld(t, later)
	r := newReceiver(t)
	ava := w.agent(avasNumber)
	hook := w.set("", r.URL)
	a := w.send("(202) 555-0199", "202-555-0101", "Grüße <b>")
	in := <-r.came
	verifier, err := standard.NewWebhook(hook.Secret)
	if err != nil {
		t.Fatal(err)
	}
	if err := verifier.Verify(in.body, in.header); err != nil {
		t.Error("a public Standard Webhooks library:", err)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/json", "User-Agent": "Switchhook/test", "X-Webhook-Event": "agent.message",
		"X-Webhook-ID": a.DeliveryID, "webhook-id": a.DeliveryID,
	} {
		if got := in.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	m := parse(t, in)
	data := m["data"].(map[string]any)
	for name, want := range map[string]any{
		"messageId": a.MessageID, "conversationId": a.ConversationID, "from": customer, "to": avasNumber, "contact": nil,
		"message": "Grüße <b>", "mediaUrl": nil, "direction": "inbound",
	} {
		if data[name] != want {
			t.Errorf("data.%s: %v, want %v", name, data[name], want)
		}
	}
	if m["event"] != "agent.message" || m["channel"] != "sms" || m["agentId"] != ava || m["conversationState"] != nil || len(m["recentHistory"].([]any)) != 0 {
		t.Errorf("%s", in.body)
	}
}

func TestOtherEventsAreDeliveredToo(t *testing.T) {
	w := newWorld(t, later)
	r := newReceiver(t)
	w.agent(avasNumber)
	w.set("", r.URL)
	w.send(customer, avasNumber, "before")
	<-r.came
	for _, c := range []struct {
		body string
		want map[string]any
	}{
		{`{"event":"agent.call_ended","channel":"voice","data":{"callId":"call_1","from":"+12025550101","to":"+12025550199","direction":"outbound","status":"completed","durationSeconds":12,"transcript":[{"role":"user","content":"hi"}],"callSuccessful":true}}`,
			map[string]any{"callId": "call_1", "direction": "outbound", "durationSeconds": 12.0, "callSuccessful": true, "summary": nil}},
		{`{"event":"agent.reaction","channel":"imessage","data":{"fromNumber":"+12025550199","toNumber":"+12025550101","reactionType":"love","messageId":"msg_1"}}`,
			map[string]any{"reactionType": "love", "fromNumber": customer, "messageId": "msg_1", "messageBody": nil}},
	} {
		var a accepted
		w.ok("POST", "/v1/events", c.body, &a)
		m := parse(t, <-r.came)
		data := m["data"].(map[string]any)
		for name, want := range c.want {
			if got, there := data[name]; !there || got != want {
				t.Errorf("data.%s: %v, want %v", name, got, want)
			}
		}
		history := 1
		if m["event"] == "agent.call_ended" {
			history = 0
		}
		if n := len(m["recentHistory"].([]any)); n != history {
			t.Errorf("%v carries %d messages of history", m["event"], n)
		}
	}
}

func TestHistoryStateAndContextLimit(t *testing.T) {
	w := newWorld(t, later)
	r := newReceiver(t)
	w.agent(avasNumber)
	w.ok("POST", "/v1/webhooks", object{"url": r.URL, "contextLimit": 2}, nil)
	var a accepted
	for i := range 4 {
		a = w.send(customer, avasNumber, fmt.Sprint("m", i))
		<-r.came
	}
	w.ok("PATCH", "/v1/conversations/"+a.ConversationID, object{"metadata": object{"orderId": "ORD-1"}}, nil)
	var said accepted
	w.ok("POST", "/v1/events", object{"event": "agent.message", "channel": "sms", "data": object{"from": avasNumber, "to": customer, "direction": "outbound", "message": "m4"}}, &said)
	if said.DeliveryID != "" || said.ConversationID != a.ConversationID {
		t.Errorf("what an agent says was delivered: %+v", said)
	}
	w.send(customer, avasNumber, "m5")
	m := parse(t, <-r.came)
	if got := fmt.Sprint(m["conversationState"]); got != "map[orderId:ORD-1]" {
		t.Error("state:", got)
	}
	var past []string
	for _, h := range m["recentHistory"].([]any) {
		past = append(past, fmt.Sprint(h.(map[string]any)["content"], " ", h.(map[string]any)["direction"]))
	}
	if strings.Join(past, ", ") != "m3 inbound, m4 outbound" {
		t.Error("history:", past)
	}
	w.ok("POST", "/v1/webhooks", object{"url": r.URL, "contextLimit": 0}, nil)
	w.send(customer, avasNumber, "m6")
	if m := parse(t, <-r.came); len(m["recentHistory"].([]any)) != 0 {
		t.Error("history with a limit of 0:", m["recentHistory"])
	}
	var c struct {
		MessageCount int
		Messages     []struct{ Body string }
	}
	w.ok("GET", "/v1/conversations/"+a.ConversationID+"?messageLimit=3", nil, &c)
	if c.MessageCount != 7 || len(c.Messages) != 3 || c.Messages[2].Body != "m6" {
		t.Errorf("%+v", c)
	}
}

func TestAnIdempotencyKeyAnswersARepeatAsTheFirst(t *testing.T) {
	w := newWorld(t, later)
	r := newReceiver(t)
	w.agent(avasNumber)
	w.set("", r.URL)
	post := func() (out map[string]any) {
		body, _ := json.Marshal(textEvent(customer, avasNumber, "hi"))
		req, _ := http.NewRequest("POST", w.url+"/v1/events", strings.NewReader(string(body)))
		req.Header.Set("Authorization", "Bearer "+w.key)
		req.Header.Set("Idempotency-Key", "k1")
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if err := json.NewDecoder(resp.Body).Decode(&out); err != nil || resp.StatusCode != http.StatusAccepted {
			t.Fatal(resp.StatusCode, err)
		}
		return out
	}
	first, second := post(), post()
	if first["duplicate"] != false || second["duplicate"] != true || first["id"] != second["id"] || first["deliveryId"] != second["deliveryId"] {
		t.Errorf("%v, %v", first, second)
	}
	w.untilStatus(first["deliveryId"].(string), "success")
	if n := len(r.requests()); n != 1 {
		t.Errorf("%d arrived", n)
	}
}

func TestABatchAnswersEachEvent(t *testing.T) {
	w := newWorld(t, later)
	r := newReceiver(t)
	w.agent(avasNumber)
	w.set("", r.URL)
	var out struct {
		Results []struct {
			Status     int
			DeliveryID string
			Detail     any
		}
	}
	w.ok("POST", "/v1/events/batch", object{"events": []object{
		textEvent(customer, avasNumber, "one"), textEvent(customer, "+12025550123", "to nobody"), {"event": "x"}, textEvent(customer, avasNumber, "two"),
	}}, &out)
	var got []int
	for _, r := range out.Results {
		got = append(got, r.Status)
	}
	if fmt.Sprint(got) != "[202 404 422 202]" {
		t.Fatalf("%+v", out)
	}
	w.untilStatus(out.Results[3].DeliveryID, "success")
	if n := len(r.requests()); n != 2 {
		t.Errorf("%d arrived", n)
	}
}

func TestTheStreamShowsDeliveriesAsTheyChange(t *testing.T) {
	w := newWorld(t, later)
	r := newReceiver(t)
	w.agent(avasNumber)
	w.set("", r.URL)
	req, _ := http.NewRequestWithContext(t.Context(), "GET", w.url+"/v1/deliveries/stream", nil)
	req.Header.Set("Authorization", "Bearer "+w.key)
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Scan() // the stream is open
	a := w.send(customer, avasNumber, "hi")
	var states []string
	for len(states) < 2 && lines.Scan() {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			var d deliveryView
			if err := json.Unmarshal([]byte(data), &d); err != nil || d.ID != a.DeliveryID {
				t.Fatalf("%v: %s", err, data)
			}
			states = append(states, d.Status)
		}
	}
	if fmt.Sprint(states) != "[pending success]" {
		t.Error(states)
	}
}

// What the other side can do wrong, and what the log says of it.
func TestFailedAttemptsSayWhatToMend(t *testing.T) {
	w := newWorld(t, deliver.Schedule{})
	r := newReceiver(t)
	w.agent(avasNumber)
	closed := newReceiver(t)
	closed.Close()
	for _, c := range []struct {
		name, url string
		answer    func(http.ResponseWriter, request)
		says      string
	}{
		{name: "refused", url: closed.URL, says: "connection refused by 127.0.0.1:"},
		{name: "redirect", answer: func(rw http.ResponseWriter, _ request) {
			rw.Header().Set("Location", "/elsewhere")
			rw.WriteHeader(http.StatusFound)
		}, says: "redirects are not followed"},
		{name: "401", answer: status(401), says: "present secret"},
		{name: "404", answer: status(404), says: "at this path"},
		{name: "500", answer: status(500), says: "500 Internal Server Error"},
		{name: "hang up", answer: func(http.ResponseWriter, request) { panic(http.ErrAbortHandler) }, says: "closed the connection"},
		{name: "no TLS", url: strings.Replace(r.URL, "http:", "https:", 1), says: "does not speak TLS"},
		{name: "no host", url: "http://nobody.invalid/", says: "nobody.invalid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			url := c.url
			if url == "" {
				url = r.URL
			}
			r.respond(c.answer)
			w.set("", url)
			d := w.untilStatus(w.send(customer, avasNumber, "hi").DeliveryID, "failed")
			if !strings.Contains(d.ErrorMessage, c.says) || d.AttemptCount != 1 {
				t.Errorf("%+v does not say %q", d, c.says)
			}
		})
	}
}

func TestRetryAfterMovesTheNextAttempt(t *testing.T) {
	w := newWorld(t, deliver.Schedule{time.Second})
	r := newReceiver(t)
	w.agent(avasNumber)
	w.set("", r.URL)
	r.respond(func(rw http.ResponseWriter, _ request) {
		rw.Header().Set("Retry-After", "600")
		rw.WriteHeader(http.StatusServiceUnavailable)
	})
	a := w.send(customer, avasNumber, "hi")
	d := w.until(a.DeliveryID, func(d deliveryView) bool { return d.AttemptCount == 1 })
	next, err := time.Parse(time.RFC3339, d.NextRetryAt)
	if wait := time.Until(next); err != nil || wait < 9*time.Minute || wait > 11*time.Minute {
		t.Errorf("the next attempt is in %s (%v)", wait, err)
	}
}

func TestAResponseIsKeptUpToFourKiB(t *testing.T) {
	w := newWorld(t, later)
	r := newReceiver(t)
	w.agent(avasNumber)
	w.set("", r.URL)
	r.respond(func(rw http.ResponseWriter, _ request) { fmt.Fprint(rw, strings.Repeat("x", 100_000)) })
	d := w.untilStatus(w.send(customer, avasNumber, "hi").DeliveryID, "success")
	if len(d.ResponseBody) != 4096 {
		t.Errorf("%d bytes are kept", len(d.ResponseBody))
	}
}

func TestARevokedKeyIsOutAtOnce(t *testing.T) {
	w := newWorld(t, later)
	var key struct{ ID, Key string }
	w.ok("POST", "/v1/keys", object{"name": "short-lived"}, &key)
	second := &world{t: t, url: w.url, key: key.Key}
	second.ok("GET", "/v1/agents", nil, nil)
	w.ok("DELETE", "/v1/keys/"+key.ID, nil, nil)
	if status, out := second.call("GET", "/v1/agents", nil); status != http.StatusUnauthorized {
		t.Errorf("%d %s", status, out)
	}
}

func TestMetricsCountWhatHappened(t *testing.T) {
	w := newWorld(t, later)
	r := newReceiver(t)
	w.agent(avasNumber)
	w.set("", r.URL)
	w.untilStatus(w.send(customer, avasNumber, "hi").DeliveryID, "success")
	r.respond(status(410))
	w.untilStatus(w.send(customer, avasNumber, "bye").DeliveryID, "failed")
	// They are counted just after the log has them.
	missing := func() (names []string) {
		_, out := w.call("GET", "/metrics", nil)
		for _, want := range []string{
			"switchhook_events_accepted_total 2",
			`switchhook_attempts_total{answer="2xx"} 1`,
			`switchhook_attempts_total{answer="4xx"} 1`,
			`switchhook_deliveries_finished_total{status="success"} 1`,
			`switchhook_deliveries_finished_total{status="failed"} 1`,
			"switchhook_first_attempt_delay_seconds_count 2",
		} {
			if !strings.Contains(string(out), want+"\n") {
				names = append(names, want)
			}
		}
		return names
	}
	deadline := time.Now().Add(2 * time.Minute)
	for len(missing()) > 0 && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if m := missing(); len(m) > 0 {
		t.Errorf("/metrics does not say %v", m)
	}
}
