package endtoend

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/hex"
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
	"testing"
	"time"
)

// play is what a receiver is to do. The three of them, in Go here and in Node and
// Python in test/receivers, read it from the query of the webhook's URL.
type play struct {
	Deaf   bool              `json:"deaf,omitempty"` // never answers
	Rude   bool              `json:"rude,omitempty"` // closes the connection instead
	Status int               `json:"status,omitempty"`
	Header map[string]string `json:"header,omitempty"`
	// Steps are ["send", hex, times], ["wait", milliseconds], ["die"] (the connection breaks)
	// and ["hang"] (nothing more, and it stays open); then the answer ends.
	Steps [][]any `json:"steps,omitempty"`
}

func sends(pieces ...string) (steps [][]any) {
	for _, p := range pieces {
		steps = append(steps, []any{"send", hex.EncodeToString([]byte(p))})
	}
	return steps
}

var (
	dies  = []any{"die", 0}
	hangs = []any{"hang", 0}
)

// goReceiver is the one in Go.
func goReceiver(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	var p play
	if err := json.Unmarshal([]byte(r.URL.Query().Get("play")), &p); err != nil {
		panic(err)
	}
	if p.Deaf {
		<-r.Context().Done()
	}
	if p.Rude {
		panic(http.ErrAbortHandler)
	}
	for name, value := range p.Header {
		w.Header().Set(name, value)
	}
	if p.Status != 0 {
		w.WriteHeader(p.Status)
	}
	flush := http.NewResponseController(w).Flush
	_ = flush()
	for _, s := range p.Steps {
		switch s[0] {
		case "send":
			piece, _ := hex.DecodeString(s[1].(string))
			times := 1
			if len(s) > 2 {
				times = int(s[2].(float64))
			}
			_, _ = w.Write(bytes.Repeat(piece, times))
			_ = flush()
		case "wait":
			time.Sleep(time.Duration(s[1].(float64)) * time.Millisecond)
		case "die":
			panic(http.ErrAbortHandler)
		case "hang":
			<-r.Context().Done()
		}
	}
}

// startReceiver runs a receiver of another language, and returns its URL; "" where
// the language is not installed.
func startReceiver(t *testing.T, name, file string) string {
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("SWITCHHOOK_REQUIRE_ALL") != "" {
			t.Fatal(err)
		}
		return ""
	}
	cmd := exec.Command(path, filepath.Join("..", "receivers", file))
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatalf("%s ended", file)
	}
	return strings.TrimPrefix(lines.Text(), "listening on ")
}

func squeeze(s string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, s)
	_ = z.Close()
	return b.String()
}

