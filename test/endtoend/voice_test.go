package endtoend

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	standard "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// turnBody is a turn of a call, as a carrier hands it in.
func turnBody(call, text string) object {
	return object{"event": "agent.message", "channel": "voice", "data": object{
		"callId": call, "from": customer, "to": avasNumber, "transcript": text, "confidence": 0.9, "status": "in-progress",
	}}
}

// turn hands a turn in, and returns the answer, still open.
func (w *world) turn(ctx context.Context, body object, header ...string) *http.Response {
	w.t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		w.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(ctx, "POST", w.url+"/v1/events", strings.NewReader(string(b)))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.key)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

// said is what a turn is answered, whole.
func (w *world) said(body object, header ...string) (string, *http.Response) {
	w.t.Helper()
	resp := w.turn(w.t.Context(), body, header...)
	out, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(out), resp
}

// verify checks a request with a public Standard Webhooks library.
func verify(t *testing.T, secret string, in request) {
	t.Helper()
	verifier, err := standard.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	if err := verifier.Verify(in.body, in.header); err != nil {
		t.Error("a public Standard Webhooks library:", err)
	}
}

const acceptStream = "application/x-ndjson"

func speak(rw http.ResponseWriter, lines ...string) {
	rw.Header().Set("Content-Type", "application/x-ndjson")
	for _, l := range lines {
		fmt.Fprintln(rw, l)
		_ = http.NewResponseController(rw).Flush()
	}
}

func TestATurnIsAnsweredAsItsCallerWantsIt(t *testing.T) {
	w := newWorld(t, later)
	r := newReceiver(t)
	ava := w.agent(avasNumber)
	hook := w.set("", r.URL)
	w.send(customer, avasNumber, "before")
	<-r.came
	r.respond(func(rw http.ResponseWriter, _ request) {
		speak(rw, `{"text":"One moment.","interim":true,"mood":1}`, `{"text":"It is on its way.","hangup":true}`)
	})
	out, resp := w.said(turnBody("call_1", "Where is it?"))
	if out != `{"text":"One moment. It is on its way.","mood":1,"hangup":true,"chunks":2}`+"\n" || resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%d %s", resp.StatusCode, out)
	}
	in := <-r.came
	m := parse(t, in)
	data := m["data"].(map[string]any)
	for name, want := range map[string]any{"callId": "call_1", "from": customer, "to": avasNumber, "transcript": "Where is it?", "confidence": 0.9, "status": "in-progress", "direction": "inbound"} {
		if data[name] != want {
			t.Errorf("data.%s: %v, want %v", name, data[name], want)
		}
	}
	delivery := resp.Header.Get("Switchhook-Delivery-Id")
	if in.delivery != delivery || m["channel"] != "voice" || len(m["recentHistory"].([]any)) != 1 {
		t.Errorf("%s is not of %s", in.body, delivery)
	}
	verify(t, hook.Secret, in)
	for name, prefix := range map[string]string{"Event": "evt_", "Message": "msg_", "Conversation": "conv_", "Call": "call_1", "Agent": ava, "Webhook": hook.ID} {
		if got := resp.Header.Get("Switchhook-" + name + "-Id"); !strings.HasPrefix(got, prefix) {
			t.Errorf("Switchhook-%s-Id is %q", name, got)
		}
	}
	out, resp = w.said(turnBody("call_1", "Really?"), "Accept", "application/x-ndjson, application/json;q=0.5")
	if out != `{"text":"One moment.","interim":true,"mood":1}`+"\n"+`{"text":"It is on its way.","hangup":true}`+"\n" || resp.Header.Get("Content-Type") != acceptStream {
		t.Errorf("%s: %s", resp.Header.Get("Content-Type"), out)
	}
	<-r.came
	if d := w.delivery(delivery); d.Status != "success" || d.AttemptCount != 1 || !strings.Contains(d.Request.Body, "Where is it?") || !strings.Contains(d.ResponseBody, "hangup") {
		t.Errorf("%+v", d)
	}
	r.respond(nil)
	w.send(customer, avasNumber, "a text an hour later")
	var past []string
	for _, h := range parse(t, <-r.came)["recentHistory"].([]any) {
		h := h.(map[string]any)
		past = append(past, fmt.Sprint(h["content"], " ", h["direction"], " ", h["channel"]))
	}
	if strings.Join(past, ", ") != "before inbound sms, Where is it? inbound voice, One moment. It is on its way. outbound voice, "+
		"Really? inbound voice, One moment. It is on its way. outbound voice" {
		t.Error(past)
	}
	if status, out := w.call("POST", "/v1/deliveries/"+delivery+"/retry", nil); status != http.StatusConflict {
		t.Errorf("a turn was replayed: %d %s", status, out)
	}
}

