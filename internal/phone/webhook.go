package phone

import "time"

// WebhookStatus says whether a webhook is sent to.
type WebhookStatus string

// A webhook is active until it is disabled by hand, by a 410, or by days of failure.
const (
	WebhookActive   WebhookStatus = "active"
	WebhookDisabled WebhookStatus = "disabled"
)

// Limits and defaults of a webhook's settings, from the contract.
const (
	DefaultContextLimit = 10
	MaxContextLimit     = 50
	DefaultTimeout      = 30 * time.Second
	MinTimeout          = 5 * time.Second
	MaxTimeout          = 120 * time.Second
)

// Ordering says whether a message waits for an earlier one of its conversation
// that failed.
type Ordering string

// In either order first attempts go in the order of acceptance, one at a time.
const (
	// OrderRelaxed lets a later message pass an earlier one that waits for its
	// next attempt.
	OrderRelaxed Ordering = "relaxed"
	// OrderStrict holds it back until the earlier one has ended.
	OrderStrict Ordering = "strict"
)

// MaxRateLimit is the highest rate that can be asked for, in deliveries a second.
const MaxRateLimit = 10_000

// Webhook is an endpoint: an agent's own, or the project's default.
type Webhook struct {
	ID        string
	ProjectID string
	// AgentID is empty for the project's default.
	AgentID string
	URL     string
	Secret  string
	// SealSecret, where set, makes of Secret what a store keeps of it, once the
	// webhook's id is known. A store calls Seal for that.
	SealSecret func(webhookID, secret string) string
	// PreviousSecret is what deliveries are signed with besides Secret, until
	// PreviousUntil; "" where there is none.
	PreviousSecret string
	PreviousUntil  time.Time
	Status         WebhookStatus
	// ContextLimit is how many messages of history a delivery carries, 0 to 50.
	ContextLimit int
	// Timeout bounds one whole attempt.
	Timeout   time.Duration
	CreatedAt time.Time
	Ordering  Ordering
	// RateLimit bounds the requests of one second; 0 is no bound.
	RateLimit int
	// Listener marks the webhook of a `switchhook listen` that is connected: it is
	// sent to over that connection, and counts as the agent's own.
	Listener bool
	// Owner is the node that has a listener's connection; "" where there is only one.
	Owner string
	// FailingSince is when the endpoint began to fail, while its breaker is open;
	// zero while it works.
	FailingSince time.Time
	// Revision grows with every change, so that a newer copy can be told from an older.
	Revision int64
}

// Seal puts in place of the secret what a store is to keep of it. Its ID is the
// one that stays. A second call does nothing.
func (w *Webhook) Seal() {
	if w.SealSecret != nil {
		w.Secret = w.SealSecret(w.ID, w.Secret)
		w.SealSecret = nil
	}
}

// PreviousSecretLife is how long after a change of its secret a webhook's
// deliveries are signed with the previous one too.
const PreviousSecretLife = 24 * time.Hour
