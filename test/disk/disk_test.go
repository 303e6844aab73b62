// Package disk tests what happens when the disk does not take what is written: a
// running server refuses, says why, promises nothing, and goes on by itself.
package disk

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"switchhook.dev/switchhook/test/world"
)

// site is a server on a disk that can be broken.
type site struct {
	*testing.T
	client   *world.Client
	record   *world.Record
	receiver *world.Receiver
	program  *world.Program
	sent     int
}

// build makes the program once for all tests.
var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "switchhook-test-")
	if err != nil {
		return "", err
	}
	return world.Build(context.Background(), dir, false)
})

func TestMain(m *testing.M) {
	code := m.Run()
	if bin, err := build(); err == nil {
		_ = os.RemoveAll(filepath.Dir(bin))
	}
	os.Exit(code)
}

func newSite(t *testing.T, dir string) *site {
	t.Helper()
	binary, err := build()
	if err != nil {
		t.Fatal(err)
	}
	s := &site{T: t, client: world.NewClient(), record: world.NewRecord()}
	if s.receiver, err = world.NewReceiver("127.0.0.1", s.record, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.receiver.Close)
	s.program, err = world.Start(world.Options{
		Binary: binary, Database: "sqlite:" + filepath.Join(dir, "disk.db"), Log: t.Output(),
		Args: []string{"--retry-schedule=100ms,200ms,500ms"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.program.Kill)
	s.client.Point(s.program.URL)
	var agent struct{ ID string }
	s.ok("POST", "/v1/agents", map[string]any{"name": "a"}, &agent)
	s.ok("POST", "/v1/numbers", map[string]any{"phoneNumber": "+12025550100", "agentId": agent.ID}, nil)
	s.ok("POST", "/v1/webhooks", map[string]any{"url": s.receiver.URL("/hook")}, nil)
	return s
}

func (s *site) ok(method, path string, body, into any) {
	s.Helper()
	if status, answer, err := s.client.Do(method, path, "", body, into); err != nil || status != 200 && status != 201 {
		s.Fatalf("%s %s: %d %s %v", method, path, status, answer, err)
	}
}

// send hands one event in, of so many bytes, and returns what it was answered.
func (s *site) send(size int) (status int, answer string) {
	s.Helper()
	s.sent++
	text := fmt.Sprintf("text-%d %s", s.sent, strings.Repeat("x", size))
	var a struct{ ID string }
	status, b, err := s.client.Do("POST", "/v1/events", "", map[string]any{"event": "agent.message", "channel": "sms",
		"data": map[string]any{"from": fmt.Sprintf("+1303555%04d", s.sent%50), "to": "+12025550100", "message": text}}, &a)
	if err != nil {
		s.Fatal(err)
	}
	if status == http.StatusAccepted {
		s.record.Accepted(a.ID, text)
	}
	return status, string(b)
}

// refuses sees the server refuse events, and say so.
func (s *site) refuses(why string) {
	s.Helper()
	status, answer := http.StatusAccepted, ""
	for deadline := time.Now().Add(2 * time.Minute); status == http.StatusAccepted; {
		if status, answer = s.send(2000); time.Now().After(deadline) {
			s.Fatal("events are accepted all the while")
		}
	}
	if status != http.StatusServiceUnavailable || !strings.Contains(answer, why) {
		s.Errorf("%d %s, want 503 and %q", status, answer, why)
	}
	for range 50 {
		s.send(2000)
	}
	if status, answer, err := s.client.Do("GET", "/readyz", "", nil, nil); err != nil || status != http.StatusServiceUnavailable || !strings.Contains(string(answer), why) {
		s.Errorf("/readyz: %d %s %v", status, answer, err)
	}
	if status, answer, err := s.client.Do("GET", "/healthz", "", nil, nil); err != nil || status != http.StatusOK {
		s.Errorf("/healthz: %d %s %v", status, answer, err)
	}
	s.ok("GET", "/v1/webhooks/deliveries", nil, nil) // what was is readable
}

// goesOn sees the server go on by itself: it is asked for nothing but whether it is
// ready. All that was accepted, and nothing else, is in its log and arrives.
func (s *site) goesOn() {
	s.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if status, answer, err := s.client.Do("GET", "/readyz", "", nil, nil); err == nil && status == http.StatusOK {
			break
		} else if time.Now().After(deadline) {
			s.Fatalf("it does not go on: %d %s %v", status, answer, err)
		}
	}
	for range 20 {
		if status, answer := s.send(100); status != http.StatusAccepted {
			s.Fatalf("with room again: %d %s", status, answer)
		}
	}
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		var list struct{ Total int }
		s.ok("GET", "/v1/webhooks/deliveries?limit=1&status=pending", nil, &list)
		if list.Total == 0 {
			break
		}
		if time.Now().After(deadline) {
			s.Fatalf("%d stay pending", list.Total)
		}
	}
	f, wrong := s.record.Check(4, func(id string) (l world.Log, known bool) {
		status, _, err := s.client.Do("GET", "/v1/deliveries/"+id, "", nil, &l)
		return l, err == nil && status == http.StatusOK
	})
	for _, w := range wrong {
		s.Error(w)
	}
	var list struct{ Total int }
	if s.ok("GET", "/v1/webhooks/deliveries?limit=1", nil, &list); list.Total != f.Accepted {
		s.Errorf("%d deliveries are kept of %d events that were accepted", list.Total, f.Accepted)
	}
	if f.Statuses["success"] != f.Accepted || f.Repeats != 0 {
		s.Errorf("%+v", f)
	}
	s.Logf("%d sent, %d accepted and delivered, %d refused", s.sent, f.Accepted, s.sent-f.Accepted)
}

// Every write fails, wherever it goes: a limit on the size of files does that, and
// needs nothing of the machine.
func TestADiskThatTakesNothing(t *testing.T) {
	s := newSite(t, t.TempDir())
	for range 20 {
		s.send(100)
	}
	limit := func(bytes uint64) {
		if err := unix.Prlimit(s.program.PID(), unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: bytes, Max: unix.RLIM_INFINITY}, nil); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		limit(0)
		s.refuses("the disk under the database fails")
		limit(unix.RLIM_INFINITY)
		s.goesOn()
	}
}

// A file system of a few megabytes, filled up by somebody else.
func TestAFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=8m"); err != nil {
		t.Skip("needs the right to mount a file system:", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	s := newSite(t, dir)
	ballast := filepath.Join(dir, "ballast")
	for range 2 {
		fill(t, ballast)
		s.refuses("the disk is full")
		s.isNotReadyFor(ballast)
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		s.goesOn()
	}
}

// isNotReadyFor frees a page at a time: while events are refused the server must not
// say that it is ready, though something smaller would find room.
func (s *site) isNotReadyFor(ballast string) {
	s.Helper()
	refused := 0
	for range 8 {
		info, err := os.Stat(ballast)
		if err != nil {
			s.Fatal(err)
		}
		if err := os.Truncate(ballast, info.Size()-4096); err != nil {
			s.Fatal(err)
		}
		if status, _ := s.send(2000); status == http.StatusAccepted {
			break
		}
		refused++
		if status, answer, err := s.client.Do("GET", "/readyz", "", nil, nil); err != nil || status != http.StatusServiceUnavailable {
			s.Errorf("an event was refused with %d pages free, and /readyz says: %d %s %v", refused, status, answer, err)
		}
	}
	s.Logf("refused with up to %d pages free", refused)
}

// fill takes what room there is.
func fill(t *testing.T, path string) {
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(block)
	}
	if err != io.ErrShortWrite && !strings.Contains(err.Error(), "no space") {
		t.Fatal(err)
	}
}
