package voice

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Reply is an answer put together, for who does not stream: the texts joined, and
// all other keys of its objects, those of later ones over those of earlier.
type Reply struct {
	text   strings.Builder
	fields []field
	chunks int
}

// Add adds a line that was passed on.
func (r *Reply) Add(l Line) {
	r.chunks++
	r.say(l.Text)
	for _, f := range l.fields {
		switch f.name {
		case "text", "interim", "chunks":
			continue
		}
		r.set(f)
	}
}

func (r *Reply) set(f field) {
	for i := range r.fields {
		if r.fields[i].name == f.name {
			r.fields[i].value = f.value
			return
		}
	}
	r.fields = append(r.fields, f)
}

// say joins a text: lines are spoken one after the other, so that words end where
// they end. A space is put between two unless there is one.
func (r *Reply) say(text string) {
	if text == "" {
		return
	}
	if said := r.text.String(); said != "" {
		last, _ := utf8.DecodeLastRuneInString(said)
		first, _ := utf8.DecodeRuneInString(text)
		if !unicode.IsSpace(last) && !unicode.IsSpace(first) {
			r.text.WriteByte(' ')
		}
	}
	r.text.WriteString(text)
}

// Text is what was said, joined; "" for silence.
func (r *Reply) Text() string { return r.text.String() }

// Chunks is how many lines there were.
func (r *Reply) Chunks() int { return r.chunks }

// JSON is the reply as an object: {"text": …, the other keys, "chunks": n}, and
// "error" where a fault ended the turn; it then stands over a key of that name.
func (r *Reply) JSON(fault string) []byte {
	if fault != "" {
		r.set(field{"error", quote(fault)})
	}
	var b bytes.Buffer
	b.WriteString(`{"text":`)
	b.Write(quote(r.Text()))
	for _, f := range r.fields {
		b.WriteByte(',')
		b.Write(quote(f.name))
		b.WriteByte(':')
		b.Write(oneLine(f.value))
	}
	b.WriteString(`,"chunks":`)
	b.WriteString(strconv.Itoa(r.chunks))
	b.WriteByte('}')
	return b.Bytes()
}

// quote writes a JSON string, without the escapes that only HTML needs.
func quote(s string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic("voice: a string cannot be encoded: " + err.Error()) // it always can
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}
