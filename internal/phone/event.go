package phone

import "time"

// EventType says what happened.
type EventType string

// The events of the contract.
const (
	EventMessage   EventType = "agent.message"
	EventCallEnded EventType = "agent.call_ended"
	EventReaction  EventType = "agent.reaction"
)

// Channel says by which way it happened.
type Channel string

// The channels of the contract.
const (
	ChannelSMS      Channel = "sms"
	ChannelMMS      Channel = "mms"
	ChannelIMessage Channel = "imessage"
	ChannelVoice    Channel = "voice"
)

// Direction is seen from the agent: what a person sends is inbound.
type Direction string

// The directions of the contract.
const (
	Inbound  Direction = "inbound"
	Outbound Direction = "outbound"
)

// Event is something that happened to an agent. It is immutable.
type Event struct {
	ID             string
	ProjectID      string
	AgentID        string
	Type           EventType
	Channel        Channel
	Direction      Direction
	ConversationID string
	// MessageID is empty where the event adds no message (a call's end).
	MessageID string
	// Data is the "data" object of the body, ids included.
	Data []byte
	// State is the conversation's metadata when the event was accepted, or nil.
	State []byte
	// HistoryBefore bounds the history the event is delivered with: messages of
	// its conversation with a smaller Seq.
	HistoryBefore int64
	At            time.Time
}

// NewEvent is an event about to be accepted: checked, but not yet looked up.
type NewEvent struct {
	ProjectID string
	// AgentID is empty where the number is to decide.
	AgentID     string
	Type        EventType
	Channel     Channel
	Direction   Direction
	Number      string // ours, in E.164
	Participant string
	// IdempotencyKey is empty where the caller gave none.
	IdempotencyKey string
	// Traceparent is the caller's, by W3C Trace Context; "" where there is none.
	Traceparent string
	// ID and MessageID are made beforehand; MessageID is empty where the event
	// adds no message.
	ID        string
	MessageID string
	// Body and MediaURLs are the message's, where there is one.
	Body      string
	MediaURLs []string
	At        time.Time
	// Data completes the "data" object with what only the store can know.
	Data func(conversationID, numberID string) []byte
	// Call is the call that the event is of: with its end where the event tells of
	// it, else only begun. Nil where it is of none.
	Call *Call
	// Confidence is a turn's.
	Confidence *float64
}

// IsTurn says whether the event is a turn of a call: someone waits for an answer.
func (e *NewEvent) IsTurn() bool { return IsTurn(e.Type, e.Channel) }

// IsTurn says whether such an event is a turn of a call.
func IsTurn(t EventType, c Channel) bool { return t == EventMessage && c == ChannelVoice }

// Accepted answers a NewEvent once it is on disk.
type Accepted struct {
	EventID        string
	AgentID        string
	MessageID      string
	ConversationID string
	// DeliveryID and WebhookID are empty where the event is not delivered:
	// unrouted, or outbound.
	DeliveryID string
	WebhookID  string
	// NumberID and CallID are a turn's.
	NumberID string `json:",omitempty"`
	CallID   string `json:",omitempty"`
	// Duplicate says that this is an earlier event's answer, by idempotency key.
	Duplicate bool
	// Job is what the dispatcher is to be handed; nil where nothing is to be sent.
	Job *Job `json:"-"`
	// Webhook is what a turn is bound to, as the transaction saw it; nil for other
	// events, and where there is nothing to ask.
	Webhook *Webhook `json:"-"`
	// Refused says why a turn cannot be asked: it has no webhook that is sent to.
	Refused string `json:"-"`
	// Err is set where this event, and only it, was not accepted.
	Err error
}