// A line is passed on when it comes, not when the answer is complete.
func TestLinesArriveAsTheyCome(t *testing.T) {
	w := newWorld(t, later)
	r := newReceiver(t)
	w.agent(avasNumber)
	w.set("", r.URL)
	next := make(chan struct{})
	r.respond(func(rw http.ResponseWriter, _ request) {
		speak(rw, `{"text":"a","interim":true}`)
		<-next
		speak(rw, `{"text":"b"}`)
		<-next // the stream stays open: the closing line ends the turn all the same
	})
	resp := w.turn(t.Context(), turnBody("call_1", "hi"), "Accept", acceptStream)
	in := bufio.NewReader(resp.Body)
	if l, err := in.ReadString('\n'); l != `{"text":"a","interim":true}`+"\n" {
		t.Fatal(l, err)
	}
	next <- struct{}{}
	if rest, err := io.ReadAll(in); string(rest) != `{"text":"b"}`+"\n" || err != nil {
		t.Fatalf("%s %v", rest, err)
	}
	close(next)
}

// Once a turn is accepted it is answered with 200, and "error" says what came of it.
func TestATurnThatFailsSaysSo(t *testing.T) {
	w := newWorld(t, later)
	r := newReceiver(t)
	w.agent(avasNumber)
	gone := newReceiver(t)
	gone.Close()
	refused := "connection refused by " + strings.TrimPrefix(gone.URL, "http://") + ": is the receiver running?"
	for _, c := range []struct {
		name, url string
		answer    func(http.ResponseWriter, request)
		fault     string
		attempts  int
		status    string
	}{
		{name: "no webhook", url: "-", fault: "no webhook: set one for the agent or for the project", status: "unrouted"},
		{name: "500", answer: status(500), fault: "answered 500 Internal Server Error: look into the receiver's log", attempts: 1, status: "failed"},
		{name: "refused, and tried once more", url: gone.URL, fault: refused, attempts: 2, status: "failed"},
		{name: "hang up", answer: func(http.ResponseWriter, request) { panic(http.ErrAbortHandler) },
			fault: "127.0.0.1 closed the connection before its answer was complete: look into the receiver's log", attempts: 1, status: "failed"},
		{name: "410", answer: status(410), fault: "answered 410 Gone: the webhook was disabled; set it anew to send again", attempts: 1, status: "failed"},
		{name: "disabled by it", url: "-", fault: "webhook disabled", status: "failed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r.respond(c.answer)
			if c.url != "-" {
				url := c.url
				if url == "" {
					url = r.URL
				}
				w.set("", url)
			}
			fault, _ := json.Marshal(c.fault)
			out, resp := w.said(turnBody("call_1", "hi"))
			out = strings.Replace(out, strings.TrimPrefix(r.URL, "http://"), "127.0.0.1", 1)
			if out != `{"text":"","error":`+string(fault)+`,"chunks":0}`+"\n" && out != `{"text":"","chunks":0,"error":`+string(fault)+`}`+"\n" || resp.StatusCode != 200 {
				t.Fatalf("%d %s, want %s", resp.StatusCode, out, c.fault)
			}
			id := resp.Header.Get("Switchhook-Delivery-Id")
			if id == "" {
				if c.status != "unrouted" {
					t.Error("no delivery")
				}
				return
			}
			d := w.delivery(id)
			if d.Status != c.status || strings.Replace(d.ErrorMessage, strings.TrimPrefix(r.URL, "http://"), "127.0.0.1", 1) != c.fault || d.AttemptCount != c.attempts || len(d.Attempts) != c.attempts {
				t.Errorf("%+v", d)
			}
			out, _ = w.said(turnBody("call_2", "hi"), "Accept", acceptStream)
			if !strings.Contains(out, `"error":`) || strings.Count(out, "\n") != 1 {
				t.Errorf("streamed: %s", out)
			}
		})
	}
	// Nothing of it is sent again, by anybody.
	var n struct{ Count int }
	r.respond(nil)
	w.set("", r.URL)
	before := len(r.requests())
	w.ok("POST", "/v1/deliveries/retry", object{"since": "2020-01-01T00:00:00Z"}, &n)
	if n.Count != 0 || len(r.requests()) != before {
		t.Errorf("%d turns were replayed", n.Count)
	}
}

