package deliver

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"switchhook.dev/switchhook/internal/phone"
)

func TestWindow(t *testing.T) {
	ok := &phone.Result{Status: phone.Success, Attempt: phone.Attempt{HTTPStatus: 200}}
	answered := func(status int) *phone.Result {
		return &phone.Result{Status: phone.Pending, Attempt: phone.Attempt{HTTPStatus: status}}
	}
	var w window
	for _, step := range []struct {
		what  string
		res   *phone.Result
		times int
		want  int
	}{
		{"nothing yet", ok, 0, firstWindow},
		{"each success earns one", ok, 3, firstWindow + 3},
		{"up to the limit", ok, 100, 32},
		{"an error says nothing of the load", answered(500), 5, 32},
		{"no answer halves it", answered(0), 1, 16},
		{"so does 429", answered(429), 1, 8},
		{"and 503", answered(503), 1, 4},
		{"down to the first", answered(0), 9, firstWindow},
		{"and it grows again", ok, 1, firstWindow + 1},
	} {
		for range step.times {
			w.judge(step.res, 32)
		}
		if w.size() != step.want {
			t.Errorf("%s: %d requests, want %d", step.what, w.size(), step.want)
		}
	}
	small := window{}
	small.judge(ok, 2)
	if small.size() != firstWindow {
		t.Errorf("a limit below the first window: %d", small.size())
	}
}

// An endpoint that answered and then hangs has at most its limit in flight.
func TestAnEndpointThatStopsAnsweringKeepsToItsLimit(t *testing.T) {
	l := newLedger(t)
	l.webhook("wh_1")
	start := time.Now()
	n := newNetwork(func(string, string) (int, time.Duration) {
		if time.Since(start) < time.Minute {
			return 200, time.Second
		}
		return 200, 24 * time.Hour
	})
	run(t, l, n, func(t *testing.T, d *Dispatcher) {
		synctest.Wait()
		start = time.Now()
		for i := range 2000 {
			l.push(d, i, "wh_1", fmt.Sprint("c", i))
		}
		elapse(2 * time.Minute)
		if n.most["wh-1"] != DefaultPerEndpoint {
			t.Errorf("%d requests in flight, want its limit, %d", n.most["wh-1"], DefaultPerEndpoint)
		}
	})
}
