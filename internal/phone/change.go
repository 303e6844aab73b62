package phone

import (
	"context"
	"time"
)

// Action says what a change did to what.
type Action string

// Every change of configuration that the audit log knows.
const (
	ProjectCreated    Action = "project.create"
	KeyCreated        Action = "key.create"
	KeyRevoked        Action = "key.revoke"
	AgentCreated      Action = "agent.create"
	AgentUpdated      Action = "agent.update"
	AgentDeleted      Action = "agent.delete"
	NumberCreated     Action = "number.create"
	NumberDeleted     Action = "number.delete"
	NumberAttached    Action = "number.attach"
	NumberDetached    Action = "number.detach"
	WebhookSet        Action = "webhook.set"
	WebhookEnabled    Action = "webhook.enable"
	WebhookDisabledBy Action = "webhook.disable"
	WebhookDeleted    Action = "webhook.delete"
	ListenerAdded     Action = "listener.add"
	ListenerRemoved   Action = "listener.remove"
)

// maxChangeDetail is how long the detail of a change may be, in characters.
const maxChangeDetail = 500

// Actor is who makes a change. The zero Actor is the server itself.
type Actor struct {
	KeyID   string
	KeyName string
	// Address is where the request came from, as IP address.
	Address string
}

type actorInContext struct{}

// WithActor returns a context whose changes are put down to an actor.
func WithActor(ctx context.Context, a Actor) context.Context {
	return context.WithValue(ctx, actorInContext{}, a)
}

// ActorOf returns whom changes made with a context are put down to.
func ActorOf(ctx context.Context) Actor {
	a, _ := ctx.Value(actorInContext{}).(Actor)
	return a
}

// Change is one entry of a project's audit log: who changed what, when, and from
// where. It is written in the transaction of the change itself, and never changed.
type Change struct {
	// ID sorts by time.
	ID        string
	ProjectID string
	Actor
	Action Action
	// Target is the id of what was changed.
	Target string
	// Detail says more in plain words; it never holds a secret.
	Detail string
	At     time.Time
}

// NewChange returns the entry for a change that is being made now, by the actor
// of ctx. A store writes it with the change.
func NewChange(ctx context.Context, projectID string, action Action, target, detail string) Change {
	if r := []rune(detail); len(r) > maxChangeDetail {
		detail = string(r[:maxChangeDetail-1]) + "…"
	}
	return Change{
		ID: NewID(PrefixChange), ProjectID: projectID, Actor: ActorOf(ctx), Action: action, Target: target, Detail: detail,
		At: time.Now().UTC().Truncate(time.Millisecond),
	}
}
