package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// Output is where a command prints, and in which form.
type Output struct {
	// W is the standard output.
	W io.Writer
	// JSON asks for the answer of the API as it is, indented.
	JSON bool
}

// show prints an answer: as JSON where that was asked for, else by human, which
// gets it decoded.
func show[T any](out Output, answer json.RawMessage, human func(*printer, T)) error {
	if out.JSON {
		return out.printJSON(answer)
	}
	var v T
	if err := json.Unmarshal(answer, &v); err != nil {
		return fmt.Errorf("the answer is not of the form this version knows, use --json to see it: %w", err)
	}
	p := &printer{}
	human(p, v)
	_, err := p.buf.WriteTo(out.W)
	return err
}

func (out Output) printJSON(answer json.RawMessage) error {
	var buf bytes.Buffer
	if err := json.Indent(&buf, bytes.TrimSpace(answer), "", "  "); err != nil {
		return err
	}
	buf.WriteByte('\n')
	_, err := buf.WriteTo(out.W)
	return err
}

// printer collects the lines for a person. Much of what it prints was written by
// strangers (messages, answers of endpoints), so no control character passes it:
// they could rewrite the terminal.
type printer struct{ buf bytes.Buffer }

// line prints a line of our own words.
func (p *printer) line(format string, args ...any) {
	for i, a := range args {
		if s, ok := a.(string); ok {
			args[i] = clean(s)
		}
	}
	fmt.Fprintf(&p.buf, format+"\n", args...)
}

// table prints rows under a header, or the sentence none where there are none.
func (p *printer) table(header string, none string, rows [][]string) {
	if len(rows) == 0 {
		p.line("%s", none)
		return
	}
	w := tabwriter.NewWriter(&p.buf, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(strings.Fields(header), "\t"))
	for _, row := range rows {
		for i := range row {
			row[i] = cell(row[i])
		}
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	w.Flush()
}

// fields prints pairs of a name and a value, one a line.
func (p *printer) fields(pairs ...string) {
	w := tabwriter.NewWriter(&p.buf, 0, 0, 2, ' ', 0)
	for i := 0; i+1 < len(pairs); i += 2 {
		fmt.Fprintf(w, "%s\t%s\n", pairs[i], cell(pairs[i+1]))
	}
	w.Flush()
}

// block prints text of several lines, indented.
func (p *printer) block(text string) {
	for line := range strings.Lines(text) {
		p.buf.WriteString("    " + clean(strings.TrimRight(line, "\r\n")) + "\n")
	}
}

// cell makes one line of a value, and a dash of nothing, so that columns stay countable.
func cell(s string) string {
	if s = strings.TrimSpace(clean(s)); s == "" {
		return "-"
	}
	return s
}

// clean replaces what is not for a screen: line breaks and tabs by a space,
// further control and direction characters by a mark.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\r', r == '\t':
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r):
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// when prints a time to the second, in UTC as the API does.
func when(t *time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// number prints an integer that may be null.
func number(n *int) string {
	if n == nil {
		return ""
	}
	return strconv.Itoa(*n)
}

// text prints a string that may be null.
func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// shorten cuts a text for a column.
func shorten(s string, runes int) string {
	r := []rune(s)
	if len(r) <= runes {
		return s
	}
	return string(r[:runes-1]) + "…"
}

// intParam writes a query parameter; 0 leaves the choice to the server.
func intParam(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// PageFlags choose a part of a long list.
type PageFlags struct {
	Limit  int `help:"How many to list at most." default:"50"`
	Offset int `help:"How many to skip." default:"0"`
}

func (f PageFlags) query() map[string]string {
	return map[string]string{"limit": intParam(f.Limit), "offset": intParam(f.Offset)}
}

// page is how the API answers a list.
type page[T any] struct {
	Data    []T  `json:"data"`
	HasMore bool `json:"hasMore"`
}

// more says that a list goes on.
func (p *printer) more(hasMore bool, f PageFlags, shown int) {
	if hasMore {
		p.line("There are more: continue with --offset %d.", f.Offset+shown)
	}
}

// success is the answer of a removal.
type success struct {
	Success bool `json:"success"`
}

// done returns a human form of success that prints one sentence.
func done(format string, args ...any) func(*printer, success) {
	return func(p *printer, _ success) { p.line(format, args...) }
}
