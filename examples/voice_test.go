package examples_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"switchhook.dev/switchhook/internal/netguard"
	"switchhook.dev/switchhook/internal/server"
	"switchhook.dev/switchhook/test/world"
)

// switchhook is a running server with an agent whose webhook is a receiver. The
// receiver needs the webhook's secret, which needs its URL: hence the forwarder.
type switchhook struct {
	*testing.T
	url, key, agent string
	target          atomic.Pointer[url.URL]
	forwarder       string
}

func newSwitchhook(t *testing.T) *switchhook {
	srv, err := server.Start(t.Context(), server.Config{
		Listen: "127.0.0.1:0", Database: "sqlite:" + filepath.Join(t.TempDir(), "test.db"), Version: "test",
		Policy: netguard.Policy{AllowHTTP: true, AllowPrivate: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Stop(context.Background()) })
	s := &switchhook{T: t, url: srv.URL, key: srv.NewKey}
	f := httptest.NewServer(world.Forward(s.target.Load))
	t.Cleanup(f.Close)
	s.forwarder = f.URL
	var a struct{ ID string }
	s.post("/v1/agents", map[string]any{"name": "Ava"}, &a)
	s.agent = a.ID
	s.post("/v1/numbers", map[string]any{"phoneNumber": "+12025550101", "agentId": a.ID}, nil)
	return s
}

func (s *switchhook) post(path string, body, into any, header ...string) string {
	s.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		s.Fatal(err)
	}
	req, err := http.NewRequestWithContext(s.Context(), http.MethodPost, s.url+path, bytes.NewReader(b))
	if err != nil {
		s.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.key)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode > 299 {
		s.Fatalf("%s: %d %s %v", path, resp.StatusCode, out, err)
	}
	if into != nil {
		if err := json.Unmarshal(out, into); err != nil {
			s.Fatal(err)
		}
	}
	return string(out)
}

// ask is a turn; it returns the answer, streamed or as one object.
func (s *switchhook) ask(text string, streamed bool) string {
	s.Helper()
	accept := "application/json"
	if streamed {
		accept = "application/x-ndjson"
	}
	return s.post("/v1/events", map[string]any{"event": "agent.message", "channel": "voice", "data": map[string]any{
		"callId": "CA1", "from": "+12025550199", "to": "+12025550101", "transcript": text,
	}}, nil, "Accept", accept)
}

// flaskPython is a Python that has Flask: the system's own may have it where the
// first on the path has not. "" where none does.
func flaskPython() string {
	for _, name := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(name, "-c", "import flask").Run() == nil {
			return name
		}
	}
	return ""
}

func TestVoiceReceivers(t *testing.T) {
	goReceiver := filepath.Join(t.TempDir(), "voice")
	if out, err := exec.Command("go", "build", "-o", goReceiver, "./go/voice").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	_, noExpress := os.Stat("express/node_modules/express")
	for _, c := range []struct {
		name    string
		command []string
		missing string
	}{
		{"Express", []string{"node", "express/receiver.mjs"}, map[bool]string{true: "Express (npm ci --prefix examples/express)"}[noExpress != nil]},
		{"Flask", []string{flaskPython(), "flask/receiver.py"}, map[bool]string{true: "Flask (Debian's python3-flask)"}[flaskPython() == ""]},
		{"Go", []string{goReceiver}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.missing != "" {
				if os.Getenv("SWITCHHOOK_REQUIRE_ALL") != "" {
					t.Fatalf("%s is not installed", c.missing)
				}
				t.Skipf("left out: %s is not installed", c.missing)
			}
			s := newSwitchhook(t)
			var hook struct{ Secret string }
			s.post("/v1/agents/"+s.agent+"/webhook", map[string]any{"url": s.forwarder + "/json"}, &hook)
			r := start(t, hook.Secret, c.command[0], c.command[1:]...)
			target, err := url.Parse(r.url)
			if err != nil {
				t.Fatal(err)
			}
			s.target.Store(target)
			var got struct {
				Text                string
				HangUp              bool
				Chunks, HeardBefore int
				Error               string
			}
			if out := s.ask("Grüße", false); json.Unmarshal([]byte(out), &got) != nil || got.Text != "You said: Grüße" || got.Chunks != 1 || got.HeardBefore != 0 {
				t.Errorf("one object: %s", out)
			}
			if line := r.line(t); line != "agent.message voice" {
				t.Errorf("printed %q", line)
			}
			// Each change of a webhook makes a new secret; the one before signs too, for a day,
			// but only in the Standard Webhooks signature: the receiver is started anew.
			s.post("/v1/agents/"+s.agent+"/webhook", map[string]any{"url": s.forwarder + "/stream"}, &hook)
			r = start(t, hook.Secret, c.command[0], c.command[1:]...)
			if target, err = url.Parse(r.url); err != nil {
				t.Fatal(err)
			}
			s.target.Store(target)
			lines := strings.Split(strings.TrimSpace(s.ask("And then?", true)), "\n")
			if len(lines) != 2 || !strings.Contains(lines[0], "Let me see.") || !strings.Contains(lines[0], "interim") || !strings.Contains(lines[1], "You said: And then?") {
				t.Errorf("streamed: %q", lines)
			}
			if out := s.ask("Bye", false); json.Unmarshal([]byte(out), &got) != nil || got.Text != "Let me see. Goodbye!" || !got.HangUp || got.Chunks != 2 {
				t.Errorf("streamed, as one object: %s", out)
			}
			s.post("/v1/events", map[string]any{"event": "agent.call_ended", "channel": "voice", "data": map[string]any{
				"callId": "CA1", "from": "+12025550199", "to": "+12025550101",
			}}, nil)
			for _, want := range []string{"agent.message voice", "agent.message voice", "agent.call_ended voice"} {
				if line := r.line(t); line != want {
					t.Errorf("printed %q, want %q", line, want)
				}
			}
			// Without its secret nobody is answered.
			resp, err := http.Post(r.url+"/json", "application/json", strings.NewReader(fmt.Sprintf(`{"event":%q}`, "agent.message")))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("unsigned: %d", resp.StatusCode)
			}
		})
	}
}
