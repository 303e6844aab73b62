package dashboard

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
)

// troubleSpan is how far back an endpoint's failures count as trouble.
const troubleSpan = 24 * time.Hour

// spans are the hours that the plots can show.
var spans = []int{1, 3, 12, 24}

func (d *Dashboard) registerNow() {
	d.on("GET /{$}", phone.ScopeRead, d.showNow)
	d.on("GET /now/pulse", phone.ScopeRead, d.showPulse)
	d.on("GET /now/series", phone.ScopeRead, d.series)
}

type nowPage struct {
	Hours int
	Spans []int
	Pulse pulsePart
}

// pulsePart is what the page asks for again and again.
type pulsePart struct {
	PerSecond, Success string
	Pending            int
	P50, P99           string
	Troubles           []troubleView
	Empty              bool
	At                 time.Time
}

func (d *Dashboard) showNow(v *visit) error {
	p, err := d.pulse(v)
	if err != nil {
		return err
	}
	d.page(v, http.StatusOK, "now", "Now", nowPage{hoursOf(v), spans, p})
	return nil
}

func (d *Dashboard) showPulse(v *visit) error {
	p, err := d.pulse(v)
	if err == nil {
		d.fragment(v, http.StatusOK, "pulse", p)
	}
	return err
}

func hoursOf(v *visit) int {
	n, _ := strconv.Atoi(v.FormValue("hours"))
	for _, h := range spans {
		if n == h {
			return n
		}
	}
	return 3
}

// recently is how far back the figures go that stand above the plots.
const recently = 5 * time.Minute

func (d *Dashboard) pulse(v *visit) (p pulsePart, err error) {
	p.At = v.now
	minutes, err := d.store.Minutes(v.Context(), v.project(), v.now.Add(-recently), v.now.Add(time.Minute))
	if err != nil {
		return p, err
	}
	var sum store.Minute
	for _, m := range minutes {
		sum.Add(m)
	}
	counts, err := d.store.Totals(v.Context(), v.project())
	if err != nil {
		return p, err
	}
	// From the beginning of the first of these minutes until now.
	span := v.now.Sub(v.now.Add(-recently).Truncate(time.Minute))
	p.PerSecond, p.Success, p.P50, p.P99 = perSecond(sum.Accepted, span), "–", "–", "–"
	if ended := sum.Success + sum.Failed; ended > 0 {
		p.Success = strconv.FormatFloat(100*float64(sum.Success)/float64(ended), 'f', 1, 64) + " %"
	}
	if sum.Latency.Count() > 0 {
		p.P50, p.P99 = short(sum.Latency.Quantile(0.5)), short(sum.Latency.Quantile(0.99))
	}
	p.Pending, p.Empty = counts.Pending, counts.Total() == 0
	troubles, err := d.store.Troubles(v.Context(), v.project(), v.now.Add(-troubleSpan))
	if err != nil {
		return p, err
	}
	p.Troubles, err = d.viewTroubles(v, troubles)
	return p, err
}

func perSecond(n int, span time.Duration) string {
	rate := float64(n) / span.Seconds()
	switch {
	case n == 0:
		return "0"
	case rate < 0.1:
		return strconv.FormatFloat(rate, 'f', 2, 64)
	case rate < 10:
		return strconv.FormatFloat(rate, 'f', 1, 64)
	}
	return strconv.FormatFloat(rate, 'f', 0, 64)
}

// troubleView says in words what is wrong with an endpoint.
type troubleView struct {
	Kind, Name, Link, URL, What, Hint string
	// Last is the latest delivery it shows in; "" for none.
	Last, LastError string
	Since           time.Time
}

func (d *Dashboard) viewTroubles(v *visit, troubles []store.Trouble) ([]troubleView, error) {
	names := d.names(v)
	var out []troubleView
	for _, t := range troubles {
		view := troubleView{Name: "Default webhook", Link: "/agents/default", Last: t.Last.ID, LastError: t.Last.Error}
		if t.Webhook == nil || t.Webhook.AgentID != "" {
			name, err := names.of(t.AgentID)
			if err != nil {
				return nil, err
			}
			view.Name, view.Link = name, "/agents/"+t.AgentID
		}
		view.say(t)
		out = append(out, view)
	}
	return out, nil
}

