package postgres

import (
	"fmt"
	"testing"
	"time"

	"switchhook.dev/switchhook/internal/phone"
)

// What a node remembers of routing is forgotten with any change, through whichever
// node, in whichever way: the very next event obeys it.
func TestTheNextEventThroughAnotherNodeObeysEveryChange(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	ctx := t.Context()
	at := time.Now().UTC()
	changing := f.nodes[0]
	// where is what becomes of the next event through the other node.
	where := func() string {
		t.Helper()
		f.next++
		e := &phone.NewEvent{
			ProjectID: fleetProject, Type: phone.EventMessage, Channel: phone.ChannelSMS, Direction: phone.Inbound, Number: fleetNumber, Participant: "+1303",
			ID: phone.NewID(phone.PrefixEvent), MessageID: phone.NewID(phone.PrefixMessage), Body: "x", At: time.Now().UTC().Truncate(time.Microsecond),
			Data: func(string, string) []byte { return []byte("{}") },
		}
		a := f.nodes[1].Accept(ctx, []*phone.NewEvent{e}, memory(false))[0]
		switch {
		case a.Err != nil:
			return string(phone.CodeOf(a.Err))
		case a.Job == nil && a.WebhookID != "":
			return "ended"
		case a.Job == nil:
			return "unrouted"
		}
		return fmt.Sprint(a.AgentID, " ", a.Job.Webhook.URL)
	}
	exec := func(q string, args ...any) {
		t.Helper()
		_, err := f.conn.Exec(ctx, q, args...)
		f.must(err)
	}
	status := func(s phone.WebhookStatus) {
		t.Helper()
		_, err := changing.SetWebhookStatus(ctx, fleetProject, fleetAgent, s)
		f.must(err)
	}
	listener := phone.NewID(phone.PrefixWebhook)
	for _, c := range []struct {
		what   string
		change func()
		want   string
	}{
		{"nothing", func() {}, "agt_1 https://a.example/"},
		{"a new URL", func() { f.set(0, fleetAgent, "https://b.example/") }, "agt_1 https://b.example/"},
		{"disabled", func() { status(phone.WebhookDisabled) }, "ended"},
		{"enabled", func() { status(phone.WebhookActive) }, "agt_1 https://b.example/"},
		{"a default", func() { f.set(0, "", "https://default.example/") }, "agt_1 https://b.example/"},
		{"a listener", func() {
			_, err := changing.AddListener(ctx, phone.Webhook{
				ID: listener, ProjectID: fleetProject, AgentID: fleetAgent, URL: "https://listener.example/", Secret: "whsec_x", Timeout: time.Second, CreatedAt: at,
				Ordering: phone.OrderRelaxed, Listener: true,
			}, "", "")
			f.must(err)
		}, "agt_1 https://listener.example/"},
		{"the listener gone", func() { f.must(changing.RemoveListener(ctx, listener, at, nil)) }, "agt_1 https://b.example/"},
		{"deleted", func() { f.must(changing.DeleteWebhook(ctx, fleetProject, fleetAgent, at, nil)) }, "agt_1 https://default.example/"},
		{"set by hand", func() { exec("UPDATE webhooks SET url = 'https://hand.example/' WHERE deleted_at = 0") }, "agt_1 https://hand.example/"},
		{"the default deleted", func() { f.must(changing.DeleteWebhook(ctx, fleetProject, "", at, nil)) }, "unrouted"},
		{"another agent", func() {
			f.must(changing.CreateAgent(ctx, phone.Agent{ID: "agt_2", ProjectID: fleetProject, Name: "b", Settings: []byte("{}"), CreatedAt: at}))
			exec("UPDATE numbers SET agent_id = 'agt_2' WHERE phone_number = $1", fleetNumber) // as a node of an older version does it
			f.set(0, "agt_2", "https://two.example/")
		}, "agt_2 https://two.example/"},
		{"the agent gone", func() {
			_, err := changing.DeleteAgent(ctx, fleetProject, "agt_2", at, nil)
			f.must(err)
		}, "not_found"},
	} {
		c.change()
		for range 2 { // what is remembered, too
			if got := where(); got != c.want {
				t.Errorf("after %s: %s, want %s", c.what, got, c.want)
			}
		}
	}
}

func TestRoutingIsReadOnceWhileNothingChanges(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	first, second := f.accept(0, "+1303", memory(false)), f.accept(0, "+1304", memory(false))
	if first.Webhook != second.Webhook {
		t.Error("the second event's webhook was read anew")
	}
	f.set(0, fleetAgent, "https://b.example/")
	if third := f.accept(0, "+1303", memory(false)); third.Webhook.URL != "https://b.example/" {
		t.Error(third.Webhook)
	}
}

func TestTheRouteCacheIsBounded(t *testing.T) {
	t.Parallel()
	var c routeCache
	known := func(from, to int) map[routeKey]*route {
		m := map[routeKey]*route{}
		for i := from; i < to; i++ {
			m[routeKey{number: fmt.Sprint(i)}] = &route{numberID: "n", agentKnown: true}
		}
		return m
	}
	c.add("p", 1, known(0, maxRoutes))
	c.add("p", 1, known(maxRoutes, maxRoutes+10))
	if n := len(c.get("p").routes); n > maxRoutes {
		t.Error(n)
	}
	c.add("p", 1, map[routeKey]*route{{number: "nobody's"}: {}})
	if c.get("p").routes[routeKey{number: "nobody's"}] != nil {
		t.Error("what leads nowhere is remembered")
	}
	for i := range maxRouted + 10 {
		c.add(fmt.Sprint("p", i), 1, known(0, 1))
	}
	if n := len(c.projects); n > maxRouted {
		t.Error(n)
	}
}
