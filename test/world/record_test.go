package world

import (
	"strings"
	"testing"
	"time"
)

// entry is a line of a server's log.
func entry(signature string, status int) (e struct {
	ID, StartedAt  string
	URL            string
	HTTPStatus     int
	ErrorMessage   string
	RequestHeaders map[string]string
}) {
	e.HTTPStatus, e.RequestHeaders = status, map[string]string{"X-Webhook-Signature": signature}
	if status/100 != 2 {
		e.ErrorMessage = "failed"
	}
	return e
}

// A record is only worth what it finds: each wrong that a server can do is told,
// and what is right is not.
func TestCheckFindsWhatIsWrong(t *testing.T) {
	start := time.Now()
	ask := func(r *Record, after time.Duration, path, signature, body string) {
		r.Received(Request{At: start.Add(after), Delivery: "del_1", Path: path, Signature: signature, Text: "hi", Body: body})
	}
	for name, c := range map[string]struct {
		world func(*Record, *Log)
		says  string // "" where all is well
	}{
		"well": {func(r *Record, l *Log) {
			ask(r, 0, "/a", "s1", "b")
			ask(r, time.Second, "/a", "s2", "b")
			l.Attempts = append(l.Attempts, entry("s1", 500), entry("s2", 200))
		}, ""},
		"repeated after a kill": {func(r *Record, l *Log) {
			r.Killed()
			ask(r, 0, "/a", "s1", "b")
			ask(r, time.Second, "/a", "s2", "b")
			l.Attempts = append(l.Attempts, entry("s2", 200))
		}, ""},
		"two attempts in a second, one of which did not arrive": {func(r *Record, l *Log) {
			ask(r, 0, "/a", "s1", "b")
			ask(r, time.Second, "/a", "s2", "b")
			l.Attempts = append(l.Attempts, entry("s1", 500), entry("s1", 0), entry("s2", 200))
		}, ""},
		"missing": {func(r *Record, l *Log) { l.ID = "" }, "is missing"},
		"never arrived": {func(r *Record, l *Log) {
			l.Attempts = append(l.Attempts, entry("s1", 200))
		}, "nobody received"},
		"two endpoints": {func(r *Record, l *Log) {
			ask(r, 0, "/a", "s1", "b")
			ask(r, time.Second, "/b", "s2", "b")
			l.Attempts = append(l.Attempts, entry("s1", 500), entry("s2", 200))
		}, "reached 2 endpoints"},
		"repeated without a kill": {func(r *Record, l *Log) {
			ask(r, 0, "/a", "s1", "b")
			ask(r, time.Second, "/a", "s2", "b")
			l.Attempts = append(l.Attempts, entry("s2", 200))
		}, "no kill explains it"},
		"sent after its end": {func(r *Record, l *Log) {
			r.Killed()
			ask(r, 0, "/a", "s1", "b")
			ask(r, time.Second, "/a", "s2", "b")
			l.Attempts = append(l.Attempts, entry("s1", 200))
		}, "after it was final"},
		"other bytes": {func(r *Record, l *Log) {
			ask(r, 0, "/a", "s1", "b")
			ask(r, time.Second, "/a", "s2", "c")
			l.Attempts = append(l.Attempts, entry("s1", 500), entry("s2", 200))
		}, "different bytes"},
		"pending": {func(r *Record, l *Log) { l.Status = "pending" }, "still pending"},
		"failed for no reason": {func(r *Record, l *Log) {
			ask(r, 0, "/a", "s1", "b")
			l.Status, l.ErrorMessage = "failed", "answered 500"
			l.Attempts = append(l.Attempts, entry("s1", 500))
		}, "failed after 1 attempts"},
		"unrouted, and sent": {func(r *Record, l *Log) {
			ask(r, 0, "/a", "s1", "b")
			l.Status = "unrouted"
		}, "was sent to /a"},
		"accepted twice": {func(r *Record, l *Log) {
			r.Accepted("evt_1", "hi")
			r.Accepted("evt_2", "hi")
		}, "accepted twice"},
		"long after its webhook": {func(r *Record, l *Log) {
			r.Deleted("/a")
			ask(r, time.Hour, "/a", "s1", "b")
			l.Attempts = append(l.Attempts, entry("s1", 200))
		}, "was deleted"},
	} {
		r, l := NewRecord(), &Log{ID: "del_1", Status: "success"}
		r.Accepted("evt_1", "hi")
		c.world(r, l)
		_, wrong := r.Check(6, func(id string) (Log, bool) { return *l, id == l.ID })
		switch all := strings.Join(wrong, "; "); {
		case c.says == "" && all != "":
			t.Errorf("%s: %s", name, all)
		case !strings.Contains(all, c.says):
			t.Errorf("%s: it says %q, and not %q", name, all, c.says)
		}
	}
}
