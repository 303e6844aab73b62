package phone

import (
	"encoding/json"
	"time"
)

// States of a call that this program gives it. Once its end is told, the status
// is the one told with it.
const (
	CallInProgress = "in-progress"
	CallCompleted  = "completed"
)

// Texts of turns that ended without a word of the webhook's.
const (
	ErrorTurnLost          = "the server was stopped before the turn ended: it is not asked again"
	ErrorListenerElsewhere = "somebody listens for this agent (switchhook listen) through another node: ask through that one, or connect the listener to this one"
	ErrorTurnUnrouted      = "no webhook: set one for the agent or for the project"
)

// Call is one telephone call of an agent on one of its numbers. It begins with
// its first turn, or is known from its end alone.
type Call struct {
	// ID is whatever the carrier calls it: 1 to 128 visible ASCII characters,
	// unique within the project.
	ID        string
	ProjectID string
	AgentID   string
	NumberID  string
	// PhoneNumber is ours, in E.164; Participant is the other side.
	PhoneNumber string
	Participant string
	// Direction says who began it.
	Direction Direction
	Status    string
	StartedAt time.Time
	// EndedAt is zero until the end is told, and so is all that follows. An end that
	// does not tell when the call began has a zero StartedAt: then it is what is known.
	EndedAt             time.Time
	DurationSeconds     *float64
	DisconnectionReason *string
	Summary             *string
	UserSentiment       *string
	// CallSuccessful is JSON, as it was told; nil for unknown.
	CallSuccessful []byte
	// Transcript is what was told with the end, every word of the call; empty
	// where it told none: the turns then are all that is known.
	Transcript []Utterance
	// LastSnippet is the beginning of the last thing said; "" for nothing.
	LastSnippet string
}

// SilentReply is what a caller is answered where nothing was said, and why not.
func SilentReply(why string) []byte {
	b, err := json.Marshal(struct {
		Text   string `json:"text"`
		Chunks int    `json:"chunks"`
		Error  string `json:"error"`
	}{Error: why})
	if err != nil {
		panic("phone: a string cannot be encoded: " + err.Error()) // it always can
	}
	return b
}

// Utterance is what one side of a call said.
type Utterance struct {
	Role    string `json:"role"` // "agent" or "user"
	Content string `json:"content"`
}

// Turn is one question of a call, and what was answered.
type Turn struct {
	DeliveryID string
	CallID     string
	Question   string
	// Confidence is how sure the transcriber is, 0 to 1; nil for unknown.
	Confidence *float64
	AskedAt    time.Time
	Status     DeliveryStatus
	// Answer is what was said, joined; "" for silence.
	Answer string
	// Reply is what a caller that does not stream was answered, a JSON object; nil
	// while the turn is under way.
	Reply      []byte
	AnsweredAt time.Time
}

// TurnResult is what came of a turn, ready to be recorded.
type TurnResult struct {
	Job *Job
	// NumberID, Number and Participant are the conversation's.
	NumberID, Number, Participant string
	CallID                        string
	// Attempts are those made: none, one, or two where the first made no connection.
	Attempts []Attempt
	Status   DeliveryStatus
	// Ended says why, where no attempt does.
	Ended string
	// Answer joins the history as MessageID, unless it is empty.
	MessageID string
	Answer    string
	Reply     []byte
	At        time.Time
	// DisableWebhook says that the answer was 410 Gone.
	DisableWebhook bool
}