func TestACallerWhoHangsUpCancelsTheQuestion(t *testing.T) {
	w := newWorld(t, later)
	r := newReceiver(t)
	w.agent(avasNumber)
	w.set("", r.URL)
	canceled := make(chan struct{})
	r.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		speak(rw, `{"text":"Well,","interim":true}`)
		<-req.Context().Done()
		close(canceled)
	})
	ctx, hangUp := context.WithCancel(t.Context())
	resp := w.turn(ctx, turnBody("call_1", "hi"), "Accept", acceptStream)
	if l, err := bufio.NewReader(resp.Body).ReadString('\n'); err != nil {
		t.Fatal(l, err)
	}
	hangUp()
	<-canceled
	d := w.untilStatus(resp.Header.Get("Switchhook-Delivery-Id"), "failed")
	if !strings.Contains(d.ErrorMessage, "the caller hung up") {
		t.Errorf("%+v", d)
	}
	// What was heard was said.
	var c struct {
		Transcripts []struct{ Response, Status string }
	}
	w.ok("GET", "/v1/calls/call_1", nil, &c)
	if len(c.Transcripts) != 1 || c.Transcripts[0].Response != "Well," || c.Transcripts[0].Status != "failed" {
		t.Errorf("%+v", c)
	}
}

// A new turn of a call cancels the one that still speaks, and comes after it in the
// history; other calls go on.
func TestBargeIn(t *testing.T) {
	w := newWorld(t, later)
	r := newReceiver(t)
	w.agent(avasNumber)
	w.set("", r.URL)
	other := make(chan struct{})
	r.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.came <- request{body: body}
		switch {
		case strings.Contains(string(body), `"transcript":"first"`):
			speak(rw, `{"text":"Let me","interim":true}`)
			<-req.Context().Done()
			speak(rw, `{"text":"late"}`) // goes nowhere
		case strings.Contains(string(body), `"transcript":"other"`):
			<-other
			speak(rw, `{"text":"other answered"}`)
		default:
			speak(rw, `{"text":"second answered"}`)
		}
	})
	otherSaid := make(chan string)
	go func() {
		out, _ := w.said(turnBody("call_2", "other"), "Accept", acceptStream)
		otherSaid <- out
	}()
	<-r.came
	first := w.turn(t.Context(), turnBody("call_1", "first"), "Accept", acceptStream)
	in := bufio.NewReader(first.Body)
	if l, err := in.ReadString('\n'); !strings.Contains(l, "Let me") {
		t.Fatal(l, err)
	}
	<-r.came
	second, _ := w.said(turnBody("call_1", "second"))
	if second != `{"text":"second answered","chunks":1}`+"\n" {
		t.Error(second)
	}
	rest, err := io.ReadAll(in)
	if string(rest) != `{"text":"","error":"superseded: another turn of the call began before the answer was complete"}`+"\n" || err != nil {
		t.Errorf("%s %v", rest, err)
	}
	m := parse(t, <-r.came)
	var past []string
	for _, h := range m["recentHistory"].([]any) {
		past = append(past, fmt.Sprint(h.(map[string]any)["content"]))
	}
	if strings.Join(past, ", ") != "other, first, Let me" {
		t.Error(past)
	}
	close(other)
	if out := <-otherSaid; out != `{"text":"other answered"}`+"\n" {
		t.Error(out)
	}
	d := w.untilStatus(first.Header.Get("Switchhook-Delivery-Id"), "failed")
	if !strings.HasPrefix(d.ErrorMessage, "superseded") {
		t.Errorf("%+v", d)
	}
}

