package dashboard

import (
	"fmt"
	"net/http"
	"sort"
	"strconv"
	"strings"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/switchboard"
	"switchhook.dev/switchhook/webhook"
)

func (d *Dashboard) registerDelivery() {
	d.on("GET /deliveries/{id}", phone.ScopeRead, d.showDelivery)
	d.on("GET /deliveries/{id}/state", phone.ScopeRead, d.showState)
	d.on("POST /deliveries/{id}/retry", phone.ScopeWrite, d.retry)
	d.on("POST /deliveries/{id}/curl", phone.ScopeWrite, d.curl)
	d.on("POST /deliveries/{id}/verify", phone.ScopeWrite, d.verify)
}

// deliveryPage is one delivery with all that is known of it.
type deliveryPage struct {
	rowView
	Body        string
	URL         string
	Why         []string
	WebhookLink string
	Attempts    []attemptView
	May         bool
}

// Live says that there is more to come, so that the page asks again.
func (p deliveryPage) Live() bool { return p.Status == phone.Pending }

// CanRetry says whether a retry makes sense: a turn of a call is asked once.
func (p deliveryPage) CanRetry() bool {
	return p.Channel != phone.ChannelVoice || p.EventType != phone.EventMessage
}

type header struct{ Name, Value string }

type attemptView struct {
	phone.Attempt
	Headers []header
	Parts   []timePart
	Now     time.Time
}

// timePart is a part of an attempt's time, for a bar of 100 units.
type timePart struct {
	Name, Class string
	Length      time.Duration
	X, Width    float64
	Happened    bool
}

func viewAttempt(x phone.Delivery, a phone.Attempt, now time.Time) attemptView {
	ts := strconv.FormatInt(a.SentAt.Unix(), 10)
	return attemptView{a, []header{
		{"Content-Type", "application/json"}, {webhook.HeaderEvent, string(x.EventType)},
		{webhook.HeaderID, x.ID}, {webhook.HeaderTimestamp, ts}, {webhook.HeaderSignature, a.Legacy},
		{webhook.HeaderStandardID, x.ID}, {webhook.HeaderStandardTimestamp, ts}, {webhook.HeaderStandardSignature, a.Standard},
	}, timeParts(a), now}
}

// timeParts cuts an attempt's time up: what came before the first byte and is
// neither lookup, connecting nor handshake was waiting for the endpoint.
func timeParts(a phone.Attempt) []timePart {
	t := a.Timing
	wait := a.Duration - t.DNS - t.Connect - t.TLS
	body := time.Duration(0)
	if t.FirstByte > 0 {
		wait, body = t.FirstByte-t.DNS-t.Connect-t.TLS, a.Duration-t.FirstByte
	}
	parts := []timePart{
		{Name: "DNS", Class: "dns", Length: t.DNS}, {Name: "Connect", Class: "connect", Length: t.Connect},
		{Name: "TLS", Class: "tls", Length: t.TLS}, {Name: "First byte", Class: "wait", Length: max(0, wait)},
		{Name: "Answer", Class: "body", Length: max(0, body)},
	}
	x := 0.0
	for i := range parts {
		p := &parts[i]
		p.Happened = p.Length > 0
		p.X, p.Width = x, 100*float64(p.Length)/float64(max(1, a.Duration))
		x += p.Width
	}
	return parts
}

func (d *Dashboard) delivery(v *visit) (p deliveryPage, err error) {
	x, err := d.board.Delivery(v.Context(), v.project(), v.PathValue("id"))
	if err != nil {
		return p, err
	}
	if p.rowView, err = d.row(v, d.names(v), x.Delivery); err != nil {
		return p, err
	}
	p.Body, p.URL, p.May = string(x.Body), x.WebhookURL, v.may(phone.ScopeWrite)
	for i := len(x.Log) - 1; i >= 0; i-- {
		p.Attempts = append(p.Attempts, viewAttempt(x.Delivery, x.Log[i], v.now))
	}
	err = d.explain(v, &p)
	return p, err
}

// explain says why a delivery went where it went.
func (d *Dashboard) explain(v *visit, p *deliveryPage) error {
	say := func(format string, args ...any) { p.Why = append(p.Why, fmt.Sprintf(format, args...)) }
	w, err := d.store.WebhookByID(v.Context(), p.WebhookID)
	if err != nil {
		return err
	}
	if p.Test {
		say("Somebody tested this webhook: one attempt, and no retry.")
	}
	switch {
	case p.Status == phone.Unrouted:
		say("Nowhere: when it came, %s had no webhook of its own, and the project no default.", p.Agent)
		say("Once there is one, retry it here, or all such under Replay.")
	case w == nil:
		say("To a webhook that has been deleted since.")
	case w.Listener:
		say("To whoever was running `switchhook listen` for %s: that counts as the agent's own webhook.", p.Agent)
	case w.AgentID != "":
		p.WebhookLink = "/agents/" + w.AgentID
		say("To %s's own webhook: an agent that has one gets its events there, and never at the default.", p.Agent)
	default:
		p.WebhookLink = "/agents/default"
		say("To the project's default webhook: when it was bound, %s had none of its own.", p.Agent)
		own, err := d.board.Webhook(v.Context(), v.project(), p.AgentID)
		if err != nil && phone.CodeOf(err) != phone.NotFound {
			return err
		}
		if own != nil {
			say("%s has one of its own now: new events go there, what was bound before stays here.", p.Agent)
		}
	}
	if p.Round > 1 {
		say("It was retried by hand: each time it was routed anew, by the rule of that moment.")
	}
	return nil
}

