// Package nodes tests many nodes on one PostgreSQL, from outside: real processes,
// killed, stopped and started again, on a cluster of their own, under load.
package nodes

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait: long, since what is slow is not wrong.
const patience = 3 * time.Minute

const (
	apiKey    = "a-key-for-the-tests-only"
	secretKey = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
)

var built atomic.Bool

// build makes the program once for all tests.
var build = sync.OnceValues(func() (string, error) {
	built.Store(true)
	dir, err := os.MkdirTemp("", "switchhook-nodes-")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "switchhook")
	if out, err := exec.Command("go", "build", "-o", bin, "../../cmd/switchhook").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return bin, nil
})

// TestMain removes the program after the tests.
func TestMain(m *testing.M) {
	code := m.Run()
	if built.Load() {
		if bin, err := build(); err == nil {
			_ = os.RemoveAll(filepath.Dir(bin))
		}
	}
	os.Exit(code)
}

// fleet is several nodes on one database.
type fleet struct {
	t        *testing.T
	database string
	lease    string
	nodes    []*node

	mu sync.Mutex
	// deaths are when nodes were killed, when others took over what they had, and when
	// one learned that it was declared dead while it lived: what it had in flight then
	// may be sent once more.
	deaths           []time.Time
	killed, outlived int
}

// node is one of them: another process after each start.
type node struct {
	name string
	cmd  *exec.Cmd
	url  atomic.Pointer[string] // nil while it is down
	done chan struct{}
}

// newFleet starts nodes, the first of them alone.
func newFleet(t *testing.T, database string, count int) *fleet {
	t.Helper()
	return newFleetOf(t, database, count, "3s")
}

// newFleetOf is newFleet with a lease of a length.
func newFleetOf(t *testing.T, database string, count int, lease string) *fleet {
	t.Helper()
	f := &fleet{t: t, database: database, lease: lease}
	for i := range count {
		n := &node{name: fmt.Sprint("node", i)}
		f.nodes = append(f.nodes, n)
		t.Cleanup(func() { n.end(syscall.SIGKILL) })
		f.start(n)
	}
	return f
}

// start starts a node and waits until it answers.
func (f *fleet) start(n *node) {
	f.t.Helper()
	bin, err := build()
	if err != nil {
		f.t.Fatal(err)
	}
	deadline := time.Now().Add(patience)
	for {
		cmd := exec.Command(bin, "serve", "--dev", "--listen=127.0.0.1:0", "--database="+f.database, "--api-key="+apiKey,
			"--lease="+f.lease, "--node-name="+n.name, "--retry-schedule=200ms,200ms,1s,1s,1s")
		cmd.Env = append(os.Environ(), "SWITCHHOOK_SECRET_KEY="+secretKey)
		cmd.Stderr = logWriter{f}
		out, err := cmd.StdoutPipe()
		if err != nil {
			f.t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			f.t.Fatal(err)
		}
		n.cmd, n.done = cmd, make(chan struct{})
		lines := bufio.NewScanner(out)
		for n.url.Load() == nil && lines.Scan() {
			if _, rest, ok := strings.Cut(lines.Text(), "answers at "); ok {
				url, _, _ := strings.Cut(rest, " ")
				n.url.Store(&url)
			}
		}
		go func() {
			_, _ = io.Copy(io.Discard, out)
			_ = cmd.Wait()
			close(n.done)
		}()
		if n.url.Load() != nil {
			return
		}
		<-n.done // the database may be away
		if time.Now().After(deadline) {
			f.t.Errorf("%s does not start", n.name)
			return
		}
	}
}

// end ends a node's process and waits for it.
func (n *node) end(sig syscall.Signal) {
	n.url.Store(nil)
	if n.cmd == nil || n.cmd.Process == nil {
		return
	}
	_ = n.cmd.Process.Signal(sig)
	<-n.done
}

// kill kills a node, and starts it again.
func (f *fleet) kill(n *node) {
	f.mu.Lock()
	f.killed++
	f.deaths = append(f.deaths, time.Now())
	f.mu.Unlock()
	n.end(syscall.SIGKILL)
	f.start(n)
}

