package phone

import "time"

// DeliveryStatus is the state of a delivery.
//
//	             accept
//	   ┌───────────┼─────────────┐
//	   ▼           ▼             ▼
//	unrouted    pending ──2xx─▶ success
//	   │         ▲ │  ▲            │
//	   └──retry──┘ │  └────retry───┤
//	               │               │
//	               └─out of────▶ failed
//	                 attempts, 410,
//	                 webhook gone
//
// A pending delivery whose webhook is deleted before its first attempt is bound
// anew (and stays pending, or becomes unrouted); see AfterWebhookDeleted.
type DeliveryStatus string

// The states of a delivery. The contract's list shows the first three; an
// unrouted one is shown where it is asked for.
const (
	Pending  DeliveryStatus = "pending"
	Success  DeliveryStatus = "success"
	Failed   DeliveryStatus = "failed"
	Unrouted DeliveryStatus = "unrouted"
)

// Texts of deliveries that ended without, or in spite of, an attempt.
const (
	ErrorWebhookDeleted  = "webhook deleted"
	ErrorWebhookDisabled = "webhook disabled"
)

// Delivery is the one sending of an event to the one webhook it is bound to.
type Delivery struct {
	ID             string
	EventID        string
	ProjectID      string
	AgentID        string
	ConversationID string
	MessageID      string
	// WebhookID is empty while the delivery is unrouted.
	WebhookID string
	EventType EventType
	Channel   Channel
	Status    DeliveryStatus
	// Round counts the sets of attempts: 1, and one more for each retry by hand.
	Round int
	// Attempts counts all attempts that are on record.
	Attempts int
	// HTTPStatus, Error and ResponseBody are the last attempt's; HTTPStatus is 0
	// where there was no answer.
	HTTPStatus    int
	Error         string
	ResponseBody  string
	LastAttemptAt time.Time
	// NextAttemptAt is zero unless the delivery is pending.
	NextAttemptAt time.Time
	CreatedAt     time.Time
	// Test marks a delivery made by "test this webhook": one attempt, no retry.
	Test bool
}

// Attempt is one request of a delivery, as it was sent and answered.
type Attempt struct {
	ID         string
	DeliveryID string
	// Number counts from 1 over the life of the delivery.
	Number   int
	URL      string
	SentAt   time.Time
	Duration time.Duration
	Timing   Timing
	// Legacy and Standard are the signatures that were sent.
	Legacy, Standard string
	// HTTPStatus is 0 where there was no answer; Error then says why.
	HTTPStatus int
	Error      string
	// ResponseBody is the first 4 KiB of the answer.
	ResponseBody string
}

// Timing says where an attempt's time went. What did not happen is 0: a kept
// connection needs no name lookup, no connecting and no handshake.
type Timing struct {
	DNS, Connect, TLS time.Duration
	// FirstByte is from the start of the attempt to the first byte of the answer.
	FirstByte time.Duration
}

// Job is what the dispatcher knows of a pending delivery while it holds it.
type Job struct {
	DeliveryID     string
	ProjectID      string
	AgentID        string
	WebhookID      string
	ConversationID string
	MessageID      string
	EventType      EventType
	Channel        Channel
	// Attempts counts all attempts on record, RoundAttempts those of this round.
	Attempts      int
	RoundAttempts int
	// Round counts the sets of attempts: 1, and one more for each retry by hand.
	// A result of an earlier round changes nothing any more.
	Round     int
	CreatedAt time.Time
	// Event is a fresh delivery's, so that it need not be read again for the first
	// attempt; nil where it must be. History belongs to it, and is not to be changed.
	Event   *Event
	History []Message
	// Webhook is a fresh delivery's webhook as the transaction that bound it read it:
	// a dispatcher may not know it yet, or know an older revision. nil otherwise.
	Webhook *Webhook
	// Handed says that a dispatcher owns the job already: the store has it marked
	// as one that may have been sent.
	Handed bool
	// Run is the run of the server that owns the job, where many share a database;
	// else 0. No other may send it, or write its result.
	Run int64
}

// Result is what came of an attempt, ready to be recorded.
type Result struct {
	Job     *Job
	Attempt Attempt
	// Status is Pending where another attempt follows, at NextAttemptAt.
	Status        DeliveryStatus
	NextAttemptAt time.Time
	// Body is frozen with the first attempt that did not end the delivery, so
	// that every later one sends the same bytes whatever has changed meanwhile.
	Body []byte
	// Probe says that the attempt tried whether a failing endpoint works again: it
	// spends none of the round's attempts.
	Probe bool
	// DisableWebhook says that the answer was 410 Gone.
	DisableWebhook bool
	// RetryAfter is how long the endpoint asked not to be sent to.
	RetryAfter time.Duration
	// Unreachable says that no connection was made.
	Unreachable bool
}

// Content is what a body is rendered from.
type Content struct {
	Event Event
	// History is oldest first, already cut to the webhook's limit.
	History []Message
	// Body is the frozen body, where an attempt was recorded before.
	Body []byte
}
