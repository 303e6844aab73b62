package voice

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"switchhook.dev/switchhook/internal/phone"
)

// step is something a webhook does: after a pause it sends a piece of the body, or
// ends with an error.
type step struct {
	after time.Duration
	send  string
	err   error
}

func send(s string) step                         { return step{send: s} }
func later(after time.Duration, s string) step   { return step{after: after, send: s} }
func breaks(after time.Duration, err error) step { return step{after: after, err: err} }
func pieces(s string, n int) (out []step)        { return cutUp(s, n, 0) }
func cutUp(s string, n int, d time.Duration) (out []step) {
	for len(s) > 0 {
		n := min(n, len(s))
		out = append(out, step{after: d, send: s[:n]})
		s = s[n:]
	}
	return out
}

// never is a webhook that says nothing more and does not hang up.
var never = breaks(24*time.Hour, io.EOF)

// webhook answers as a script says. It obeys the request's context, as a
// transport does.
type webhook struct {
	status int
	header http.Header
	wait   time.Duration // before the header
	refuse error
	body   []step
	ctx    context.Context
	closed bool
}

func (w *webhook) Do(ctx context.Context) (*http.Response, error) {
	w.ctx = ctx
	if err := w.sleep(w.wait); err != nil {
		return nil, err
	}
	if w.refuse != nil {
		return nil, w.refuse
	}
	return &http.Response{StatusCode: w.status, Header: w.header, Body: w}, nil
}

func (w *webhook) Explain(err error) string { return "explained: " + err.Error() }

func (w *webhook) sleep(d time.Duration) error {
	if w.ctx.Err() != nil {
		return w.ctx.Err()
	}
	if d == 0 {
		return nil
	}
	select {
	case <-time.After(d):
		return nil
	case <-w.ctx.Done():
		return w.ctx.Err()
	}
}

func (w *webhook) Read(p []byte) (int, error) {
	if len(w.body) == 0 {
		return 0, io.EOF
	}
	s := &w.body[0]
	if err := w.sleep(s.after); err != nil {
		return 0, err
	}
	s.after = 0
	if s.err != nil {
		return 0, s.err
	}
	n := copy(p, s.send)
	if s.send = s.send[n:]; s.send == "" {
		w.body = w.body[1:]
	}
	return n, nil
}

func (w *webhook) Close() error { w.closed = true; return nil }

func zipped(s string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, s)
	_ = z.Close()
	return b.String()
}

// flushed is gzip that is flushed after each line, as a streaming server's is.
func flushed(lines ...string) (out []step) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	for _, l := range lines {
		_, _ = io.WriteString(z, l)
		_ = z.Flush()
		out = append(out, later(time.Second, b.String()))
		b.Reset()
	}
	return append(out, never)
}

const (
	ndjson = "application/x-ndjson"
	object = "application/json"
)

// interim and closing are lines of a stream.
func interim(text string) string { return `{"text":"` + text + `","interim":true}` + "\n" }
func closing(text string) string { return `{"text":"` + text + `"}` + "\n" }

