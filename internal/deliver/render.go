package deliver

import (
	"encoding/json"
	"time"

	"switchhook.dev/switchhook/internal/phone"
)

// timeFormat is RFC 3339 with up to milliseconds.
const timeFormat = "2006-01-02T15:04:05.999Z07:00"

// FormatTime writes a time as bodies and the API show it: RFC 3339, UTC, up to
// milliseconds.
func FormatTime(t time.Time) string { return t.UTC().Format(timeFormat) }

// envelope is the body of a delivery, in the contract's order.
type envelope struct {
	Event             phone.EventType `json:"event"`
	Channel           phone.Channel   `json:"channel"`
	Timestamp         string          `json:"timestamp"`
	AgentID           string          `json:"agentId"`
	Data              json.RawMessage `json:"data"`
	ConversationState json.RawMessage `json:"conversationState"`
	RecentHistory     []pastMessage   `json:"recentHistory"`
}

type pastMessage struct {
	MessageID string          `json:"messageId"`
	Content   string          `json:"content"`
	Direction phone.Direction `json:"direction"`
	Channel   phone.Channel   `json:"channel"`
	At        string          `json:"at"`
}

// Render returns the body of a delivery. It is a pure function of what was
// committed, none of which changes while the delivery lives, so every attempt
// sends the same bytes; a body frozen by an earlier attempt is used as it is.
func Render(c phone.Content) ([]byte, error) {
	if c.Body != nil {
		return c.Body, nil
	}
	e := envelope{
		Event:             c.Event.Type,
		Channel:           c.Event.Channel,
		Timestamp:         FormatTime(c.Event.At),
		AgentID:           c.Event.AgentID,
		Data:              c.Event.Data,
		ConversationState: c.Event.State,
		RecentHistory:     make([]pastMessage, 0, len(c.History)),
	}
	if e.ConversationState == nil {
		e.ConversationState = json.RawMessage("null")
	}
	for _, m := range c.History {
		e.RecentHistory = append(e.RecentHistory, pastMessage{m.ID, m.Body, m.Direction, m.Channel, FormatTime(m.At)})
	}
	return json.Marshal(e)
}
