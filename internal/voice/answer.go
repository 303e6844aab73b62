// Package voice is turns of a call: one question to a webhook, and its answer,
// passed on line by line while somebody waits on the line.
//
// What an answer means is decided by Answer, which takes bytes and gives lines,
// and knows nothing of HTTP or of time; Ask puts it between a response and a
// listener, and watches the clock. The package must never ask twice, and never
// hold a line back that is complete.
package voice

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"unicode/utf8"
)

const (
	// MaxLine bounds a line, or an object, in bytes, from the contract.
	MaxLine = 64 << 10
	// MaxAnswer bounds a whole answer, in bytes: minutes of speech are a few KiB.
	MaxAnswer = 1 << 20
)

// Line is one object of an answer.
type Line struct {
	// JSON is the object as the webhook wrote it, without line breaks.
	JSON []byte
	// Text is what is to be said; "" for nothing.
	Text string
	// Interim says that more follows.
	Interim bool

	fields []field
}

type field struct {
	name  string
	value json.RawMessage
}

// Answer reads the body of a webhook's answer.
//
//	 interim object          closing object
//	  ┌──────┐            ┌──────────────────▶ closed
//	  ▼      │            │   end of the body
//	open ────┴────────────┼──────────────────▶ closed (something was said)
//	                      │                    silent (nothing was)
//	                      │   what is no object
//	                      └──────────────────▶ broken (in a stream, or once something was said)
//	                                           silent (else: the body is ignored)
//
// A body of type application/x-ndjson is lines; any other is taken as one JSON
// object, or several, wherever their line breaks are. A line counts once it is
// complete: chunks may split it anywhere, within a character too.
type Answer struct {
	lined   bool
	buf     []byte // what came and is no complete line yet
	scanned int    // of buf: known to hold no end of a line or object
	object  scanner
	total   int
	lines   int // that came so far
	ended   bool
	// note says what was wrong with an answer that ended; "" for nothing.
	note string
	// broken says that it ended by a fault.
	broken bool
}

// NewAnswer returns the reader of a body with a Content-Type.
func NewAnswer(contentType string) *Answer {
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		kind = ""
	}
	switch kind {
	case "application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines":
		return &Answer{lined: true}
	}
	return &Answer{}
}

// Ended says whether nothing more is wanted of the body.
func (a *Answer) Ended() bool { return a.ended }

// Feed takes what came of the body, and returns the lines that are complete with
// it. After the end it takes nothing.
func (a *Answer) Feed(p []byte) (lines []Line) {
	if a.ended {
		return nil
	}
	a.total += len(p)
	a.buf = append(a.buf, p...)
	for !a.ended {
		raw, found := a.next()
		if !found {
			break
		}
		if l, ok := a.take(raw); ok {
			lines = append(lines, l)
		}
	}
	switch {
	case a.ended:
	case len(a.buf) > MaxLine:
		a.fail("line %d of the answer is longer than %d KiB: send shorter ones", a.lines+1, MaxLine>>10)
	case a.total > MaxAnswer:
		a.fail("the answer is longer than %d MiB: close it with a line without interim", MaxAnswer>>20)
	}
	return lines
}

// End says that the body is complete, and returns what its end completes: the
// last line needs no line break.
func (a *Answer) End() (lines []Line) {
	if a.ended {
		return nil
	}
	rest := bytes.TrimSpace(a.buf)
	if a.lined && len(rest) > 0 {
		if l, ok := a.take(rest); ok {
			lines = append(lines, l)
		}
	} else if len(rest) > 0 {
		a.noObject("is cut off within an object")
	}
	switch {
	case a.ended:
	case a.lines == 0:
		a.stop("the answer is empty, so nothing was said: answer with {\"text\": \"…\"}")
	default:
		a.stop("the answer ended without a closing line, one without interim")
	}
	return lines
}

// next cuts the next line, or object, off what came.
func (a *Answer) next() (raw []byte, found bool) {
	if a.lined {
		i := bytes.IndexByte(a.buf[a.scanned:], '\n')
		if i < 0 {
			a.scanned = len(a.buf)
			return nil, false
		}
		return a.cut(a.scanned + i + 1), true
	}
	if a.object == (scanner{}) {
		a.buf = trimLeft(a.buf, a.lines == 0)
		a.scanned = 0
		if len(a.buf) == 0 || isStartOfBOM(a.buf) && a.lines == 0 {
			return nil, false
		}
		if a.buf[0] != '{' {
			a.noObject("is no JSON object")
			return nil, false
		}
	}
	n, complete := a.object.scan(a.buf[a.scanned:])
	a.scanned += n
	if !complete {
		return nil, false
	}
	a.object = scanner{}
	return a.cut(a.scanned), true
}

