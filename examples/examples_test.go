package examples_test

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"switchhook.dev/switchhook/webhook"
)

const event = `{"event":"agent.message","channel":"sms","data":{"message":"Grüße"},"recentHistory":[{}]}`

// receiver is an example, running.
type receiver struct {
	url   string
	lines *bufio.Scanner
}

func start(t *testing.T, secret string, name string, args ...string) *receiver {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("SWITCHHOOK_REQUIRE_ALL") != "" {
			t.Fatal(err)
		}
		t.Skipf("left out: %s is not installed", name)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "SWITCHHOOK_SECRET="+secret, "PORT=0")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	r := &receiver{lines: bufio.NewScanner(out)}
	r.url = strings.TrimPrefix(r.line(t), "listening on ")
	return r
}

func (r *receiver) line(t *testing.T) string {
	t.Helper()
	if !r.lines.Scan() {
		t.Fatal("the receiver ended")
	}
	return r.lines.Text()
}

func (r *receiver) post(t *testing.T, secret, id string, at time.Time, sent string) int {
	t.Helper()
	s, err := webhook.Sign(secret, id, at, []byte(event))
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodPost, r.url, bytes.NewReader([]byte(sent)))
	if err != nil {
		t.Fatal(err)
	}
	s.SetHeaders(req.Header)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

func TestReceivers(t *testing.T) {
	goReceiver := filepath.Join(t.TempDir(), "receiver")
	if out, err := exec.Command("go", "build", "-o", goReceiver, "./go/receiver").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, c := range []struct {
		language string
		command  []string
	}{
		{"Node", []string{"node", "node/receiver.mjs"}},
		{"Python", []string{"python3", "python/receiver.py"}},
		{"Go", []string{goReceiver}},
	} {
		t.Run(c.language, func(t *testing.T) {
			secret, now := webhook.NewSecret(), time.Now()
			r := start(t, secret, c.command[0], c.command[1:]...)
			for _, p := range []struct {
				what, secret, id string
				at               time.Time
				body             string
				want             int
			}{
				{"as sent", secret, "del_1", now, event, 200},
				{"repeated", secret, "del_1", now, event, 200},
				{"another secret", webhook.NewSecret(), "del_2", now, event, 401},
				{"too old", secret, "del_3", now.Add(-6 * time.Minute), event, 401},
				{"too new", secret, "del_4", now.Add(6 * time.Minute), event, 401},
				{"tampered", secret, "del_5", now, strings.Replace(event, "sms", "mms", 1), 401},
				{"the next", secret, "del_6", now, event, 200},
			} {
				if got := r.post(t, p.secret, p.id, p.at, p.body); got != p.want {
					t.Errorf("%s: %d, want %d", p.what, got, p.want)
				}
			}
			// Two lines: the repeated and the refused ones printed none.
			for range 2 {
				line := r.line(t)
				if !strings.HasPrefix(line, "agent.message sms ") || !strings.HasSuffix(line, "history=1") {
					t.Errorf("printed %q", line)
				}
			}
		})
	}
}