// A repeat of an Idempotency-Key answers as the first did, and nobody is asked.
func TestARepeatedTurnAsksNobody(t *testing.T) {
	w := newWorld(t, later)
	r := newReceiver(t)
	w.agent(avasNumber)
	w.set("", r.URL)
	next := make(chan struct{})
	r.respond(func(rw http.ResponseWriter, _ request) {
		<-next
		speak(rw, `{"text":"a","interim":true}`, `{"text":"b","digits":"1"}`)
	})
	key := []string{"Idempotency-Key", "k1"}
	first := make(chan string)
	go func() {
		out, _ := w.said(turnBody("call_1", "hi"), key...)
		first <- out
	}()
	<-r.came
	out, resp := w.said(turnBody("call_1", "hi"), key...)
	if resp.StatusCode != http.StatusConflict || !strings.Contains(out, "under way") {
		t.Errorf("while it is under way: %d %s", resp.StatusCode, out)
	}
	close(next)
	want := `{"text":"a b","digits":"1","chunks":2}` + "\n"
	if got := <-first; got != want {
		t.Error(got)
	}
	out, resp = w.said(turnBody("call_1", "hi"), key...)
	if out != want || resp.Header.Get("Switchhook-Duplicate") != "true" || resp.Header.Get("Switchhook-Call-Id") != "call_1" {
		t.Errorf("%v: %s", resp.Header, out)
	}
	out, resp = w.said(turnBody("call_1", "hi"), append(key, "Accept", acceptStream)...)
	if out != want || resp.Header.Get("Content-Type") != acceptStream {
		t.Errorf("%v: %s", resp.Header, out)
	}
	if n := len(r.requests()); n != 1 {
		t.Errorf("%d were asked", n)
	}
	body := textEvent(customer, avasNumber, "hi")
	if out, resp := w.said(body, key...); resp.StatusCode != http.StatusAccepted || !strings.Contains(out, `"duplicate":true`) {
		t.Errorf("a text with a turn's key: %d %s", resp.StatusCode, out)
	}
	if out, resp := w.said(body, "Idempotency-Key", "k2"); resp.StatusCode != http.StatusAccepted {
		t.Errorf("%d %s", resp.StatusCode, out)
	}
	if out, resp := w.said(turnBody("call_1", "hi"), "Idempotency-Key", "k2"); resp.StatusCode != http.StatusConflict {
		t.Errorf("a turn with a text's key: %d %s", resp.StatusCode, out)
	}
}

func TestABatchRefusesTurns(t *testing.T) {
	w := newWorld(t, later)
	w.agent(avasNumber)
	var out struct {
		Results []struct {
			Status int
			Detail any
		}
	}
	w.ok("POST", "/v1/events/batch", object{"events": []object{turnBody("call_1", "hi"), textEvent(customer, avasNumber, "hi")}}, &out)
	if len(out.Results) != 2 || out.Results[0].Status != 422 || out.Results[1].Status != 202 || !strings.Contains(fmt.Sprint(out.Results[0].Detail), "hand it in alone") {
		t.Errorf("%+v", out)
	}
	if status, _ := w.call("GET", "/v1/calls/call_1", nil); status != 404 {
		t.Error("a refused turn left its call")
	}
}

// Turns under way when the server stops may finish; those that do not are cut off,
// and recorded as such.
func TestStoppingLetsTurnsFinish(t *testing.T) {
	w := newWorld(t, later)
	r := newReceiver(t)
	w.agent(avasNumber)
	w.set("", r.URL)
	next := make(chan struct{})
	r.respond(func(rw http.ResponseWriter, _ request) {
		speak(rw, `{"text":"a","interim":true}`)
		<-next
		speak(rw, `{"text":"b"}`)
	})
	resp := w.turn(t.Context(), turnBody("call_1", "hi"), "Accept", acceptStream)
	in := bufio.NewReader(resp.Body)
	if l, err := in.ReadString('\n'); err != nil {
		t.Fatal(l, err)
	}
	stopped := make(chan error)
	go func() { stopped <- w.stop(context.Background()) }()
	// Once new requests are refused the server is stopping.
	for {
		if _, _, err := w.do("GET", "/healthz", nil); err != nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	close(next)
	if rest, err := io.ReadAll(in); string(rest) != `{"text":"b"}`+"\n" || err != nil {
		t.Errorf("%s %v", rest, err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}
