package dashboard

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
)

// pageLength is how many deliveries a page shows.
const pageLength = 50

func (d *Dashboard) registerDeliveries() {
	d.on("GET /deliveries", phone.ScopeRead, d.showDeliveries)
	d.on("GET /deliveries/live", phone.ScopeRead, d.liveDeliveries)
}

// filterForm is a filter as it stands in a URL and in a form.
type filterForm struct {
	Agent, Webhook, Status, Event, Channel, Since, Until, Text string
}

func readFilter(v *visit) filterForm {
	get := func(name string) string { return strings.TrimSpace(v.FormValue(name)) }
	return filterForm{get("agent"), get("webhook"), get("status"), get("event"), get("channel"), get("since"), get("until"), get("text")}
}

// values is the filter as a query, without what is empty.
func (f filterForm) values() url.Values {
	q := url.Values{}
	for name, value := range map[string]string{
		"agent": f.Agent, "webhook": f.Webhook, "status": f.Status, "event": f.Event, "channel": f.Channel,
		"since": f.Since, "until": f.Until, "text": f.Text,
	} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return q
}

// formTime reads what a browser's field for a time sends; it is taken as UTC.
func formTime(s, what string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05", time.RFC3339} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, phone.Errorf(phone.BadRequest, "%q is no time for %s: write it as 2026-01-31T15:04, in UTC", clip(40, s), what)
}

// filter is what a form selects. A webhook's deliveries are found by the agent
// whose own it is, where it is one's.
func (d *Dashboard) filter(v *visit, f filterForm) (out store.DeliveryFilter, err error) {
	out = store.DeliveryFilter{
		ProjectID: v.project(), AgentID: f.Agent, WebhookID: f.Webhook, Status: phone.DeliveryStatus(f.Status),
		EventType: phone.EventType(f.Event), Channel: phone.Channel(f.Channel),
	}
	switch out.Status {
	case "", phone.Pending, phone.Success, phone.Failed, phone.Unrouted:
	default:
		return out, phone.Errorf(phone.BadRequest, "%q is no status: choose pending, success, failed or unrouted", clip(40, f.Status))
	}
	if out.Since, err = formTime(f.Since, "from"); err != nil {
		return out, err
	}
	if out.Until, err = formTime(f.Until, "to"); err != nil {
		return out, err
	}
	if f.Webhook != "" && f.Agent == "" {
		w, err := d.store.WebhookByID(v.Context(), f.Webhook)
		if err != nil {
			return out, err
		}
		if w != nil && w.ProjectID == v.project() {
			out.AgentID = w.AgentID
		}
	}
	return out, nil
}

// formatPlace and readPlace write a place in the log into a URL.
func formatPlace(p store.Place) string {
	if p.ID == "" {
		return ""
	}
	return strconv.FormatInt(p.At.UnixMicro(), 36) + "." + p.ID
}

func readPlace(s string) store.Place {
	at, id, _ := strings.Cut(s, ".")
	us, err := strconv.ParseInt(at, 36, 64)
	if err != nil || id == "" {
		return store.Place{}
	}
	return store.Place{At: time.UnixMicro(us).UTC(), ID: id}
}

// rowView is a delivery in a list.
type rowView struct {
	phone.Delivery
	Agent string
	Next  time.Time
	Now   time.Time
}

// Answer says in few words what came of the last attempt.
func (r rowView) Answer() string {
	switch {
	case r.Error != "" && r.HTTPStatus != 0 && strings.HasPrefix(r.Error, "answered "):
		return strconv.Itoa(r.HTTPStatus) + " " + http.StatusText(r.HTTPStatus)
	case r.Error != "":
		reason, _, _ := strings.Cut(r.Error, ": ")
		return reason
	case r.HTTPStatus != 0:
		return strconv.Itoa(r.HTTPStatus) + " " + http.StatusText(r.HTTPStatus)
	case r.Status == phone.Unrouted:
		return "no webhook"
	}
	return ""
}

func (d *Dashboard) row(v *visit, n *names, x phone.Delivery) (rowView, error) {
	name, err := n.of(x.AgentID)
	return rowView{x, name, d.board.NextAttempt(x), v.now}, err
}

type deliveriesPage struct {
	Filter   filterForm
	Filtered bool
	Rows     []rowView
	// Older leads to the next page; "" at the end of the log. Short says that this
	// one stopped looking before it was full, at Until.
	Older string
	Short bool
	Until time.Time
	Scan  int
	// First says that this is the newest page, which is the one that lives; Live is
	// where its changes come from, "" where they cannot be told.
	First        bool
	Newest, Live string
	Agents       []phone.Agent
	Now          time.Time
}

func (d *Dashboard) showDeliveries(v *visit) error {
	form := readFilter(v)
	if id, is := idOf(form.Text); is {
		if _, err := d.board.Delivery(v.Context(), v.project(), id); err == nil {
			return d.redirect(v, "/deliveries/"+id)
		}
	}
	f, err := d.filter(v, form)
	if err != nil {
		return err
	}
	f.Limit = pageLength
	after := readPlace(v.FormValue("after"))
	l, err := d.store.Look(v.Context(), store.LookFilter{DeliveryFilter: f, Text: form.Text, After: after})
	if err != nil {
		return err
	}
	query := form.values()
	p := deliveriesPage{Filter: form, Filtered: len(query) > 0, Short: l.Short, Until: l.Next.At, Scan: store.LookScan, First: after.ID == "", Now: v.now}
	n := d.names(v)
	for _, x := range l.Deliveries {
		r, err := d.row(v, n, x)
		if err != nil {
			return err
		}
		p.Rows = append(p.Rows, r)
	}
	p.Newest = "/deliveries?" + query.Encode()
	if p.First && form.Text == "" {
		p.Live = "/deliveries/live?" + query.Encode()
	}
	if l.Next.ID != "" {
		query.Set("after", formatPlace(l.Next))
		p.Older = "/deliveries?" + query.Encode()
	}
	if p.Agents, _, err = d.store.Agents(v.Context(), v.project(), agentChoices, 0); err != nil {
		return err
	}
	d.page(v, http.StatusOK, "deliveries", "Deliveries", p)
	return nil
}

