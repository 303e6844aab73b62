package dashboard

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
	"switchhook.dev/switchhook/internal/switchboard"
)

// agentsLength is how many agents a page shows.
const agentsLength = 20

// defaultID stands, in a path, for the project's default webhook in place of an
// agent's: no agent's id is like it.
const defaultID = "default"

func (d *Dashboard) registerAgents() {
	d.on("GET /agents", phone.ScopeRead, d.showAgents)
	d.on("GET /agents/{id}", phone.ScopeRead, d.showAgent)
	d.on("POST /agents/{id}/webhook", phone.ScopeWrite, d.setWebhook)
	d.on("POST /agents/{id}/webhook/test", phone.ScopeWrite, d.testWebhook)
	d.on("POST /agents/{id}/webhook/rotate", phone.ScopeWrite, d.rotateSecret)
	d.on("POST /agents/{id}/webhook/status", phone.ScopeWrite, d.setStatus)
	d.on("POST /agents/{id}/webhook/remove", phone.ScopeWrite, d.removeWebhook)
}

type agentRow struct {
	phone.Agent
	Look     store.AgentLook
	Endpoint endpointView
}

// endpointView is where an agent's events go.
type endpointView struct {
	Kind string // "own", "default", "listener" or "none"
	Hook *phone.Webhook
}

// State says in a word how the endpoint is.
func (e endpointView) State() string {
	switch {
	case e.Hook == nil:
		return "unrouted"
	case e.Hook.Status == phone.WebhookDisabled:
		return "disabled"
	case !e.Hook.FailingSince.IsZero():
		return "out"
	}
	return "active"
}

type agentsPage struct {
	Default      endpointView
	Rows         []agentRow
	Total        int
	From, To     int
	Newer, Older string
	Now          time.Time
	Scan         int
}

func (d *Dashboard) showAgents(v *visit) error {
	offset, _ := strconv.Atoi(v.FormValue("offset"))
	offset = min(max(0, offset), 10_000_000)
	agents, total, err := d.store.Agents(v.Context(), v.project(), agentsLength, offset)
	if err != nil {
		return err
	}
	def, err := d.board.Webhook(v.Context(), v.project(), "")
	if err != nil {
		return err
	}
	var ids []string
	for _, a := range agents {
		ids = append(ids, a.ID)
	}
	looks, err := d.store.AgentLooks(v.Context(), v.project(), ids)
	if err != nil {
		return err
	}
	p := agentsPage{Default: endpointView{"default", def}, Total: total, From: offset + 1, To: offset + len(agents), Now: v.now, Scan: store.AgentScan}
	for _, a := range agents {
		e, err := d.endpoint(v, a.ID, def)
		if phone.CodeOf(err) == phone.NotFound {
			continue // it went a moment ago
		}
		if err != nil {
			return err
		}
		p.Rows = append(p.Rows, agentRow{a, looks[a.ID], e})
	}
	if offset > 0 {
		p.Newer = fmt.Sprintf("/agents?offset=%d", max(0, offset-agentsLength))
	}
	if p.To < total {
		p.Older = fmt.Sprintf("/agents?offset=%d", offset+agentsLength)
	}
	d.page(v, http.StatusOK, "agents", "Agents", p)
	return nil
}

// endpoint is where an agent's events go: the routing rule, as it would decide now.
func (d *Dashboard) endpoint(v *visit, agentID string, def *phone.Webhook) (endpointView, error) {
	own, err := d.board.Webhook(v.Context(), v.project(), agentID)
	if err != nil {
		return endpointView{}, err
	}
	listener, err := d.store.Listener(v.Context(), v.project(), agentID)
	if err != nil {
		return endpointView{}, err
	}
	b := phone.Route(listener, own, def)
	switch {
	case b.Webhook == nil:
		return endpointView{Kind: "none"}, nil
	case b.Webhook == listener:
		return endpointView{"listener", listener}, nil
	case b.Webhook == own:
		return endpointView{"own", own}, nil
	}
	return endpointView{"default", def}, nil
}

// agentPage is an agent, or the project's default webhook, with the picture of
// where events go and the means to change it.
type agentPage struct {
	Agent  *phone.Agent // nil for the default
	Look   store.AgentLook
	Scan   int
	Route  endpointView
	Own    endpointView // what is set here: the agent's own, or the default
	Deflt  endpointView
	WhatIf []string
	Panel  webhookPanel
	Now    time.Time
}

