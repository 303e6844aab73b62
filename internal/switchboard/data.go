package switchboard

import (
	"encoding/json"
	"fmt"
	"time"

	"switchhook.dev/switchhook/internal/phone"
)

// The data objects of the contract, one for each row of its table, and how each
// is read from a submission.

type messageData struct {
	MessageID      string          `json:"messageId"`
	ConversationID string          `json:"conversationId"`
	NumberID       string          `json:"numberId"`
	From           string          `json:"from"`
	To             string          `json:"to"`
	Contact        json.RawMessage `json:"contact"`
	Message        string          `json:"message"`
	MediaURL       *string         `json:"mediaUrl"`
	MediaURLs      []string        `json:"mediaUrls"`
	Direction      phone.Direction `json:"direction"`
	ReceivedAt     string          `json:"receivedAt"`
}

func readMessage(r *reader, e *phone.NewEvent) {
	r.parties(e, r.in.From, r.in.To, "from", "to")
	first, all := r.media()
	text := ""
	if r.in.Message != nil {
		text = r.text(*r.in.Message, "message")
	}
	if text == "" && len(all) == 0 {
		r.add("missing", "message is required where there is no media: give the text", "data", "message")
	}
	e.MessageID, e.Body, e.MediaURLs = phone.NewID(phone.PrefixMessage), text, all
	d := messageData{
		MessageID: e.MessageID, Contact: nullable(r.in.Contact), Message: text,
		MediaURL: first, MediaURLs: all, Direction: e.Direction, ReceivedAt: r.time(r.in.ReceivedAt, "receivedAt"),
	}
	d.From, d.To = fromTo(e)
	e.Data = func(conversationID, numberID string) []byte {
		d.ConversationID, d.NumberID = conversationID, numberID
		return encode(d)
	}
}

type turnData struct {
	CallID     string          `json:"callId"`
	NumberID   string          `json:"numberId"`
	From       string          `json:"from"`
	To         string          `json:"to"`
	Status     *string         `json:"status"`
	Transcript string          `json:"transcript"`
	Confidence *float64        `json:"confidence"`
	Direction  phone.Direction `json:"direction"`
}

func readTurn(r *reader, e *phone.NewEvent) {
	r.parties(e, r.in.From, r.in.To, "from", "to")
	var text string
	if err := json.Unmarshal(nullable(r.in.Transcript), &text); err != nil || text == "" {
		r.add("string_type", "transcript is required: what the person said, as a string", "data", "transcript")
	}
	e.MessageID, e.Body = phone.NewID(phone.PrefixMessage), r.text(text, "transcript")
	e.Call, e.Confidence = r.call(e), r.in.Confidence
	d := turnData{
		CallID: e.Call.ID, Status: r.in.Status, Transcript: text, Confidence: r.in.Confidence, Direction: e.Direction,
	}
	d.From, d.To = fromTo(e)
	// Whoever began the call, a turn is what the agent hears.
	e.Direction = phone.Inbound
	e.Data = func(_, numberID string) []byte {
		d.NumberID = numberID
		return encode(d)
	}
}

type callEndedData struct {
	CallID              string            `json:"callId"`
	NumberID            string            `json:"numberId"`
	From                string            `json:"from"`
	To                  string            `json:"to"`
	Contact             json.RawMessage   `json:"contact"`
	Direction           phone.Direction   `json:"direction"`
	Status              *string           `json:"status"`
	StartedAt           *string           `json:"startedAt"`
	EndedAt             *string           `json:"endedAt"`
	DurationSeconds     *float64          `json:"durationSeconds"`
	DisconnectionReason *string           `json:"disconnectionReason"`
	Transcript          []phone.Utterance `json:"transcript"`
	Summary             *string           `json:"summary"`
	UserSentiment       *string           `json:"userSentiment"`
	CallSuccessful      json.RawMessage   `json:"callSuccessful"`
}

func readCallEnded(r *reader, e *phone.NewEvent) {
	r.parties(e, r.in.From, r.in.To, "from", "to")
	e.Call = r.call(e)
	d := callEndedData{
		CallID: e.Call.ID, Contact: nullable(r.in.Contact), Direction: e.Direction, Status: r.in.Status,
		StartedAt: r.optionalTime(r.in.StartedAt, "startedAt"), EndedAt: r.optionalTime(r.in.EndedAt, "endedAt"),
		DurationSeconds: r.in.DurationSeconds, DisconnectionReason: r.in.DisconnectionReason,
		Transcript: r.transcript(), Summary: r.in.Summary, UserSentiment: r.in.UserSentiment,
		CallSuccessful: nullable(r.in.CallSuccessful),
	}
	d.From, d.To = fromTo(e)
	r.callEnd(e.Call, d)
	// Whoever began the call, its end is news to the agent.
	e.Direction = phone.Inbound
	e.Data = func(_, numberID string) []byte {
		d.NumberID = numberID
		return encode(d)
	}
}