func (d *Dashboard) showDelivery(v *visit) error {
	p, err := d.delivery(v)
	if err == nil {
		d.page(v, http.StatusOK, "delivery", "Delivery", p)
	}
	return err
}

// showState is the part of the page that changes.
func (d *Dashboard) showState(v *visit) error {
	p, err := d.delivery(v)
	if err == nil {
		d.fragment(v, http.StatusOK, "delivery-state", p)
	}
	return err
}

func (d *Dashboard) retry(v *visit) error {
	if _, err := d.board.RetryDelivery(v.Context(), v.project(), v.PathValue("id")); err != nil {
		return err
	}
	return d.showState(v)
}

// secretOf is the secret that deliveries to a delivery's webhook are signed with
// today.
func (d *Dashboard) secretOf(v *visit, x switchboard.DeliveryView) (*phone.Webhook, error) {
	w, err := d.store.WebhookByID(v.Context(), x.WebhookID)
	if err != nil {
		return nil, err
	}
	if w == nil || w.Listener {
		return nil, phone.Errorf(phone.Conflict, "the webhook of this delivery is gone, and its secret with it")
	}
	current, err := d.board.Webhook(v.Context(), v.project(), w.AgentID)
	if err == nil && (current == nil || current.ID != x.WebhookID) {
		err = phone.Errorf(phone.Conflict, "the webhook of this delivery is gone, and its secret with it")
	}
	return current, err
}

type curlPart struct{ Command, Note string }

// curl answers the delivery as a command, signed at this moment: receivers refuse
// what is older than some minutes.
func (d *Dashboard) curl(v *visit) error {
	x, err := d.board.Delivery(v.Context(), v.project(), v.PathValue("id"))
	if err != nil {
		return err
	}
	w, err := d.secretOf(v, x)
	if err != nil {
		return err
	}
	sig, err := webhook.Sign(w.Secret, x.ID, v.now, x.Body)
	if err != nil {
		return err
	}
	h := http.Header{"Content-Type": {"application/json"}}
	h.Set(webhook.HeaderEvent, string(x.EventType))
	sig.SetHeaders(h)
	d.fragment(v, http.StatusOK, "curl", curlPart{curlCommand(w.URL, h, x.Body), "Signed just now: receivers take it for five minutes."})
	return nil
}

func curlCommand(url string, h http.Header, body []byte) string {
	var b strings.Builder
	b.WriteString("curl -X POST " + quote(url))
	var names []string
	for name := range h {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		b.WriteString(" \\\n  -H " + quote(name+": "+h.Get(name)))
	}
	b.WriteString(" \\\n  --data-binary " + quote(string(body)))
	return b.String()
}

// quote is a word for a POSIX shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// verifyPart says whether an attempt's signatures are those of a secret.
type verifyPart struct {
	OK                 bool
	What               string
	Number             int
	Message, Given, By string
}

// verify checks the signatures of one attempt, with the webhook's secret of today
// or with one that was pasted: the one that a receiver uses.
func (d *Dashboard) verify(v *visit) error {
	x, err := d.board.Delivery(v.Context(), v.project(), v.PathValue("id"))
	if err != nil {
		return err
	}
	number, _ := strconv.Atoi(v.PostFormValue("attempt"))
	var a *phone.Attempt
	for i := range x.Log {
		if x.Log[i].Number == number {
			a = &x.Log[i]
		}
	}
	if a == nil {
		return phone.Errorf(phone.NotFound, "this delivery has no attempt %d", number)
	}
	secrets, by := []string{strings.TrimSpace(v.PostFormValue("secret"))}, "the secret you gave"
	if secrets[0] == "" {
		w, err := d.secretOf(v, x)
		if err != nil {
			return err
		}
		secrets, by = []string{w.Secret}, "the webhook's present secret"
		if w.PreviousSecret != "" {
			secrets = append(secrets, w.PreviousSecret)
		}
	}
	d.fragment(v, http.StatusOK, "verified", verifyAttempt(x, *a, secrets, by))
	return nil
}

func verifyAttempt(x switchboard.DeliveryView, a phone.Attempt, secrets []string, by string) verifyPart {
	ts := strconv.FormatInt(a.SentAt.Unix(), 10)
	h := http.Header{}
	webhook.Signature{ID: x.ID, Timestamp: ts, Legacy: a.Legacy, Standard: a.Standard}.SetHeaders(h)
	atThatTime := webhook.Now(func() time.Time { return a.SentAt })
	p := verifyPart{Number: a.Number, By: by, Given: a.Legacy, Message: ts + "." + clip(60, string(x.Body))}
	legacy := webhook.VerifyLegacy(h, x.Body, secrets, atThatTime)
	standard := webhook.VerifyStandard(h, x.Body, secrets, atThatTime)
	switch {
	case legacy == nil && standard == nil:
		p.OK, p.What = true, "Both signatures of attempt "+strconv.Itoa(a.Number)+" match "+by+"."
	case strings.Contains(legacy.Error(), webhook.ErrBadSecret.Error()):
		p.What = sentence(webhook.ErrBadSecret.Error())
	case by == "the secret you gave":
		p.What = "They do not match the secret you gave: the receiver must use this webhook's present secret, whole, with whsec_."
	default:
		p.What = "They do not match the present secret: it was changed since attempt " + strconv.Itoa(a.Number) + " was sent."
	}
	return p
}
