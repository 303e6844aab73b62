package switchboard

// This file stands alone: .ci/fuzz builds it without the package's other tests.

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"switchhook.dev/switchhook/internal/phone"
)

// FuzzSubmission: an event is taken whole or refused with every fault; what is
// taken is a number of ours, somebody else's, and JSON for receivers.
func FuzzSubmission(f *testing.F) {
	for _, s := range []struct{ event, channel, data string }{
		{"agent.message", "sms", `{"from":"+12025550199","to":"+12025550101","message":"hi","mediaUrls":["https://example.com/a.png"],"receivedAt":"2025-01-15T12:00:00Z"}`},
		{"agent.message", "mms", `{"from":"(202) 555-0199","to":"+1 202 555 0101","message":null,"mediaUrl":"x","contact":{"a":[1,2]},"direction":"outbound"}`},
		{"agent.message", "voice", `{"from":"+12025550199","to":"+12025550101","transcript":"hello","confidence":0.5,"callId":"call_1"}`},
		{"agent.call_ended", "voice", `{"from":"+12025550199","to":"+12025550101","transcript":[{"role":"agent","content":"hi"}],"startedAt":"2025-01-15T12:00:00Z","durationSeconds":1e3,"callSuccessful":true}`},
		{"agent.reaction", "imessage", `{"fromNumber":"a@example.com","toNumber":"+12025550101","reactionType":"love","messageId":"m","messageBody":"x"}`},
		{"agent.message", "sms", `{"from":1}`}, {"agent.message", "sms", `null`}, {"agent.message", "sms", ``}, {"agent.message", "sms", `[]`},
		{"", "", `{}`}, {"agent.x", "sms", `{}`}, {"agent.reaction", "sms", `{}`}, {"agent.message", "sms", `{"from":"\u0000","to":"\ud800","message":"\uffff"}`},
	} {
		f.Add(s.event, s.channel, []byte(s.data))
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f.Fuzz(func(t *testing.T, event, channel string, data []byte) {
		e, err := parse(Submission{ProjectID: "prj_1", Type: phone.EventType(event), Channel: phone.Channel(channel), Data: data}, now)
		if err != nil {
			fault, ok := errors.AsType[*phone.Error](err)
			if !ok || fault.Code != phone.Invalid || len(fault.Faults) == 0 {
				t.Fatalf("%#v is no fault of an event", err)
			}
			for _, f := range fault.Faults {
				if len(f.Loc) == 0 || f.Loc[0] != "body" || f.Msg == "" || f.Type == "" || len(f.Msg) > 1000 {
					t.Fatalf("a fault says too little, or too much: %+v", f)
				}
			}
			return
		}
		if number, err := phone.LookupNumber(e.Number); err != nil || number != e.Number || !strings.HasPrefix(number, "+") {
			t.Fatalf("%q is no number of ours: %v", e.Number, err)
		}
		if e.Participant == "" || len(e.Participant) > phone.MaxParticipant || len(e.Body) > maxMessage || e.ID == "" {
			t.Fatalf("%+v", e)
		}
		if out := e.Data("conv_1", "num_1"); !json.Valid(out) || !strings.HasPrefix(string(out), "{") {
			t.Fatalf("receivers get %q", out)
		}
	})
}