// agentChoices is how many agents a choice of them offers.
const agentChoices = 200

// idOf says whether a text is the id of a delivery or of its event.
func idOf(text string) (string, bool) {
	switch {
	case strings.HasPrefix(text, phone.PrefixDelivery+"_"):
		return text, true
	case strings.HasPrefix(text, phone.PrefixEvent+"_"):
		return phone.DeliveryID(text), true
	}
	return "", false
}

// redirect leads on to another page, whether a whole page was asked for or a part.
func (d *Dashboard) redirect(v *visit, to string) error {
	if v.isFragment() {
		v.w.Header().Set("HX-Redirect", to)
		v.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	http.Redirect(v.w, v.Request, to, http.StatusSeeOther)
	return nil
}

const (
	// liveEvery is how long changes gather before they are shown, and liveRows how
	// many are shown at once: nobody reads faster.
	liveEvery = 400 * time.Millisecond
	liveRows  = 30
	// pingEvery keeps proxies from closing a stream on which nothing happens.
	pingEvery = 15 * time.Second
)

// liveDeliveries streams, as server-sent events, the rows of deliveries that
// change: "row" is one, "still" one that may be known already, "gone" the id of one
// that the filter no longer selects, "more" how many changes were passed over
// because there were too many.
func (d *Dashboard) liveDeliveries(v *visit) error {
	f, err := d.filter(v, readFilter(v))
	if err != nil {
		return err
	}
	changes := d.board.Watch(v.Context(), v.project())
	h := v.w.Header()
	h.Set("Content-Type", "text/event-stream")
	s := &liveStream{d: d, v: v, names: d.names(v), filter: f, waiting: map[string]phone.Delivery{}}
	if err := s.catchUp(); err != nil {
		return err
	}
	s.printf("event: ready\ndata: ok\n\n")
	tick, ping := time.NewTicker(liveEvery), time.NewTicker(pingEvery)
	defer tick.Stop()
	defer ping.Stop()
	for s.err == nil {
		select {
		case x, open := <-changes:
			if !open {
				return nil
			}
			s.take(x)
		case <-tick.C:
			s.flush()
		case <-ping.C:
			// Whoever is signed out meanwhile, or whose key is revoked, sees no more.
			if _, err := d.signedIn(v.Request); err != nil {
				return nil
			}
			s.printf(": ping\n\n")
		}
	}
	return nil
}

// liveStream gathers changes and writes them.
type liveStream struct {
	d       *Dashboard
	v       *visit
	names   *names
	filter  store.DeliveryFilter
	order   []string
	waiting map[string]phone.Delivery
	missed  int
	err     error
}

// catchUp writes the newest page, oldest first: what happened between the page's
// rendering, or the loss of an earlier stream, and now is in it.
func (s *liveStream) catchUp() error {
	s.filter.Limit = pageLength
	l, err := s.d.store.Look(s.v.Context(), store.LookFilter{DeliveryFilter: s.filter})
	if err != nil {
		return err
	}
	for _, x := range slices.Backward(l.Deliveries) {
		s.row("still", x)
	}
	return nil
}

// row writes one row.
func (s *liveStream) row(event string, x phone.Delivery) {
	s.v.now = time.Now()
	r, err := s.d.row(s.v, s.names, x)
	if err != nil {
		s.err = err
		return
	}
	var b bytes.Buffer
	if s.err = s.d.pages["parts"].ExecuteTemplate(&b, "delivery-row", r); s.err == nil {
		s.printf("event: %s\ndata: %s\n\n", event, strings.ReplaceAll(b.String(), "\n", " "))
	}
}

func (s *liveStream) take(x phone.Delivery) {
	if _, known := s.waiting[x.ID]; !known {
		if len(s.order) == liveRows {
			s.missed++
			return
		}
		s.order = append(s.order, x.ID)
	}
	s.waiting[x.ID] = x
}

func (s *liveStream) flush() {
	for _, id := range s.order {
		x := s.waiting[id]
		if !selects(s.filter, x) {
			s.printf("event: gone\ndata: %s\n\n", id)
			continue
		}
		s.row("row", x)
	}
	if s.missed > 0 {
		s.printf("event: more\ndata: %d\n\n", s.missed)
	}
	s.order, s.missed = s.order[:0], 0
	clear(s.waiting)
}

func (s *liveStream) printf(format string, args ...any) {
	if _, err := fmt.Fprintf(s.v.w, format, args...); err != nil {
		s.err = err
		return
	}
	s.err = http.NewResponseController(s.v.w).Flush()
}

// selects says whether a filter selects a delivery. Its time is now: only what
// bounds the past is asked.
func selects(f store.DeliveryFilter, d phone.Delivery) bool {
	is := func(want, got string) bool { return want == "" || want == got }
	return is(f.AgentID, d.AgentID) && is(f.WebhookID, d.WebhookID) && is(string(f.Status), string(d.Status)) &&
		is(string(f.EventType), string(d.EventType)) && is(string(f.Channel), string(d.Channel)) &&
		!d.CreatedAt.Before(f.Since) && (f.Until.IsZero() || d.CreatedAt.Before(f.Until))
}
