package postgres

import (
	"slices"
	"testing"
	"time"

	"switchhook.dev/switchhook/internal/phone"
)

// listen has somebody listen for the agent through a node.
func (f *fleet) listen(node int, session, before string) phone.Webhook {
	f.t.Helper()
	w, err := f.tryListen(node, session, before)
	f.must(err)
	return w
}

func (f *fleet) tryListen(node int, session, before string) (phone.Webhook, error) {
	return f.nodes[node].AddListener(f.t.Context(), phone.Webhook{
		ID: phone.NewID(phone.PrefixWebhook), ProjectID: fleetProject, AgentID: fleetAgent, URL: "listen://x/", Secret: "whsec_x", ContextLimit: 10,
		Timeout: 30 * time.Second, CreatedAt: time.Now().UTC(), Ordering: phone.OrderRelaxed,
	}, session, before)
}

// settle is what a node does when it sees that a webhook has changed.
func (f *fleet) settle(node int, w phone.Webhook) {
	f.t.Helper()
	_, err := f.nodes[node].SettleOwned(f.t.Context(), w.ID, nil)
	f.must(err)
}

// expect says how a delivery stands, and (for one that is pending) whose it is.
func (f *fleet) expect(what string, j *phone.Job, status phone.DeliveryStatus, w phone.Webhook, owner int64) {
	f.t.Helper()
	d := f.delivery(j.DeliveryID)
	var got int64
	f.must(f.conn.QueryRow(f.t.Context(), "SELECT owner FROM deliveries WHERE id = $1", j.DeliveryID).Scan(&got))
	if d.Status != status || d.WebhookID != w.ID || got != owner {
		f.t.Errorf("%s: it is %s (%s) of %s, run %d's; want %s of %s, run %d's", what, d.Status, d.Error, d.WebhookID, got, status, w.ID, owner)
	}
}

func TestAListenersDeliveriesAreTheNodesThatHasItsConnection(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	before := f.accept(1, "+1", false) // bound to the agent's own, and owned by 1
	l := f.listen(0, "session", "")
	for node := range f.nodes {
		active, err := f.nodes[node].ActiveWebhooks(t.Context())
		f.must(err)
		has := slices.ContainsFunc(active, func(w phone.Webhook) bool { return w.ID == l.ID })
		if here := f.nodes[node].Here(l); has != (node == 0) || here != (node == 0) {
			t.Errorf("node %d sends to the listener: %v, %v", node, has, here)
		}
	}
	// Accepted anywhere, in whoever's conversation, it is 0's.
	mine, same, others := f.accept(0, "+2", true), f.accept(1, "+1", true), f.accept(2, "+3", true)
	for what, j := range map[string]*phone.Job{"through the node itself": mine, "in a conversation of another": same, "through another": others} {
		if j.Run != f.run(0) || j.Handed != (j == mine) || j.WebhookID != l.ID {
			t.Errorf("%s: %+v", what, j)
		}
		f.expect(what, j, phone.Pending, l, f.run(0))
	}
	given, err := f.given(0)
	if f.must(err); !slices.Equal(given, []string{l.ID}) {
		t.Errorf("given %v", given)
	}
	if got := f.due(0, l); !slices.Equal(got, []string{same.DeliveryID, others.DeliveryID}) {
		t.Errorf("the node is handed %v", got)
	}
	// What was bound before stays where it is, with its owner.
	f.expect("bound before", before, phone.Pending, f.hook, f.run(1))
	// A replay goes to the listener too, through whichever node.
	before.Run = f.run(1)
	f.record(1, before, phone.Failed)
	if _, err := f.nodes[2].Retry(t.Context(), fleetProject, before.DeliveryID, time.Now(), 6); err != nil {
		t.Fatal(err)
	}
	f.expect("replayed", before, phone.Pending, l, f.run(0))
	if !f.record(0, mine, phone.Success) {
		t.Error("the result was not applied")
	}

	// A turn is asked by the node that the caller is connected to: it says where to go.
	if a := f.turn(0, "call_1", time.Now().UTC()); a.Err != nil || a.Refused != "" || a.Webhook == nil || a.Webhook.ID != l.ID {
		t.Errorf("a turn through the node: %+v", a)
	}
	if a := f.turn(1, "call_2", time.Now().UTC()); a.Err != nil || a.Refused != phone.ErrorListenerElsewhere {
		t.Errorf("a turn through another: %+v", a)
	}
}

// When a listener goes, what was never sent goes where it would have gone, and
// there to whoever has the rest of its conversation.
func TestAListenerThatGoesLeavesConversationsToTheirOwners(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	at1 := f.accept(1, "+1", true)
	l := f.listen(0, "session", "")
	same, free, sent := f.accept(2, "+1", true), f.accept(2, "+2", true), f.accept(0, "+3", true)
	f.must(f.nodes[0].RemoveListener(t.Context(), l.ID, time.Now(), []string{sent.DeliveryID}))
	f.expect("of a conversation that is 1's", same, phone.Pending, f.hook, f.run(1))
	f.expect("of one that 2 began", free, phone.Pending, f.hook, f.run(0))
	f.expect("in flight", sent, phone.Failed, l, 0)
	given, err := f.given(1)
	if f.must(err); !slices.Equal(given, []string{f.hook.ID}) {
		t.Errorf("1 was given %v", given)
	}
	if got := f.due(1, f.hook); !slices.Equal(got, []string{same.DeliveryID}) {
		t.Errorf("1 is handed %v", got)
	}
	// The next events of these conversations follow.
	if next := f.accept(2, "+1", true); next.Run != f.run(1) {
		t.Errorf("the next is run %d's, not %d's, as is what comes before it", next.Run, at1.Run)
	}
	if next := f.accept(2, "+2", true); next.Run != f.run(0) {
		t.Errorf("the next is run %d's", next.Run)
	}
}