func TestEveryRuleOfAnAnswer(t *testing.T) {
	const timeout = 5 * time.Second
	long := strings.Repeat("x", MaxLine)
	for _, c := range []struct {
		name   string
		kind   string // Content-Type
		zip    string // Content-Encoding
		status int    // 200 where it is 0
		wait   time.Duration
		refuse error
		body   []step
		// what happens to the caller meanwhile
		interrupt error
		after     time.Duration
		deaf      int // say fails from this line on; 0 for never

		lines string // what was passed on, each with when
		end   End
		note  string // part of it; "" for none
		reply string // "" is not looked at
	}{
		// One object.
		{name: "an object", kind: object, body: []step{send(`{"text":"hi"}`)}, lines: "0s hi", end: Answered, reply: `{"text":"hi","chunks":1}`},
		{name: "an object without a type", body: []step{send(`{"text":"hi"}`)}, lines: "0s hi", end: Answered},
		{name: "an object of a type with parameters", kind: "application/json; charset=utf-8", body: []step{send(`{"text":"hi"}`)}, lines: "0s hi", end: Answered},
		{name: "an object over several lines", kind: object, body: []step{send("{\n  \"text\": \"hi\",\r\n  \"a\": [1,\n 2]\n}\n")}, lines: "0s hi", end: Answered, reply: `{"text":"hi","a":[1,2],"chunks":1}`},
		{name: "an object byte by byte", kind: object, body: pieces(`{"text":"{\"]}\\"}`, 1), lines: `0s {"]}\`, end: Answered},
		{name: "an object, and the connection stays open", kind: object, body: []step{later(time.Second, `{"text":"hi"}`), never}, lines: "1s hi", end: Answered},
		{name: "an object after white space", kind: object, body: []step{send(" \r\n\t"), send(`{"text":"hi"}`)}, lines: "0s hi", end: Answered},
		{name: "a byte order mark", kind: object, body: []step{send("\xef"), send("\xbb\xbf"), send(`{"text":"hi"}`)}, lines: "0s hi", end: Answered},
		{name: "further keys", kind: object, body: []step{send(`{"text":"bye","hangup":true,"meta":{"a": 1.10}}`)}, lines: "0s bye", end: Answered, reply: `{"text":"bye","hangup":true,"meta":{"a": 1.10},"chunks":1}`},
		{name: "only further keys", kind: object, body: []step{send(`{"action":"transfer"}`)}, lines: "0s ", end: Answered, reply: `{"text":"","action":"transfer","chunks":1}`},
		{name: "a text that is no string", kind: object, body: []step{send(`{"text":5}`)}, lines: "0s ", end: Answered, reply: `{"text":"","chunks":1}`},
		{name: "several objects as JSON", kind: object, body: []step{send(`{"text":"a","interim":true}`), later(time.Second, `{"text":"b"}`)}, lines: "0s a, 1s b", end: Answered, reply: `{"text":"a b","chunks":2}`},
		{name: "objects, then none", kind: object, body: []step{send(`{"text":"a","interim":true} and so on`)}, lines: "0s a", end: Malformed, note: "what follows object 1"},
		{name: "the first object closes", kind: object, body: []step{send(`{"text":"a"}{"text":"b"}`)}, lines: "0s a", end: Answered},

		// No object: ignored.
		{name: "an empty body", kind: object, end: Silent, note: "empty", reply: `{"text":"","chunks":0}`},
		{name: "204", status: 204, end: Silent, note: "empty"},
		{name: "a string", kind: object, body: []step{send(`"ok"`)}, end: Silent, note: "no JSON object"},
		{name: "a list", kind: object, body: []step{send(`[{"text":"hi"}]`)}, end: Silent, note: "no JSON object"},
		{name: "null", kind: object, body: []step{send("null")}, end: Silent, note: "no JSON object"},
		{name: "text", kind: "text/plain", body: []step{send("ok"), never}, end: Silent, note: "no JSON object"},
		{name: "HTML", kind: "text/html", body: []step{send("<html>")}, end: Silent, note: "no JSON object"},
		{name: "braces, but no JSON", kind: object, body: []step{send("{text: hi}")}, end: Silent, note: "no JSON object"},
		{name: "half an object", kind: object, body: []step{send(`{"text":"hi`)}, end: Silent, note: "cut off"},
		{name: "no UTF-8", kind: object, body: []step{send("{\"text\":\"\xff\"}")}, end: Silent, note: "no JSON object"},

		// Lines.
		{name: "one line", kind: ndjson, body: []step{send(closing("hi"))}, lines: "0s hi", end: Answered},
		{name: "one line, and the connection stays open", kind: ndjson, body: []step{send(closing("hi")), never}, lines: "0s hi", end: Answered},
		{name: "lines as they come", kind: ndjson, body: []step{send(interim("one")), later(2*time.Second, interim("two")), later(4*time.Second, closing("three"))}, lines: "0s one, 2s two, 6s three", end: Answered, reply: `{"text":"one two three","chunks":3}`},
		{name: "a line in pieces", kind: ndjson, body: cutUp(interim("one")+closing("two"), 7, 100*time.Millisecond), lines: "500ms one, 700ms two", end: Answered},
		{name: "a split character", kind: ndjson, body: pieces(interim("Grüße")+closing("😀"), 1), lines: "0s Grüße, 0s 😀", end: Answered},
		{name: "CR LF and empty lines", kind: ndjson, body: []step{send("\r\n\n{\"text\":\"a\",\"interim\":true}\r\n\r\n{\"text\":\"b\"}\r\n")}, lines: "0s a, 0s b", end: Answered},
		{name: "empty lines do not count", kind: ndjson, body: cutUp("\n\n\n\n\n\n\n", 1, time.Second), end: TimedOut, note: "no line came within 5s"},
		{name: "the last line without its break", kind: ndjson, body: []step{send(interim("a")), send(`{"text":"b"}`)}, lines: "0s a, 0s b", end: Answered},
		{name: "what follows the closing line", kind: ndjson, body: []step{send(interim("a") + closing("b") + "rubbish" + closing("c"))}, lines: "0s a, 0s b", end: Answered},
		{name: "interim that is not true", kind: ndjson, body: []step{send(`{"text":"a","interim":"true"}` + "\n"), never}, lines: "0s a", end: Answered},
		{name: "interim in capitals is another key", kind: ndjson, body: []step{send(`{"text":"a","Interim":true}` + "\n"), never}, lines: "0s a", end: Answered},
		{name: "interim lines and the end", kind: ndjson, body: []step{send(interim("a"))}, lines: "0s a", end: Answered, note: "without a closing line"},
		{name: "an empty stream", kind: ndjson, end: Silent, note: "empty"},
		{name: "keys of several lines", kind: ndjson, body: []step{send(`{"a":1,"text":"x ","b":1,"interim":true}` + "\n" + `{"b":2,"text":"y","chunks":9}` + "\n")}, lines: "0s x , 0s y", end: Answered, reply: `{"text":"x y","a":1,"b":2,"chunks":2}`},

		// Faults of a stream: what was good was passed on.
		{name: "a line that is not JSON", kind: ndjson, body: []step{send(interim("a") + "oops\n" + closing("b"))}, lines: "0s a", end: Malformed, note: "line 2 of the answer is no JSON object", reply: `{"text":"a","error":"line 2 of the answer is no JSON object: send one object a line","chunks":1}`},
		{name: "a line that is no object", kind: ndjson, body: []step{send("[1]\n")}, end: Malformed, note: "line 1"},
		{name: "an object over several lines as NDJSON", kind: ndjson, body: []step{send("{\n\"text\":\"a\"}\n")}, end: Malformed, note: "line 1"},
		{name: "two objects on a line", kind: ndjson, body: []step{send(`{"text":"a"}{"text":"b"}` + "\n")}, end: Malformed, note: "line 1"},
		{name: "a line that is no UTF-8", kind: ndjson, body: []step{send(interim("a") + "{\"text\":\"\xff\"}\n")}, lines: "0s a", end: Malformed, note: "line 2"},
		{name: "a line cut off by the end", kind: ndjson, body: []step{send(interim("a") + `{"text":"b`)}, lines: "0s a", end: Malformed, note: "line 2"},
		{name: "a long line", kind: ndjson, body: []step{send(interim("a")), send(closing(long))}, lines: "0s a", end: Malformed, note: "line 2 of the answer is longer than 64 KiB"},
		{name: "a long line without an end", kind: ndjson, body: []step{send(long), send("x"), never}, end: Malformed, note: "line 1 of the answer is longer than 64 KiB"},
		{name: "a long object", kind: object, body: []step{send(`{"text":"` + long + `"}`)}, end: Malformed, note: "longer than 64 KiB"},
		{name: "the longest line", kind: ndjson, body: []step{send(`{"x":"` + long[8:] + `"}` + "\n")}, lines: "0s ", end: Answered},
		{name: "an endless stream", kind: ndjson, body: cutUp(strings.Repeat(interim(strings.Repeat("x", 50_000)), 30), 4096, time.Millisecond), end: Malformed, note: "longer than 1 MiB", lines: "-"},
		{name: "an endless slow stream", kind: ndjson, body: cutUp(strings.Repeat(interim("on and on"), 1000), len(interim("on and on")), 4*time.Second), end: Malformed, note: "more than 10m0s", lines: "-"},

		// Time.
		{name: "no header", wait: 6 * time.Second, end: TimedOut, note: "no line came within 5s"},
		{name: "a header and no line", kind: ndjson, body: []step{never}, end: TimedOut, note: "no line came within 5s"},
		{name: "half a line", kind: ndjson, body: []step{send(`{"text":"a`), never}, end: TimedOut, note: "no line came"},
		{name: "the header's wait counts", kind: ndjson, wait: 3 * time.Second, body: []step{later(3*time.Second, closing("a"))}, end: TimedOut, note: "no line came"},
		{name: "just in time", kind: ndjson, wait: 4 * time.Second, body: []step{later(900*time.Millisecond, interim("a")), later(4900*time.Millisecond, closing("b"))}, lines: "4.9s a, 9.8s b", end: Answered},
		{name: "the second line does not come", kind: ndjson, body: []step{send(interim("a")), never}, lines: "0s a", end: TimedOut, note: "line 2 did not come within 5s", reply: `{"text":"a","error":"timeout: line 2 did not come within 5s of the one before it: answer faster, or raise the webhook's timeout","chunks":1}`},
		{name: "half a second line", kind: ndjson, body: append([]step{send(interim("a"))}, cutUp(closing("b"), 2, 2*time.Second)...), lines: "0s a", end: TimedOut, note: "line 2"},

		// Faults of the connection, and of the server.
		{name: "refused", refuse: errors.New("refused"), end: Unreachable, note: "explained: refused"},
		{name: "cut off before a line", kind: ndjson, body: []step{breaks(0, io.ErrUnexpectedEOF)}, end: CutOff, note: "explained: unexpected EOF"},
		{name: "cut off after a line", kind: ndjson, body: []step{send(interim("a")), breaks(time.Second, io.ErrUnexpectedEOF)}, lines: "0s a", end: CutOff, note: "explained"},
		{name: "500", status: 500, kind: object, body: []step{send(`{"text":"hi"}`)}, end: Status},
		{name: "500 and the connection stays open", status: 500, body: []step{send("oops"), never}, end: Status},
		{name: "a redirect", status: 302, end: Status},
		{name: "410", status: 410, end: Status},

		// Compressed.
		{name: "gzip", kind: object, zip: "gzip", body: []step{send(zipped(`{"text":"hi"}`))}, lines: "0s hi", end: Answered},
		{name: "gzip, streamed", kind: ndjson, zip: "gzip", body: flushed(interim("a"), closing("b")), lines: "1s a, 2s b", end: Answered},
		{name: "gzip in pieces", kind: ndjson, zip: "X-Gzip", body: pieces(zipped(interim("a")+closing("b")), 3), lines: "0s a, 0s b", end: Answered},
		{name: "gzip that is none", kind: object, zip: "gzip", body: []step{send(`{"text":"hi, I am no gzip"}`)}, end: Malformed, note: "and is not"},
		{name: "gzip cut off", kind: object, zip: "gzip", body: []step{send(zipped(`{"text":"hi"}`)[:15])}, end: CutOff, note: "explained"},
		{name: "a bomb", kind: ndjson, zip: "gzip", body: []step{send(zipped(strings.Repeat("x", 64<<20)))}, end: Malformed, note: "longer than 64 KiB"},
		{name: "brotli", kind: object, zip: "br", body: []step{send("…")}, end: Malformed, note: `Content-Encoding "br"`},
		{name: "identity", kind: object, zip: "identity", body: []step{send(`{"text":"hi"}`)}, lines: "0s hi", end: Answered},

		// The caller.
		{name: "the caller hangs up before", interrupt: ErrHungUp, wait: 2 * time.Second, after: time.Second, end: HungUp, note: "hung up"},
		{name: "the caller hangs up within", interrupt: context.Canceled, kind: ndjson, body: []step{send(interim("a")), never}, after: time.Second, lines: "0s a", end: HungUp, note: "hung up"},
		{name: "the caller hears nothing more", kind: ndjson, body: []step{send(interim("a") + interim("b")), never}, deaf: 2, lines: "0s a", end: HungUp, note: "hung up"},
		{name: "superseded", interrupt: ErrSuperseded, kind: ndjson, body: []step{send(interim("a")), later(2*time.Second, closing("late"))}, after: time.Second, lines: "0s a", end: Superseded, note: "superseded"},
		{name: "stopped", interrupt: ErrStopped, kind: ndjson, body: []step{never}, after: time.Second, end: Stopped, note: "server was stopped"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &webhook{status: c.status, header: http.Header{}, wait: c.wait, refuse: c.refuse, body: c.body}
				if c.status == 0 {
					w.status = 200
				}
				w.header.Set("Content-Type", c.kind)
				w.header.Set("Content-Encoding", c.zip)
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				if c.interrupt != nil {
					time.AfterFunc(c.after, func() { cancel(c.interrupt) })
				}
				start := time.Now()
				var lines []string
				out := Ask(ctx, w, timeout, func(l Line) error {
					if c.deaf > 0 && len(lines)+1 >= c.deaf {
						return io.ErrClosedPipe
					}
					if !json.Valid(l.JSON) || bytes.ContainsAny(l.JSON, "\r\n") {
						t.Errorf("%q was passed on", l.JSON)
					}
					lines = append(lines, fmt.Sprint(time.Since(start), " ", l.Text))
					return nil
				})
				if got := strings.Join(lines, ", "); got != c.lines && c.lines != "-" {
					t.Errorf("passed on: %s, want %s", got, c.lines)
				}
				if out.End != c.end || !strings.Contains(out.Note, c.note) || (c.note == "") != (out.Note == "") {
					t.Errorf("%s (%q), want %s (%q)", out.End, out.Note, c.end, c.note)
				}
				if got := string(out.Reply.JSON(out.Fault())); c.reply != "" && got != c.reply {
					t.Errorf("%s, want %s", got, c.reply)
				}
				if (out.FirstLine > 0) != (len(lines) > 0) || out.Reply.Chunks() != len(lines) {
					t.Errorf("first line after %s, %d chunks of %v", out.FirstLine, out.Reply.Chunks(), lines)
				}
				want := phone.Success
				if c.end != Answered && c.end != Silent {
					want = phone.Failed
				}
				if out.Delivery() != want {
					t.Errorf("%s, want %s", out.Delivery(), want)
				}
				time.Sleep(drainTime + time.Millisecond)
				synctest.Wait()
				if w.ctx != nil && w.ctx.Err() == nil {
					t.Error("the request goes on")
				}
			})
		})
	}
}

func TestWhatIsKeptOfAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, status := range []int{200, 500} {
			w := &webhook{status: status, header: http.Header{}, body: pieces(strings.Repeat("ü", 5000), 1001)}
			out := Ask(t.Context(), w, time.Second, func(Line) error { return nil })
			if len(out.Kept) > keptBody+2 || !utf8.ValidString(out.Kept) || out.HTTPStatus != status {
				t.Errorf("%d: %d bytes, of which the last are %q", status, len(out.Kept), out.Kept[len(out.Kept)-8:])
			}
			synctest.Wait()
			if !w.closed {
				t.Error("the body was not closed")
			}
		}
	})
}

// A turn whose caller is gone already asks nobody.
func TestNobodyIsAskedForACallerWhoIsGone(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(ErrSuperseded)
	w := &webhook{}
	if out := Ask(ctx, w, time.Second, nil); out.End != Superseded || w.ctx != nil {
		t.Errorf("%+v", out)
	}
}

// FuzzAnswer: whatever comes, in whatever pieces, what is passed on is objects on
// one line each, the pieces make no difference, and the end is an end.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{
		"", "ok", "{}", `{"text":"hi"}`, "[1]\n", "\xef\xbb\xbf{\"text\":\"a\"}", "{\"text\":\"\xff\"}\n", "{\"a\":\n{}}", "null\n{}\n",
		interim("a") + closing("b"), interim("Grüße") + interim("😀"), "\r\n" + closing("a") + "rest", `{"interim":true}{"interim":true}x`,
		`{"text":"}{\"\\"}`, "{\"text\":\"a\\", strings.Repeat("[", 100), `{"a":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + "}",
		`{"text":"` + strings.Repeat("x", MaxLine) + `"}`, "{]\n", `{"interim":true,"interim":false}`, "\xef\xbb", "\xef\xbb\n",
	} {
		for _, lined := range []bool{false, true} {
			f.Add([]byte(s), lined, 1)
			f.Add([]byte(s), lined, 4096)
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, lined bool, size int) {
		kind := object
		if lined {
			kind = ndjson
		}
		whole, whole1 := feed(t, kind, body, max(1, len(body)))
		parts, parts1 := feed(t, kind, body, max(1, size&0xffff))
		if len(body) < MaxLine && (fmt.Sprint(whole) != fmt.Sprint(parts) || whole1.note != parts1.note || whole1.broken != parts1.broken) {
			t.Errorf("whole: %q %q; in pieces of %d: %q %q", whole, whole1.note, size, parts, parts1.note)
		}
	})
}

func feed(t *testing.T, kind string, body []byte, size int) (out []string, a *Answer) {
	a = NewAnswer(kind)
	var lines []Line
	for len(body) > 0 && !a.Ended() {
		n := min(size, len(body))
		lines = append(lines, a.Feed(body[:n])...)
		body = body[n:]
	}
	lines = append(lines, a.End()...)
	var r Reply
	for i, l := range lines {
		r.Add(l)
		var o map[string]json.RawMessage
		if err := json.Unmarshal(l.JSON, &o); err != nil || o == nil || bytes.ContainsAny(l.JSON, "\r\n") || len(l.JSON) > MaxLine {
			t.Errorf("%q was passed on: %v", l.JSON, err)
		}
		if !l.Interim && i < len(lines)-1 {
			t.Errorf("%q did not close", l.JSON)
		}
		out = append(out, string(l.JSON))
	}
	if !a.Ended() || a.broken && a.note == "" {
		t.Errorf("ended %v, broken %v, %q", a.Ended(), a.broken, a.note)
	}
	if b := r.JSON("x"); !json.Valid(b) {
		t.Errorf("%q is the reply", b)
	}
	return out, a
}