// webhookPanel is what changes a webhook, and what came of it.
type webhookPanel struct {
	ID     string // of the agent, or defaultID
	Hook   *phone.Webhook
	WhatIf []string
	// Secret is shown once, when it was made; Code has it filled in.
	Secret  string
	Code    []codeView
	Rotated bool
	Notice  *notice
	May     bool
	Now     time.Time
}

// Seconds is the webhook's timeout.
func (p webhookPanel) Seconds() int {
	if p.Hook == nil {
		return int(phone.DefaultTimeout / time.Second)
	}
	return int(p.Hook.Timeout / time.Second)
}

// History is the webhook's limit of history.
func (p webhookPanel) History() int {
	if p.Hook == nil {
		return phone.DefaultContextLimit
	}
	return p.Hook.ContextLimit
}

// agentID is the agent a page is about; "" for the default.
func (v *visit) agentID() string {
	if id := v.PathValue("id"); id != defaultID {
		return id
	}
	return ""
}

func (d *Dashboard) showAgent(v *visit) error {
	p, err := d.agentPage(v)
	if err != nil {
		return err
	}
	title := "Default webhook"
	if p.Agent != nil {
		title = p.Agent.Name
	}
	d.page(v, http.StatusOK, "agent", title, p)
	return nil
}

func (d *Dashboard) agentPage(v *visit) (p agentPage, err error) {
	p.Now, p.Scan = v.now, store.AgentScan
	def, err := d.board.Webhook(v.Context(), v.project(), "")
	if err != nil {
		return p, err
	}
	p.Deflt, p.Own = endpointView{"default", def}, endpointView{"default", def}
	if id := v.agentID(); id != "" {
		a, err := d.store.Agent(v.Context(), v.project(), id)
		if err != nil {
			return p, err
		}
		own, err := d.board.Webhook(v.Context(), v.project(), id)
		if err != nil {
			return p, err
		}
		p.Agent, p.Own = &a, endpointView{"own", own}
		if p.Route, err = d.endpoint(v, id, def); err != nil {
			return p, err
		}
		looks, err := d.store.AgentLooks(v.Context(), v.project(), []string{id})
		if err != nil {
			return p, err
		}
		p.Look = looks[id]
	}
	p.Panel, err = d.panel(v, p.Own.Hook)
	return p, err
}

// panel is the panel of a webhook that is, or is to be, set here.
func (d *Dashboard) panel(v *visit, w *phone.Webhook) (p webhookPanel, err error) {
	p = webhookPanel{ID: v.PathValue("id"), Hook: w, May: v.may(phone.ScopeWrite), Now: v.now}
	if w == nil {
		return p, nil
	}
	waiting, err := d.store.Waiting(v.Context(), v.project(), w.ID)
	if err != nil {
		return p, err
	}
	var def *phone.Webhook
	if v.agentID() != "" {
		if def, err = d.board.Webhook(v.Context(), v.project(), ""); err != nil {
			return p, err
		}
	}
	p.WhatIf = whatIf(v.agentID() != "", def, waiting)
	return p, nil
}

// whatIf says what would happen if a webhook were removed. It is the routing
// rule's AfterWebhookDeleted, in words.
func whatIf(own bool, def *phone.Webhook, w store.Waiting) (out []string) {
	b := phone.AfterWebhookDeleted(false, nil, nil, def)
	where := "nowhere: they would be kept as unrouted, and could be replayed once there is a webhook"
	fresh := "would become unrouted"
	switch {
	case b.Status == phone.Failed:
		where, fresh = "to the default, which is disabled: they would be kept as failed", "would end as failed at the default, which is disabled"
	case b.Webhook != nil:
		where, fresh = "to the default, "+b.Webhook.URL, "would go to the default"
	}
	if own {
		out = append(out, "New events of this agent would go "+where+".")
	} else {
		out = append(out, "New events of agents without a webhook of their own would go "+where+".")
	}
	if w.Fresh > 0 {
		out = append(out, atMost(w.Fresh, store.MaxWaiting, "waiting delivery", "waiting deliveries")+" never sent so far "+fresh+".")
	}
	if w.Tried > 0 {
		out = append(out, atMost(w.Tried, store.MaxWaiting, "delivery", "deliveries")+" tried already would end as failed, since the endpoint may have received that much; replaying is possible.")
	}
	if w.Fresh+w.Tried == 0 {
		out = append(out, "Nothing waits for it.")
	}
	return out
}

