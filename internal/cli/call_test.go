package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// A call: what is typed is asked, each line of the answer is shown with its time,
// an agent that hangs up ends the call, and the end is told with all that was said.
func TestCall(t *testing.T) {
	var got []map[string]any
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var e map[string]any
		if err := json.NewDecoder(r.Body).Decode(&e); err != nil || r.Header.Get("Authorization") != "Bearer "+testKey {
			t.Error(err, r.Header)
		}
		got = append(got, e)
		data := e["data"].(map[string]any)
		if e["event"] == "agent.call_ended" {
			w.WriteHeader(http.StatusAccepted)
			fmt.Fprint(w, `{"id":"evt_1"}`)
			return
		}
		if r.Header.Get("Accept") != "application/x-ndjson" {
			t.Error(r.Header)
		}
		switch data["transcript"] {
		case "Hello":
			fmt.Fprint(w, `{"text":"One moment.","interim":true}`+"\n"+`{"text":"Hello\u001b[31m!","mood":"good"}`+"\n")
		case "Hm":
			fmt.Fprint(w, `{"text":""}`+"\n")
		case "Oh":
			fmt.Fprint(w, `{"text":"","error":"timeout: no line came"}`+"\n")
		default:
			fmt.Fprint(w, `{"text":"Bye.","hangup":true}`+"\n")
		}
	}))
	t.Cleanup(srv.Close)
	var out bytes.Buffer
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	cmd := CallCmd{From: "+12025550199", To: "+12025550101", ID: "CA1", in: strings.NewReader("Hello\nHm\nOh\nBye\nnot heard\n"), now: func() time.Time {
		now = now.Add(100 * time.Millisecond)
		return now
	}}
	if err := cmd.Run(t.Context(), NewClient(srv.URL, testKey), Output{W: &out}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"you:    agent:  One moment. (100 ms)\n", "agent:  Hello\uFFFD[31m! [mood=\"good\"] (200 ms)\n", "(first line after 100 ms, last after 200 ms)",
		"agent:  (silence) (100 ms)", "!     timeout: no line came", "agent:  Bye. [hangup=true]", "The call ended (agent_hangup): 6 lines in 1s.",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, out.String())
		}
	}
	last := got[len(got)-1]
	data := last["data"].(map[string]any)
	if len(got) != 5 || last["event"] != "agent.call_ended" || data["callId"] != "CA1" || data["disconnectionReason"] != "agent_hangup" || data["durationSeconds"] == 0.0 {
		t.Errorf("%d events, the last is %v", len(got), last)
	}
	if s := fmt.Sprint(data["transcript"]); !strings.Contains(s, "map[content:One moment. Hello\x1b[31m! role:agent]") || strings.Count(s, "role:user") != 4 {
		t.Error(s)
	}
}

// A refused turn ends the call with an error, and its end is told all the same;
// with --json there is nothing but JSON.
func TestCallThatIsRefused(t *testing.T) {
	ended := false
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if strings.Contains(string(body), "agent.call_ended") {
			ended = true
			fmt.Fprint(w, `{"id":"evt_1"}`)
			return
		}
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"detail":"no such number"}`)
	}))
	t.Cleanup(srv.Close)
	var out bytes.Buffer
	cmd := CallCmd{From: "+12025550199", To: "+12025550101", in: strings.NewReader("Hello\n"), now: time.Now}
	err := cmd.Run(t.Context(), NewClient(srv.URL, testKey), Output{W: &out, JSON: true})
	if err == nil || !strings.Contains(err.Error(), "no such number") || !ended || !json.Valid(out.Bytes()) {
		t.Errorf("%v, ended %v: %s", err, ended, out.String())
	}
}
