package endtoend

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"switchhook.dev/switchhook/internal/store/postgres/pgtest"
	"switchhook.dev/switchhook/test/trial"
)

const chosenKey = "a-key-for-the-tests-only"

// program is the real binary, running.
type program struct {
	*exec.Cmd
	url string
}

// build makes the binary once for all tests.
var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "switchhook-test-")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "switchhook")
	out, err := exec.Command("go", "build", "-o", bin, "../../cmd/switchhook").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return bin, nil
})

// cleanUp runs the tests, and removes the binary they have built.
type cleanUp struct{ *testing.M }

func (c cleanUp) Run() int {
	code := c.M.Run()
	if bin, err := build(); err == nil {
		_ = os.RemoveAll(filepath.Dir(bin))
	}
	return code
}

func TestMain(m *testing.M) {
	pgtest.Main(cleanUp{m})
}

// start runs `switchhook serve` on a database and waits until it answers.
func start(t *testing.T, database string) *program {
	t.Helper()
	return startWith(t, database, "10ms,10ms,10ms,10ms,10ms")
}

// startWith is start with a retry schedule, and more in the environment.
func startWith(t *testing.T, database, schedule string, env ...string) *program {
	t.Helper()
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "serve", "--dev", "--listen=127.0.0.1:0", "--database="+database,
		"--api-key="+chosenKey, "--retry-schedule="+schedule)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = &testWriter{t: t}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &program{Cmd: cmd}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if _, rest, ok := strings.Cut(lines.Text(), "answers at "); ok {
			p.url, _, _ = strings.Cut(rest, " ")
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return p
		}
	}
	t.Fatal("the server ended before it answered")
	return nil
}

type testWriter struct{ t *testing.T }

func (w *testWriter) Write(b []byte) (int, error) {
	fmt.Fprintf(w.t.Output(), "%s", b)
	return len(b), nil
}

// TestKillingTheServerLosesNothing kills the server with -9 again and again while
// events come in and deliveries are under way. Whatever was answered 202 arrives.
func TestKillingTheServerLosesNothing(t *testing.T) {
	database := trial.Database(t)
	r := newReceiver(t)
	p := start(t, database)
	w := &world{t: t, url: p.url, key: chosenKey}
	w.agent(avasNumber)
	w.set("", r.URL)

	accepted := map[string]bool{}
	var mu sync.Mutex
	for round := range 5 {
		var senders sync.WaitGroup
		for s := range 8 {
			senders.Go(func() {
				for i := 0; ; i++ {
					id, err := trySend(p.url, fmt.Sprintf("+1303555%04d", s), fmt.Sprintf("round %d, message %d", round, i))
					if err != nil {
						return // the server is gone: nothing was promised
					}
					mu.Lock()
					accepted[id] = true
					mu.Unlock()
				}
			})
		}
		for range 200 {
			select {
			case <-r.came:
			case <-time.After(3 * time.Minute):
				t.Fatal("deliveries no longer arrive")
			}
		}
		if err := p.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = p.Wait()
		senders.Wait()
		p = start(t, database)
	}
	w.url = p.url
	settleAll(w)
	got := map[string]int{}
	for _, in := range r.requests() {
		got[in.delivery]++
	}
	twice := 0
	for id := range accepted {
		switch {
		case got[id] == 0:
			t.Errorf("%s was answered 202 and never arrived", id)
		case got[id] > 1:
			twice++
		}
	}
	t.Logf("%d accepted over 5 kills, all arrived; %d twice, under the same id", len(accepted), twice)
}

func trySend(url, from, text string) (string, error) {
	w := &world{t: nil, url: url, key: chosenKey}
	var a accepted
	err := w.try("POST", "/v1/events", textEvent(from, avasNumber, text), &a)
	return a.DeliveryID, err
}

func TestSIGTERMFinishesWhatIsInFlightAndExitsWithZero(t *testing.T) {
	database := trial.Database(t)
	r := newReceiver(t)
	answer, release := hold()
	defer release()
	r.respond(answer)
	p := start(t, database)
	w := &world{t: t, url: p.url, key: chosenKey}
	w.agent(avasNumber)
	w.set("", r.URL)
	inFlight := w.send(customer, avasNumber, "one")
	<-r.came
	behind := w.send(customer, avasNumber, "two")
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for w.try("GET", "/healthz", nil, nil) == nil {
		time.Sleep(time.Millisecond)
	}
	release()
	if err := p.Wait(); err != nil {
		t.Fatal("exit:", err)
	}
	if n := len(r.requests()); n != 1 {
		t.Fatalf("%d requests before the restart", n)
	}
	r.respond(nil)
	p = start(t, database)
	w.url = p.url
	if d := w.delivery(inFlight.DeliveryID); d.Status != "success" || d.AttemptCount != 1 {
		t.Errorf("in flight: %+v", d)
	}
	w.untilStatus(behind.DeliveryID, "success")
	if n := len(r.requests()); n != 2 {
		t.Errorf("%d requests in all", n)
	}
}

func TestASecondServerOnTheSameFileIsRefused(t *testing.T) {
	database := sqliteFile(t)
	start(t, database)
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(bin, "serve", "--listen=127.0.0.1:0", "--database="+database).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "another Switchhook is running") {
		t.Fatalf("%v: %s", err, out)
	}
}
