package dashboard

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html/template"
	"slices"
	"strconv"
	"strings"
	"time"

	"switchhook.dev/switchhook/internal/phone"
)

// parseTemplates reads a set of templates for each page: its own file, with the
// frame around it and the parts that pages share. The set "parts" has only these.
func (d *Dashboard) parseTemplates() map[string]*template.Template {
	base := template.Must(template.New("").Funcs(template.FuncMap{
		"asset": d.assets.url, "ago": ago, "stamp": stamp, "short": short, "thousands": thousands, "pretty": pretty,
		"statusWord": statusWord, "add": func(a, b int) int { return a + b }, "iso": iso, "clip": clip,
		"nav": newNavItem, "at": newMoment, "options": options, "knows": knows,
	}).ParseFS(templateFiles, "templates/base.html", "templates/parts-*.html"))
	sets := map[string]*template.Template{"parts": base}
	pages, err := templateFiles.ReadDir("templates")
	if err != nil {
		panic(err) // they are embedded
	}
	for _, f := range pages {
		name := strings.TrimSuffix(f.Name(), ".html")
		if name == "base" || strings.HasPrefix(name, "parts-") {
			continue
		}
		sets[name] = template.Must(template.Must(base.Clone()).ParseFS(templateFiles, "templates/"+f.Name()))
	}
	return sets
}

// navItem is a link to a page, which may be this one.
type navItem struct {
	Path, Text string
	Here       bool
}

func newNavItem(path, text string, here bool) navItem { return navItem{path, text, here} }

// moment is a time, and when it is looked at.
type moment struct{ At, Now time.Time }

func newMoment(at, now time.Time) moment { return moment{at, now} }

// option is one of a choice.
type option struct {
	Text, Value string
	Chosen      bool
}

// options are a choice, from pairs of text and value.
func options(chosen string, pairs ...string) (out []option) {
	for i := 0; i+1 < len(pairs); i += 2 {
		out = append(out, option{pairs[i], pairs[i+1], pairs[i+1] == chosen})
	}
	return out
}

func knows(agents []phone.Agent, id string) bool {
	return slices.ContainsFunc(agents, func(a phone.Agent) bool { return a.ID == id })
}

// iso is a time as a machine reads it.
func iso(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// stamp is a time as a person reads it exactly.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format("2 Jan 2006, 15:04:05.000 UTC")
}

// ago says how long before or after now a time is. The page keeps it up to date.
func ago(t, now time.Time) string {
	if t.IsZero() {
		return "never"
	}
	d := now.Sub(t)
	switch {
	case d < 0 && d > -time.Second, d >= 0 && d < time.Second:
		return "now"
	case d < 0:
		return "in " + long(-d)
	}
	return long(d) + " ago"
}

func long(d time.Duration) string {
	switch {
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + " s"
	case d < time.Hour:
		return strconv.Itoa(int(d.Minutes())) + " min"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d.Hours())) + " h"
	}
	return strconv.Itoa(int(d.Hours())/24) + " d"
}

// short is a length of time with as many figures as matter.
func short(d time.Duration) string {
	ms := float64(d.Microseconds()) / 1000
	switch {
	case d == 0:
		return "0 ms"
	case ms < 10:
		return strconv.FormatFloat(ms, 'f', 1, 64) + " ms"
	case ms < 1000:
		return strconv.FormatFloat(ms, 'f', 0, 64) + " ms"
	case d < time.Minute:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	}
	return long(d)
}

// thousands writes a number in groups of three digits.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// pretty indents what is JSON, and leaves the rest as it is.
func pretty(raw string) string {
	var b bytes.Buffer
	if json.Indent(&b, []byte(raw), "", "  ") != nil {
		return raw
	}
	return b.String()
}

func clip(n int, s string) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// statusWord is what a status is called on a page.
func statusWord(s phone.DeliveryStatus) string {
	if s == phone.Success {
		return "delivered"
	}
	return string(s)
}

// names looks up what agents are called, each once.
type names struct {
	d     *Dashboard
	v     *visit
	known map[string]string
}

func (d *Dashboard) names(v *visit) *names { return &names{d, v, map[string]string{}} }

// of is an agent's name. One that is gone is called by its id.
func (n *names) of(id string) (string, error) {
	if name, ok := n.known[id]; ok {
		return name, nil
	}
	a, err := n.d.store.Agent(n.v.Context(), n.v.project(), id)
	if phone.CodeOf(err) == phone.NotFound {
		a.Name, err = id, nil
	}
	if err != nil {
		return "", fmt.Errorf("the name of an agent: %w", err)
	}
	n.known[id] = a.Name
	return a.Name, nil
}