// settingsForm reads the form of a webhook.
func settingsForm(v *visit) (s switchboard.WebhookSettings, err error) {
	number := func(name, what string, low, high, otherwise int) int {
		text := strings.TrimSpace(v.PostFormValue(name))
		if text == "" {
			return otherwise
		}
		n, convErr := strconv.Atoi(text)
		if (convErr != nil || n < low || n > high) && err == nil {
			err = phone.Errorf(phone.BadRequest, "%s is a number from %d to %d", what, low, high)
		}
		return n
	}
	s.URL = strings.TrimSpace(v.PostFormValue("url"))
	s.ContextLimit = number("contextLimit", "the history", 0, phone.MaxContextLimit, phone.DefaultContextLimit)
	s.Timeout = time.Duration(number("timeout", "the timeout", int(phone.MinTimeout/time.Second), int(phone.MaxTimeout/time.Second), int(phone.DefaultTimeout/time.Second))) * time.Second
	s.RateLimit = number("rateLimit", "the rate", 0, phone.MaxRateLimit, 0)
	s.Ordering = phone.OrderRelaxed
	if v.PostFormValue("ordering") == string(phone.OrderStrict) {
		s.Ordering = phone.OrderStrict
	}
	return s, err
}

func (d *Dashboard) setWebhook(v *visit) error {
	s, err := settingsForm(v)
	if err != nil {
		return err
	}
	return d.set(v, s, false)
}

// rotateSecret sets the webhook as it is, which makes a new secret.
func (d *Dashboard) rotateSecret(v *visit) error {
	w, err := d.board.Webhook(v.Context(), v.project(), v.agentID())
	if err != nil {
		return err
	}
	if w == nil {
		return phone.Errorf(phone.NotFound, "no webhook is set here: set one first")
	}
	return d.set(v, switchboard.WebhookSettings{
		URL: w.URL, ContextLimit: w.ContextLimit, Timeout: w.Timeout, Ordering: w.Ordering, RateLimit: w.RateLimit,
	}, true)
}

func (d *Dashboard) set(v *visit, s switchboard.WebhookSettings, rotated bool) error {
	w, err := d.board.SetWebhook(v.Context(), v.project(), v.agentID(), s)
	if err != nil {
		return err
	}
	p, err := d.agentPage(v)
	if err != nil {
		return err
	}
	p.Panel.Secret, p.Panel.Code, p.Panel.Rotated = w.Secret, verificationCode(w.Secret), rotated
	d.fragment(v, http.StatusOK, "agent-body", p)
	return nil
}

// again shows the page's body as it is now, with a notice of what was done.
func (d *Dashboard) again(v *visit, n notice) error {
	p, err := d.agentPage(v)
	if err != nil {
		return err
	}
	p.Panel.Notice = &n
	d.fragment(v, http.StatusOK, "agent-body", p)
	return nil
}

func (d *Dashboard) testWebhook(v *visit) error {
	r, err := d.board.TestWebhook(v.Context(), v.project(), v.agentID(), "")
	if err != nil {
		return err
	}
	n := notice{Link: "/deliveries/" + r.DeliveryID, LinkText: "See the delivery"}
	if r.Success {
		n.Text = fmt.Sprintf("It works: the endpoint answered %d in %s.", r.HTTPStatus, short(r.Response))
	} else {
		n.Bad, n.Text = true, sentence("the test failed: "+r.Error)
	}
	return d.again(v, n)
}

func (d *Dashboard) setStatus(v *visit) error {
	status := phone.WebhookStatus(v.PostFormValue("status"))
	if status != phone.WebhookActive && status != phone.WebhookDisabled {
		return phone.Errorf(phone.BadRequest, "a webhook is active or disabled")
	}
	if _, err := d.board.SetWebhookStatus(v.Context(), v.project(), v.agentID(), status); err != nil {
		return err
	}
	if status == phone.WebhookActive {
		return d.again(v, notice{Text: "It is enabled: new events go there. What failed meanwhile can be replayed.", Link: "/replay?webhook=" + v.PostFormValue("webhook"), LinkText: "Replay"})
	}
	return d.again(v, notice{Text: "It is disabled: its events are kept as failed, and go nowhere else."})
}

func (d *Dashboard) removeWebhook(v *visit) error {
	if err := d.board.DeleteWebhook(v.Context(), v.project(), v.agentID()); err != nil {
		return err
	}
	return d.again(v, notice{Text: "It is removed, and what waited for it is settled."})
}