// logWriter passes a node's log on to the test's, and reads two things in it: that
// it takes over from others, which it says before it sends what was theirs, and that
// it was taken for dead, which it may learn long after.
type logWriter struct{ *fleet }

func (w logWriter) Write(b []byte) (int, error) {
	for line := range bytes.Lines(b) {
		outlived := bytes.Contains(line, []byte("was declared dead"))
		if !outlived && !bytes.Contains(line, []byte("adopted deliveries")) {
			continue
		}
		w.mu.Lock()
		if outlived {
			w.outlived++
		}
		w.deaths = append(w.deaths, saidAt(line))
		w.mu.Unlock()
	}
	return w.t.Output().Write(b)
}

// saidAt is when a line was written, by its own word: it is read later.
func saidAt(line []byte) time.Time {
	_, rest, _ := bytes.Cut(line, []byte("time="))
	word, _, _ := bytes.Cut(rest, []byte(" "))
	at, err := time.Parse(time.RFC3339Nano, string(word))
	if err != nil {
		return time.Now()
	}
	return at
}

var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: time.Minute}

// errDown says that no node could be asked.
var errDown = errors.New("no node is up")

// request is one to a node.
func (n *node) request(method, path string, body io.Reader) (*http.Request, error) {
	url := n.url.Load()
	if url == nil {
		return nil, errDown
	}
	req, err := http.NewRequest(method, *url+path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+apiKey)
	req.Header.Set("Content-Type", "application/json")
	return req, nil
}

// stream makes a request of a node whose answer comes bit by bit, until the test ends.
func (f *fleet) stream(n *node, method, path, accept string, body io.Reader) *http.Response {
	f.t.Helper()
	req, err := n.request(method, path, body)
	if err != nil {
		f.t.Fatal(err)
	}
	req.Header.Set("Accept", accept)
	resp, err := http.DefaultClient.Do(req.WithContext(f.t.Context()))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// text hands a text in through a node, and returns its delivery.
func (f *fleet) text(through *node, from, to string) string {
	f.t.Helper()
	var a struct{ DeliveryID string }
	err := f.call(through, "POST", "/v1/events", "", object{"event": "agent.message", "channel": "sms",
		"data": object{"from": from, "to": to, "message": "hello"}}, &a)
	if err != nil {
		f.t.Fatal(err)
	}
	return a.DeliveryID
}

// call asks a node for something, any of them where n is nil.
func (f *fleet) call(n *node, method, path, idempotency string, body, into any) error {
	if n == nil {
		n = f.nodes[rand.IntN(len(f.nodes))]
	}
	var in io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return err
		}
		in = bytes.NewReader(raw)
	}
	req, err := n.request(method, path, in)
	if err != nil {
		return err
	}
	if idempotency != "" {
		req.Header.Set("Idempotency-Key", idempotency)
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return &refusal{resp.StatusCode, string(out)}
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(out, into)
}

type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string { return fmt.Sprint(r.status, " ", r.text) }

// must asks again and again, any node, until one answers; a refusal that is no 5xx
// is an answer.
func (f *fleet) must(method, path, idempotency string, body, into any) error {
	deadline := time.Now().Add(patience)
	for {
		err := f.call(nil, method, path, idempotency, body, into)
		if r, ok := errors.AsType[*refusal](err); err == nil || ok && r.status < 500 && r.status != http.StatusTooManyRequests {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s %s: no answer within %s: %w", method, path, patience, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

type object map[string]any

// agent makes an agent with a number.
func (f *fleet) agent(number string) string {
	f.t.Helper()
	var a struct{ ID string }
	if err := f.must("POST", "/v1/agents", "", object{"name": "agent of " + number}, &a); err != nil {
		f.t.Fatal(err)
	}
	if err := f.must("POST", "/v1/numbers", "", object{"phoneNumber": number, "agentId": a.ID}, nil); err != nil {
		f.t.Fatal(err)
	}
	return a.ID
}
