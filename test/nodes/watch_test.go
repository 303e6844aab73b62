package nodes

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"switchhook.dev/switchhook/internal/store/postgres/pgtest"
)

// watched is what a stream of deliveries has shown.
type watched struct {
	mu    sync.Mutex
	shown map[string]int // by delivery, attempts and status
}

func (w *watched) times(state string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.shown[state]
}

// watch reads a node's stream of deliveries, from when it returns on.
func (f *fleet) watch(n *node) *watched {
	f.t.Helper()
	resp := f.stream(n, http.MethodGet, "/v1/deliveries/stream", "text/event-stream", nil)
	w := &watched{shown: map[string]int{}}
	lines := bufio.NewScanner(resp.Body)
	if !lines.Scan() { // its first line says that it is open
		f.t.Fatal(lines.Err())
	}
	go func() {
		for lines.Scan() {
			data, ok := strings.CutPrefix(lines.Text(), "data: ")
			if !ok {
				continue
			}
			var d struct {
				ID, Status   string
				AttemptCount int
			}
			if err := json.Unmarshal([]byte(data), &d); err != nil {
				if f.t.Context().Err() == nil { // else the test is over, in the middle of a line
					f.t.Error(err)
				}
				return
			}
			w.mu.Lock()
			w.shown[fmt.Sprint(d.ID, " ", d.AttemptCount, " ", d.Status)]++
			w.mu.Unlock()
		}
	}()
	return w
}

// TestEveryNodeShowsWhatAllDo: behind a balancer nobody knows which node has their
// stream, and which one takes an event in or delivers it.
func TestEveryNodeShowsWhatAllDo(t *testing.T) {
	f := newFleetOf(t, pgtest.Start(t, pgtest.Options{}).Database(t), 3, "20s")
	in := newInbox(t)
	agent := f.agent("+12025550000")
	if err := f.must("POST", "/v1/agents/"+agent+"/webhook", "", object{"url": in.URL}, nil); err != nil {
		t.Fatal(err)
	}
	send := func(n int) string {
		t.Helper()
		return f.text(f.nodes[n%3], fmt.Sprintf("+1303555%04d", n%4), "+12025550000")
	}
	before := send(1)
	select {
	case <-in.came:
	case <-time.After(patience):
		t.Fatal("nothing came")
	}
	var streams []*watched
	for _, n := range f.nodes {
		streams = append(streams, f.watch(n))
	}
	var ids []string
	for n := range 60 {
		ids = append(ids, send(n))
	}
	for i, s := range streams {
		for _, id := range ids {
			for deadline := time.Now().Add(patience); s.times(id+" 1 success") == 0; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("node %d never shows that %s was delivered", i, id)
				}
			}
		}
	}
	for i, s := range streams {
		s.mu.Lock()
		for state, n := range s.shown {
			if n > 1 || strings.HasPrefix(state, before) && !strings.Contains(state, "1 success") {
				t.Errorf("node %d shows %q %d times", i, state, n)
			}
		}
		s.mu.Unlock()
	}
}