// Every rule of an answer, against real servers that stream, stall, lie and die.
func TestTurnsAgainstRealReceivers(t *testing.T) {
	stream, whole := map[string]string{"Content-Type": "application/x-ndjson"}, map[string]string{"Content-Type": "application/json"}
	zipped := map[string]string{"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"}
	const one, two = `{"text":"one","interim":true}` + "\n", `{"text":"two"}` + "\n"
	rules := []struct {
		name   string
		play   play
		lines  string // what a caller who streams gets, less the line with the error
		status string
		fault  string // in the delivery's errorMessage; "" for none
	}{
		{"one object", play{Header: whole, Steps: sends(`{"text":"hi","hangup":true}`)}, `{"text":"hi","hangup":true}`, "success", ""},
		{"an object in pieces", play{Header: whole, Steps: sends("{\n \"te", "xt\": \"h", "i\"\n}\n")}, `{"text":"hi"}`, "success", ""},
		{"an object that stays open", play{Header: whole, Steps: append(sends(`{"text":"hi"}`), hangs)}, `{"text":"hi"}`, "success", ""},
		{"a stream", play{Header: stream, Steps: sends(one, two)}, one + two, "success", ""},
		{"a stream that never closes", play{Header: stream, Steps: append(sends(one, two), hangs)}, one + two, "success", ""},
		{"a stream that takes its time", play{Header: stream, Steps: [][]any{sends(one)[0], {"wait", 300}, sends(two)[0]}}, one + two, "success", ""},
		{"a stream without a closing line", play{Header: stream, Steps: sends(one)}, one + `{"text":""}`, "success", "without a closing line"},
		{"a split character", play{Header: stream, Steps: sends("{\"text\":\"Gr\xc3", "\xbc\xc3\x9fe \xf0\x9f", "\x98\x80\"}\n")}, `{"text":"Grüße 😀"}`, "success", ""},
		{"gzip", play{Header: zipped, Steps: sends(squeeze(one + two))}, one + two, "success", ""},
		{"text", play{Header: map[string]string{"Content-Type": "text/plain"}, Steps: sends("ok")}, `{"text":""}`, "success", "no JSON object"},
		{"nothing", play{}, `{"text":""}`, "success", "empty"},
		{"204", play{Status: 204}, `{"text":""}`, "success", "empty"},
		{"lies: JSON as NDJSON", play{Header: stream, Steps: sends("{\n\"text\":\"hi\"}\n")}, "", "failed", "line 1 of the answer is no JSON object"},
		{"lies: NDJSON as JSON", play{Header: whole, Steps: sends(one, two)}, one + two, "success", ""},
		{"lies: gzip that is none", play{Header: zipped, Steps: sends(one, two)}, "", "failed", "says that it is gzip"},
		{"lies: brotli", play{Header: map[string]string{"Content-Encoding": "br"}, Steps: sends("x")}, "", "failed", `Content-Encoding "br"`},
		{"a line that is not JSON", play{Header: stream, Steps: sends(one, "oops\n", two)}, one, "failed", "line 2 of the answer is no JSON object"},
		{"a long line", play{Header: stream, Steps: append(sends(one, `{"text":"`), []any{"send", "78", 70_000}, sends("\"}\n")[0])}, one, "failed", "line 2 of the answer is longer than 64 KiB"},
		{"stalls before the header", play{Deaf: true}, "", "failed", "no line came within 5s"},
		{"stalls before the first line", play{Header: stream, Steps: [][]any{hangs}}, "", "failed", "no line came within 5s"},
		{"stalls within a line", play{Header: stream, Steps: append(sends(one, `{"text":"t`), hangs)}, one, "failed", "line 2 did not come within 5s"},
		{"dies before the header", play{Rude: true}, "", "failed", "closed the connection"},
		{"dies before the first line", play{Header: stream, Steps: [][]any{dies}}, "", "failed", "closed the connection"},
		{"dies within a stream", play{Header: stream, Steps: append(sends(one), []any{"wait", 50}, dies)}, one, "failed", "closed the connection"},
		{"500", play{Status: 500, Header: whole, Steps: sends(`{"text":"hi"}`)}, "", "failed", "answered 500"},
		{"a redirect", play{Status: 302, Header: map[string]string{"Location": "/elsewhere"}}, "", "failed", "redirects are not followed"},
		{"410", play{Status: 410}, "", "failed", "answered 410 Gone"},
	}
	goServer := httptest.NewServer(http.HandlerFunc(goReceiver))
	t.Cleanup(goServer.Close)
	// All of them are asked at once: some take their time to say nothing.
	languages := []struct {
		name, base string
		asked      []*askedTurn
	}{{name: "Go", base: goServer.URL}, {name: "Node", base: startReceiver(t, "node", "receiver.mjs")}, {name: "Python", base: startReceiver(t, "python3", "receiver.py")}}
	for l := range languages {
		if languages[l].base == "" {
			continue
		}
		w := newWorld(t, later)
		for i, c := range rules {
			number := fmt.Sprintf("+1202555%04d", 1000+i)
			p, err := json.Marshal(c.play)
			if err != nil {
				t.Fatal(err)
			}
			w.ok("POST", hookPath(w.agent(number)), object{"url": languages[l].base + "/?play=" + url.QueryEscape(string(p)), "timeout": 5}, nil)
			body := turnBody(fmt.Sprint("call_", i), "hi")
			body["data"].(object)["to"] = number
			turn := &askedTurn{world: w, done: make(chan struct{})}
			languages[l].asked = append(languages[l].asked, turn)
			go turn.ask(body)
		}
	}
	for _, l := range languages {
		t.Run(l.name, func(t *testing.T) {
			if l.base == "" {
				t.Skipf("left out: %s is not installed", l.name)
			}
			for i, c := range rules {
				t.Run(c.name, func(t *testing.T) {
					turn := l.asked[i]
					<-turn.done
					if turn.resp == nil {
						t.Fatal("there is no answer")
					}
					out, want := turn.out, strings.TrimSuffix(c.lines, "\n")
					if c.status == "failed" {
						var last string
						out, last = cutLast(out)
						if !strings.Contains(last, `"error":`) || turn.resp.StatusCode != 200 {
							t.Errorf("%d, the last line is %q", turn.resp.StatusCode, last)
						}
					}
					if got := strings.TrimSuffix(out, "\n"); got != want {
						t.Errorf("%q, want %q", got, want)
					}
					d := turn.untilStatus(turn.resp.Header.Get("Switchhook-Delivery-Id"), c.status)
					if !strings.Contains(d.ErrorMessage, c.fault) || (c.fault == "") != (d.ErrorMessage == "") || d.AttemptCount != 1 {
						t.Errorf("%+v, want %q", d, c.fault)
					}
				})
			}
		})
	}
}

// askedTurn is a turn under way.
type askedTurn struct {
	*world
	done chan struct{}
	out  string
	resp *http.Response // nil until done, and where there was no answer
}

func (a *askedTurn) ask(body object) {
	defer close(a.done)
	a.out, a.resp = a.said(body, "Accept", acceptStream)
}

// cutLast cuts off the last line.
func cutLast(s string) (rest, last string) {
	s = strings.TrimSuffix(s, "\n")
	i := strings.LastIndexByte(s, '\n') + 1
	return s[:i], s[i:]
}
