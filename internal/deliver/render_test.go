package deliver

import (
	"encoding/json"
	"testing"
	"time"

	"switchhook.dev/switchhook/internal/phone"
)

// FuzzRender: whatever a message says, the body is what encoding/json makes of it.
func FuzzRender(f *testing.F) {
	for _, s := range []string{"", "Hi", "<b>&\"\\\n\x00\x7f", "héllo 🙂", "\xff\xfe", "\u2028"} {
		f.Add(s, `{"a": 1,  "b":"<x>"}`)
	}
	f.Add("x", "")
	f.Fuzz(func(t *testing.T, text, state string) {
		if state != "" && !json.Valid([]byte(state)) {
			t.Skip()
		}
		type past struct {
			MessageID string `json:"messageId"`
			Content   string `json:"content"`
			Direction string `json:"direction"`
			Channel   string `json:"channel"`
			At        string `json:"at"`
		}
		at := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
		c := phone.Content{
			Event: phone.Event{Type: phone.EventMessage, Channel: phone.ChannelSMS, AgentID: "agt_1", Data: []byte(`{"x":1}`), At: at},
			History: []phone.Message{
				{ID: "msg_1", Body: text, Direction: phone.Inbound, Channel: phone.ChannelSMS, At: at},
				{ID: "msg_2", Body: "ok", Direction: phone.Outbound, Channel: phone.ChannelMMS, At: at.Truncate(time.Second)},
			},
		}
		var kept json.RawMessage
		if state != "" {
			c.Event.State, kept = []byte(state), json.RawMessage(state)
		}
		got, err := Render(c)
		if err != nil {
			t.Fatal(err)
		}
		want, err := json.Marshal(struct {
			Event     string          `json:"event"`
			Channel   string          `json:"channel"`
			Timestamp string          `json:"timestamp"`
			AgentID   string          `json:"agentId"`
			Data      json.RawMessage `json:"data"`
			State     json.RawMessage `json:"conversationState"`
			History   []past          `json:"recentHistory"`
		}{"agent.message", "sms", "2026-01-02T03:04:05.678Z", "agt_1", []byte(`{"x":1}`), kept, []past{
			{"msg_1", text, "inbound", "sms", "2026-01-02T03:04:05.678Z"}, {"msg_2", "ok", "outbound", "mms", "2026-01-02T03:04:05Z"},
		}})
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("%s\nis not\n%s", got, want)
		}
	})
}