// say puts a trouble into words: what is wrong, and what becomes of the events.
func (view *troubleView) say(t store.Trouble) {
	if t.Webhook == nil {
		view.Kind, view.What = "unrouted", fmt.Sprintf("had no webhook of its own when %s came, and the project no default: kept as unrouted", count(t.Unrouted, "event"))
		view.Hint, view.LastError = "Once there is a webhook, replay what is unrouted.", ""
		return
	}
	view.URL = t.Webhook.URL
	switch w := t.Webhook; {
	case w.Status == phone.WebhookDisabled:
		view.Kind, view.What = "disabled", "is disabled: its events are kept as failed, and go nowhere else"
		view.Hint = "Mend the endpoint, enable the webhook, then replay."
	case !w.FailingSince.IsZero():
		view.Kind, view.Since, view.What = "out", w.FailingSince, "does not answer"
		view.Hint = "It is tried again and again. What waits is sent, in order, as soon as it works."
		if t.Waiting > 0 {
			view.What += fmt.Sprintf(", %s", atMost(t.Waiting, store.MaxWaiting, "delivery waits", "deliveries wait"))
		}
	default:
		view.Kind = "failing"
		switch {
		case t.Failed > 0 && t.Retrying > 0:
			view.What = fmt.Sprintf("%s of late failed for good, %d will be tried again", count(t.Failed, "delivery"), t.Retrying)
		case t.Failed > 0:
			view.What = fmt.Sprintf("%s of late failed for good", count(t.Failed, "delivery"))
		default:
			view.What = fmt.Sprintf("%s of late failed, and will be tried again", count(t.Retrying, "delivery"))
		}
	}
}

// count writes a number with its noun, and a number past a bound as "more than".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if noun == "delivery" {
		return fmt.Sprintf("%s deliveries", thousands(n))
	}
	return fmt.Sprintf("%s %ss", thousands(n), noun)
}

func atMost(n, bound int, one, many string) string {
	switch {
	case n == 1:
		return "1 " + one
	case n >= bound:
		return thousands(bound) + " or more " + many
	}
	return thousands(n) + " " + many
}

// seriesView is what the plots draw: a value for each minute, null where nothing
// was counted.
type seriesView struct {
	Time      []int64    `json:"time"` // Unix seconds
	PerSecond []*float64 `json:"perSecond"`
	Success   []*float64 `json:"success"` // percent
	Pending   []*float64 `json:"pending"`
	P50       []*float64 `json:"p50"` // milliseconds
	P99       []*float64 `json:"p99"`
}

func (d *Dashboard) series(v *visit) error {
	hours := hoursOf(v)
	until := v.now.Truncate(time.Minute).Add(time.Minute)
	since := until.Add(-time.Duration(hours) * time.Hour)
	minutes, err := d.store.Minutes(v.Context(), v.project(), since, until)
	if err != nil {
		return err
	}
	v.w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(v.w).Encode(newSeries(minutes, since, until, v.now))
}

func newSeries(minutes []store.Minute, since, until, now time.Time) (s seriesView) {
	add := func(to *[]*float64, v float64, known bool) {
		if !known {
			*to = append(*to, nil)
			return
		}
		*to = append(*to, &v)
	}
	for at := since; at.Before(until); at = at.Add(time.Minute) {
		var m store.Minute
		counted := len(minutes) > 0 && minutes[0].At.Equal(at)
		if counted {
			m, minutes = minutes[0], minutes[1:]
		}
		s.Time = append(s.Time, at.Unix())
		span := min(time.Minute, max(time.Second, now.Sub(at)))
		// The present minute is no drop to nothing before its first count is here.
		add(&s.PerSecond, float64(m.Accepted)/span.Seconds(), counted || span == time.Minute)
		ended := m.Success + m.Failed
		add(&s.Success, 100*float64(m.Success)/float64(max(1, ended)), ended > 0)
		add(&s.Pending, float64(m.Pending), counted)
		ms := func(share float64) float64 { return float64(m.Latency.Quantile(share).Microseconds()) / 1000 }
		add(&s.P50, ms(0.5), m.Latency.Count() > 0)
		add(&s.P99, ms(0.99), m.Latency.Count() > 0)
	}
	return s
}