func (r *reader) transcript() []phone.Utterance {
	lines := []phone.Utterance{}
	if len(r.in.Transcript) == 0 {
		return lines
	}
	if err := json.Unmarshal(r.in.Transcript, &lines); err != nil {
		r.add("list_type", `transcript is a list of {"role": "agent" or "user", "content": "…"}`, "data", "transcript")
		return lines
	}
	for i, l := range lines {
		if l.Role != "agent" && l.Role != "user" {
			r.add("enum", fmt.Sprintf("role %q is unknown: give agent or user", clip(l.Role)), "data", "transcript", i, "role")
		}
	}
	if lines == nil {
		lines = []phone.Utterance{}
	}
	return lines
}

// call begins the call that an event is of.
func (r *reader) call(e *phone.NewEvent) *phone.Call {
	return &phone.Call{
		ID: r.callID(), ProjectID: e.ProjectID, PhoneNumber: e.Number, Participant: e.Participant, Direction: e.Direction,
		Status: phone.CallInProgress, StartedAt: r.now,
	}
}

// callEnd fills in how a call ended. What was not told is worked out where it can be.
func (r *reader) callEnd(c *phone.Call, d callEndedData) {
	c.Status, c.EndedAt = phone.CallCompleted, r.now
	if d.Status != nil && *d.Status != "" {
		c.Status = *d.Status
	}
	if d.EndedAt != nil {
		c.EndedAt = readTime(*d.EndedAt, r.now)
	}
	c.DurationSeconds, c.StartedAt = d.DurationSeconds, time.Time{}
	switch {
	case d.StartedAt != nil:
		c.StartedAt = readTime(*d.StartedAt, c.EndedAt)
	case d.DurationSeconds != nil:
		c.StartedAt = c.EndedAt.Add(-time.Duration(*d.DurationSeconds * float64(time.Second)))
	}
	if c.DurationSeconds == nil && d.StartedAt != nil {
		seconds := c.EndedAt.Sub(c.StartedAt).Seconds()
		c.DurationSeconds = &seconds
	}
	c.DisconnectionReason, c.Summary, c.UserSentiment, c.Transcript = d.DisconnectionReason, d.Summary, d.UserSentiment, d.Transcript
	if len(r.in.CallSuccessful) > 0 && string(r.in.CallSuccessful) != "null" {
		c.CallSuccessful = r.in.CallSuccessful
	}
}

// readTime reads a time that was checked before.
func readTime(s string, otherwise time.Time) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return otherwise
	}
	return t
}

type reactionData struct {
	ConversationID   string          `json:"conversationId"`
	NumberID         string          `json:"numberId"`
	ReactionType     string          `json:"reactionType"`
	FromNumber       string          `json:"fromNumber"`
	Direction        phone.Direction `json:"direction"`
	MessageID        string          `json:"messageId"`
	MessageBody      *string         `json:"messageBody"`
	MessageMediaURL  *string         `json:"messageMediaUrl"`
	MessageMediaURLs []string        `json:"messageMediaUrls"`
	CreatedAt        string          `json:"createdAt"`
}

func readReaction(r *reader, e *phone.NewEvent) {
	from, to, fromName, toName := r.in.FromNumber, r.in.ToNumber, "fromNumber", "toNumber"
	if from == "" {
		from, fromName = r.in.From, "from"
	}
	if to == "" {
		to, toName = r.in.To, "to"
	}
	r.parties(e, from, to, fromName, toName)
	if r.in.ReactionType == "" {
		r.add("missing", "reactionType is required: what the reaction is, like love or like", "data", "reactionType")
	}
	if r.in.MessageID == "" {
		r.add("missing", "messageId is required: the message that was reacted to", "data", "messageId")
	}
	created := ""
	if r.in.CreatedAt != nil {
		created = *r.in.CreatedAt
	}
	d := reactionData{
		ReactionType: r.text(r.in.ReactionType, "reactionType"), Direction: e.Direction, MessageID: r.text(r.in.MessageID, "messageId"),
		MessageBody: r.in.MessageBody, MessageMediaURL: r.in.MessageMediaURL, MessageMediaURLs: r.in.MessageMediaURLs,
		CreatedAt: r.time(created, "createdAt"),
	}
	d.FromNumber, _ = fromTo(e)
	if d.MessageMediaURLs == nil {
		d.MessageMediaURLs = []string{}
	}
	e.Data = func(conversationID, numberID string) []byte {
		d.ConversationID, d.NumberID = conversationID, numberID
		return encode(d)
	}
}