func (a *Answer) cut(n int) (raw []byte) {
	raw, a.buf = a.buf[:n:n], a.buf[n:]
	a.scanned = 0
	return raw
}

var bom = []byte("\uFEFF")

// trimLeft drops white space and, at the very beginning, a byte order mark.
func trimLeft(b []byte, first bool) []byte {
	b = bytes.TrimLeft(b, " \t\r\n")
	if first && bytes.HasPrefix(b, bom) {
		b = bytes.TrimLeft(b[len(bom):], " \t\r\n")
	}
	return b
}

func isStartOfBOM(b []byte) bool { return len(b) < len(bom) && bytes.HasPrefix(bom, b) }

// take makes a line of what was cut off. Empty lines are passed over.
func (a *Answer) take(raw []byte) (l Line, ok bool) {
	raw = bytes.TrimSpace(trimLeft(raw, a.lines == 0))
	if len(raw) == 0 {
		return l, false
	}
	if len(raw) > MaxLine {
		a.fail("line %d of the answer is longer than %d KiB: send shorter ones", a.lines+1, MaxLine>>10)
		return l, false
	}
	if l, ok = parse(raw); !ok {
		a.noObject("is no JSON object")
		return l, false
	}
	a.lines++
	a.ended = !l.Interim
	return l, true
}

// noObject ends an answer by what is no object: a fault of a stream, and of
// anything that has said something; else the body is ignored.
func (a *Answer) noObject(is string) {
	switch {
	case a.lined:
		a.fail("line %d of the answer %s: send one object a line", a.lines+1, is)
	case a.lines > 0:
		a.fail("what follows object %d of the answer %s", a.lines, is)
	default:
		a.stop("the answer %s, so nothing was said: answer with {\"text\": \"…\"}", is)
	}
}

func (a *Answer) fail(format string, args ...any) {
	a.stop(format, args...)
	a.broken = true
}

func (a *Answer) stop(format string, args ...any) {
	a.ended, a.note, a.buf = true, fmt.Sprintf(format, args...), nil
}

// parse reads one object.
func parse(raw []byte) (l Line, ok bool) {
	if !utf8.Valid(raw) {
		return l, false
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return l, false
	}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return l, false
		}
		f := field{name: t.(string)} // of an object, names are all that comes here
		if err := d.Decode(&f.value); err != nil {
			return l, false
		}
		switch f.name {
		case "text":
			l.Text = ""
			_ = json.Unmarshal(f.value, &l.Text) // what is no string says nothing
		case "interim":
			l.Interim = string(f.value) == "true"
		}
		l.fields = append(l.fields, f)
	}
	if _, err := d.Token(); err != nil {
		return l, false
	}
	if _, err := d.Token(); err != io.EOF {
		return l, false
	}
	l.JSON = oneLine(raw)
	return l, true
}

// oneLine is an object as it came; where it has line breaks, without the space
// between its parts.
func oneLine(raw []byte) []byte {
	if bytes.IndexByte(raw, '\n') < 0 && bytes.IndexByte(raw, '\r') < 0 {
		return raw
	}
	var out bytes.Buffer
	if err := json.Compact(&out, raw); err != nil {
		return raw
	}
	return out.Bytes()
}

// scanner finds the end of a JSON object in bytes that come piece by piece.
type scanner struct {
	depth    int
	inString bool
	escaped  bool
}

// scan looks at further bytes, and says how many of them belong to the object, and
// whether it is complete.
func (s *scanner) scan(p []byte) (n int, complete bool) {
	for i, c := range p {
		switch {
		case s.escaped:
			s.escaped = false
		case s.inString && c == '\\':
			s.escaped = true
		case c == '"':
			s.inString = !s.inString
		case s.inString:
		case c == '{' || c == '[':
			s.depth++
		case c == '}' || c == ']':
			if s.depth--; s.depth <= 0 {
				return i + 1, true
			}
		}
	}
	return len(p), false
}
