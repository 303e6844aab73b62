package endtoend

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"switchhook.dev/switchhook/internal/deliver"
)

// The end of a call and a reaction go the way of texts: to the agent's own webhook,
// again where it fails, with the same bytes, and onto the log. The end carries the
// whole transcript, however little history the webhook wants.
func TestTheEndOfACallGoesTheWayOfTexts(t *testing.T) {
	w := newWorld(t, deliver.Schedule{time.Millisecond})
	r, def := newReceiver(t), newReceiver(t)
	ava := w.agent(avasNumber)
	w.set("", def.URL)
	var own webhookView
	w.ok("POST", hookPath(ava), object{"url": r.URL, "contextLimit": 0}, &own)
	said := make([]object, 60)
	for i := range said {
		said[i] = object{"role": []string{"user", "agent"}[i%2], "content": fmt.Sprint("line ", i)}
	}
	for _, e := range []object{
		{"event": "agent.call_ended", "channel": "voice", "data": object{
			"callId": "CA1", "from": customer, "to": avasNumber, "status": "completed", "endedAt": "2026-01-02T03:04:05Z", "durationSeconds": 65,
			"disconnectionReason": "user_hangup", "transcript": said, "summary": "All is well.", "userSentiment": "Positive", "callSuccessful": true}},
		{"event": "agent.reaction", "channel": "imessage", "data": object{
			"fromNumber": customer, "toNumber": avasNumber, "reactionType": "love", "messageId": "msg_1", "messageBody": "hi"}},
	} {
		tries := 0
		r.respond(func(rw http.ResponseWriter, _ request) {
			if tries++; tries == 1 {
				rw.WriteHeader(http.StatusInternalServerError)
			}
		})
		var a accepted
		w.ok("POST", "/v1/events", e, &a)
		first, second := <-r.came, <-r.came
		d := w.untilStatus(a.DeliveryID, "success")
		if string(first.body) != string(second.body) || d.AttemptCount != 2 || a.WebhookID != own.ID || first.delivery != a.DeliveryID {
			t.Errorf("%+v: %s, then %s", d, first.body, second.body)
		}
		m := parse(t, first)
		if len(m["recentHistory"].([]any)) != 0 {
			t.Errorf("history with a limit of 0: %s", first.body)
		}
		if m["event"] == "agent.call_ended" {
			if lines := m["data"].(map[string]any)["transcript"].([]any); len(lines) != 60 {
				t.Errorf("%d lines of the transcript", len(lines))
			}
		}
		w.ok("POST", "/v1/deliveries/"+a.DeliveryID+"/retry", nil, nil)
		<-r.came
		w.until(a.DeliveryID, func(d deliveryView) bool { return d.AttemptCount == 3 })
	}
	if n := len(def.requests()); n != 0 {
		t.Errorf("%d went to the default", n)
	}
	var c struct {
		Status, StartedAt, EndedAt, DisconnectionReason, Summary, UserSentiment, LastTranscriptSnippet string
		DurationSeconds                                                                                float64
		CallSuccessful                                                                                 bool
		Transcripts                                                                                    []any
		Transcript                                                                                     []struct{ Role, Content string }
	}
	w.ok("GET", "/v1/calls/CA1", nil, &c)
	if c.Status != "completed" || c.StartedAt != "2026-01-02T03:03:00Z" || c.EndedAt != "2026-01-02T03:04:05Z" || c.DurationSeconds != 65 ||
		c.DisconnectionReason != "user_hangup" || c.Summary != "All is well." || c.UserSentiment != "Positive" || !c.CallSuccessful ||
		c.LastTranscriptSnippet != "line 59" || len(c.Transcripts) != 0 || len(c.Transcript) != 60 || c.Transcript[1].Role != "agent" {
		t.Errorf("%+v", c)
	}
	theirs := &world{t: t, url: w.url}
	var other struct{ APIKey string }
	w.ok("POST", "/v1/projects", object{"name": "other"}, &other)
	theirs.key = other.APIKey
	if status, _ := theirs.call("GET", "/v1/calls/CA1", nil); status != http.StatusNotFound {
		t.Errorf("another project's call: %d", status)
	}
}

// TestATurnIsNotAskedAgainAfterACrash kills the server with -9 between question and
// answer: the next start says so on the log, and asks nobody.
func TestATurnIsNotAskedAgainAfterACrash(t *testing.T) {
	database := filepath.Join(t.TempDir(), "test.db")
	r := newReceiver(t)
	p := start(t, "sqlite:"+database)
	w := &world{t: t, url: p.url, key: chosenKey}
	w.agent(avasNumber)
	w.set("", r.URL)
	r.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.came <- request{body: body}
		if strings.Contains(string(body), `"transcript":"lost"`) {
			speak(rw, `{"text":"Well,","interim":true}`)
			<-req.Context().Done()
			return
		}
		speak(rw, `{"text":"hi"}`)
	})
	resp := w.turn(t.Context(), turnBody("call_1", "lost"), "Accept", acceptStream)
	if l, err := bufio.NewReader(resp.Body).ReadString('\n'); err != nil {
		t.Fatal(l, err)
	}
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.Wait()
	p = start(t, "sqlite:"+database)
	w = &world{t: t, url: p.url, key: chosenKey}
	d := w.delivery(resp.Header.Get("Switchhook-Delivery-Id"))
	if d.Status != "failed" || !strings.Contains(d.ErrorMessage, "stopped before the turn ended") || d.AttemptCount != 0 {
		t.Errorf("%+v", d)
	}
	// The next turn of the call is asked, and the lost one is not.
	if out, _ := w.said(turnBody("call_1", "again")); out != `{"text":"hi","chunks":1}`+"\n" {
		t.Error(out)
	}
	<-r.came
	var m map[string]any
	if err := json.Unmarshal((<-r.came).body, &m); err != nil || m["data"].(map[string]any)["transcript"] != "again" || len(r.came) != 0 {
		t.Errorf("%v %v, and %d more", m, err, len(r.came))
	}
}