// The node that has the connection dies, or stops: with its run the listener goes,
// before anybody tries what was for it.
func TestAListenerGoesWithItsNode(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*fleet){
		"dead":    func(f *fleet) { f.dead(0) },
		"leaving": func(f *fleet) { f.must(f.nodes[0].Leave(f.t.Context(), f.run(0))) },
		"ended":   func(f *fleet) { f.must(f.nodes[0].End(f.t.Context(), f.run(0))) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 3)
			f.accept(1, "+1", true)
			l := f.listen(0, "session", "")
			flying, same, free := f.accept(0, "+3", true), f.accept(2, "+1", true), f.accept(2, "+2", true)
			end(f)
			late := f.accept(1, "+4", true) // nobody has noticed yet
			f.expect("accepted after the end", late, phone.Pending, l, f.run(0))
			for f.adoptedAny(2) {
				if got := f.due(2, l); got != nil {
					t.Errorf("of a listener that is gone %v are handed out", got)
				}
			}
			if w, err := f.nodes[1].Listener(t.Context(), fleetProject, fleetAgent); err != nil || w != nil {
				t.Errorf("the listener is still there: %+v %v", w, err)
			}
			if w, err := f.nodes[2].WebhookByID(t.Context(), l.ID); err != nil || w != nil {
				t.Errorf("its webhook is still there: %+v %v", w, err)
			}
			f.settle(2, l)
			f.expect("of a conversation that is 1's", same, phone.Pending, f.hook, f.run(1))
			f.expect("of one that is nobody's", free, phone.Pending, f.hook, f.run(2))
			f.expect("accepted after the end", late, phone.Pending, f.hook, f.run(2))
			if name == "leaving" {
				if !f.record(0, flying, phone.Success) {
					t.Error("what was in flight could not be finished")
				}
			} else {
				f.expect("it may have been sent", flying, phone.Failed, l, 0)
			}
			if next := f.accept(0, "+1", true); next.Run != f.run(1) {
				t.Errorf("the next of 1's conversation is run %d's", next.Run)
			}
			// Somebody may listen anew, and nobody need be known.
			f.listen(1, "another", "")
		})
	}
}

func (f *fleet) adoptedAny(node int) bool { n, _ := f.adopt(node); return n > 0 }

// Who listens comes back through another node: they are known there, and take their
// own place; nobody else can.
func TestAListenerComesBackThroughAnotherNode(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	l := f.listen(0, "first", "")
	unsent, flying := f.accept(1, "+1", true), f.accept(0, "+2", true)
	for _, before := range []string{"", "second", "firs"} {
		if _, err := f.tryListen(1, "second", before); phone.CodeOf(err) != phone.Conflict {
			t.Errorf("known by %q: %v", before, err)
		}
	}
	again := f.listen(1, "second", "first")
	if again.ID == l.ID || !f.nodes[1].Here(again) {
		t.Errorf("%+v", again)
	}
	_, err := f.nodes[0].SettleOwned(t.Context(), l.ID, []string{flying.DeliveryID})
	f.must(err)
	f.expect("never sent", unsent, phone.Pending, again, f.run(1))
	f.expect("in flight when it was lost", flying, phone.Failed, l, 0)
	given, err := f.given(1)
	if f.must(err); !slices.Equal(given, []string{again.ID}) {
		t.Errorf("given %v", given)
	}
	if got := f.due(1, again); !slices.Equal(got, []string{unsent.DeliveryID}) {
		t.Errorf("handed %v", got)
	}
	if next := f.accept(0, "+1", true); next.Run != f.run(1) || next.WebhookID != again.ID {
		t.Errorf("%+v", next)
	}
}

// A start removes what runs left that are over, and what the version of the program
// before left under its own name; a living run's it leaves alone.
func TestAStartRemovesListenersOfRunsThatAreOver(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	there := func() bool {
		w, err := f.nodes[1].Listener(t.Context(), fleetProject, fleetAgent)
		f.must(err)
		return w != nil
	}
	f.listen(0, "session", "")
	f.must(f.nodes[1].RemoveListeners(t.Context(), "node 0", time.Now()))
	if !there() {
		t.Fatal("a living run's listener was removed")
	}
	f.must(f.nodes[0].End(t.Context(), f.run(0)))
	f.must(f.nodes[1].RemoveListeners(t.Context(), "node 1", time.Now()))
	if there() {
		t.Error("the listener of a run that is over is still there")
	}
	old := f.listen(1, "x", "")
	if _, err := f.conn.Exec(t.Context(), "UPDATE webhooks SET owner = 'node 9' WHERE id = $1", old.ID); err != nil {
		t.Fatal(err)
	}
	// It is the older node's as far as anybody knows: whoever accepts is the owner, as there.
	if j := f.accept(2, "+1", true); j.WebhookID != old.ID || j.Run != f.run(2) {
		t.Errorf("%+v", j)
	}
	f.must(f.nodes[2].RemoveListeners(t.Context(), "node 2", time.Now()))
	if !there() {
		t.Error("another node's was removed")
	}
	f.must(f.nodes[2].RemoveListeners(t.Context(), "node 9", time.Now()))
	if there() {
		t.Error("what the version before left is still there")
	}
}
