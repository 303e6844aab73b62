package examples_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"switchhook.dev/switchhook/internal/netguard"
	"switchhook.dev/switchhook/internal/server"
	"switchhook.dev/switchhook/test/world"
)

// api is a running server.
type api struct {
	t        *testing.T
	url, key string
}

func newAPI(t *testing.T) *api {
	t.Helper()
	srv, err := server.Start(t.Context(), server.Config{
		Listen: "127.0.0.1:0", Database: "sqlite:" + filepath.Join(t.TempDir(), "test.db"), Version: "test",
		Policy: netguard.Policy{AllowHTTP: true, AllowPrivate: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Stop(context.Background()) })
	return &api{t, srv.URL, srv.NewKey}
}

func (a *api) call(method, path string, body, into any) {
	a.t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		a.t.Fatal(err)
	}
	req, err := http.NewRequest(method, a.url+path, bytes.NewReader(raw))
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+a.key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode > 299 {
		a.t.Fatalf("%s %s: %s %v %s", method, path, resp.Status, err, answer)
	}
	if into != nil {
		if err := json.Unmarshal(answer, into); err != nil {
			a.t.Fatal(err)
		}
	}
}

type object map[string]any

// Each echo agent remembers what was said before, and answers a turn of a call,
// though it keeps nothing itself.
func TestEchoAgents(t *testing.T) {
	goAgent := filepath.Join(t.TempDir(), "echoagent")
	if out, err := exec.Command("go", "build", "-o", goAgent, "./go/echoagent").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, c := range []struct {
		language string
		command  []string
	}{
		{"Node", []string{"node", "node/echo-agent.mjs"}},
		{"Python", []string{"python3", "python/echo_agent.py"}},
		{"Go", []string{goAgent}},
	} {
		t.Run(c.language, func(t *testing.T) {
			a := newAPI(t)
			const ours, theirs = "+12025550101", "+12025550199"
			var agent, hook struct{ ID, Secret string }
			a.call("POST", "/v1/agents", object{"name": "Echo"}, &agent)
			a.call("POST", "/v1/numbers", object{"phoneNumber": ours, "agentId": agent.ID}, nil)
			t.Setenv("SWITCHHOOK_URL", a.url)
			t.Setenv("SWITCHHOOK_API_KEY", a.key)
			// The secret is known when the webhook is set, the port when the agent has
			// started: something stands in between.
			var target atomic.Pointer[url.URL]
			front := httptest.NewServer(world.Forward(target.Load))
			t.Cleanup(front.Close)
			a.call("POST", "/v1/webhooks", object{"url": front.URL}, &hook)
			u, err := url.Parse(start(t, hook.Secret, c.command[0], c.command[1:]...).url)
			if err != nil {
				t.Fatal(err)
			}
			target.Store(u)

			for _, say := range []struct{ text, want string }{
				{"Hello", "You said: Hello"},
				{"My order is ORD-1", "You said: My order is ORD-1. Before that: Hello"},
				{"Grüße", "You said: Grüße. Before that: Hello, My order is ORD-1"},
			} {
				var event struct{ DeliveryID, ConversationID string }
				a.call("POST", "/v1/events", object{"event": "agent.message", "channel": "sms", "data": object{"from": theirs, "to": ours, "message": say.text}}, &event)
				got := a.untilDone(event.DeliveryID)
				if got.Text != say.want {
					t.Errorf("answered %q, want %q", got.Text, say.want)
				}
				var conversation struct {
					Messages []struct{ Body, Direction string }
				}
				a.call("GET", "/v1/conversations/"+event.ConversationID, nil, &conversation)
				last := ""
				for _, m := range conversation.Messages {
					if m.Direction == "outbound" && m.Body == say.want {
						last = m.Body
					}
				}
				if last == "" {
					t.Errorf("the reply is not in the conversation: %+v", conversation.Messages)
				}
			}
		})
	}
}

// untilDone waits for a delivery to succeed, and reads what was answered.
func (a *api) untilDone(id string) (answer struct{ Text string }) {
	a.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		var d struct{ Status, ResponseBody, ErrorMessage string }
		a.call("GET", "/v1/deliveries/"+id, nil, &d)
		switch {
		case d.Status == "success":
			if err := json.Unmarshal([]byte(d.ResponseBody), &answer); err != nil {
				a.t.Fatalf("answered %q: %v", d.ResponseBody, err)
			}
			return answer
		case d.ErrorMessage != "" || time.Now().After(deadline):
			a.t.Fatalf("%+v", d)
		}
	}
}
