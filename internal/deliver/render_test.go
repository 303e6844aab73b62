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

// Times are written the short way in bodies, and as before elsewhere.
func TestTimesInBodiesAreAsElsewhere(t *testing.T) {
	for _, at := range []time.Time{
		time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), time.Date(2026, 1, 2, 3, 4, 5, 999_999_999, time.UTC), time.Date(2026, 1, 2, 3, 4, 5, 120e6, time.UTC),
		time.Date(2026, 1, 2, 3, 4, 5, 999_999, time.UTC), time.Date(2026, 6, 30, 23, 59, 59, 5e6, time.FixedZone("", 3600)), {}, time.UnixMicro(-1),
		time.Date(9999, 12, 31, 23, 59, 59, 999e6, time.UTC), time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		if got, want := string(appendTime(nil, at)), `"`+FormatTime(at)+`"`; got != want {
			t.Errorf("%s is written %s, want %s", at, got, want)
		}
	}
}

func BenchmarkRender(b *testing.B) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
	c := phone.Content{Event: phone.Event{Type: phone.EventMessage, Channel: phone.ChannelSMS, AgentID: "agt_1", Data: []byte(`{"x":1}`), At: at}}
	for range 10 {
		c.History = append(c.History, phone.Message{
			ID: "msg_00000000000000000000000000", Body: "Hello there, where is my order? I have been waiting for it.",
			Direction: phone.Inbound, Channel: phone.ChannelSMS, At: at,
		})
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Render(c); err != nil {
			b.Fatal(err)
		}
	}
}
