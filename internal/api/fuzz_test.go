package api

// This file stands alone: .ci/fuzz builds it without the package's other tests.

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"switchhook.dev/switchhook/internal/phone"
)

// refused says whether err is one that a caller can mend, with everything it needs.
func refused(t *testing.T, err error) {
	t.Helper()
	e, ok := errors.AsType[*phone.Error](err)
	if !ok || e.Code != phone.Invalid || len(e.Faults) == 0 {
		t.Fatalf("%#v is no fault of a body", err)
	}
	for _, f := range e.Faults {
		if len(f.Loc) == 0 || f.Msg == "" || f.Type == "" {
			t.Fatalf("a fault says too little: %+v", f)
		}
	}
}

// FuzzEventBody: whatever is handed in is an event or refused with its faults; what
// is taken is JSON, and not too deep.
func FuzzEventBody(f *testing.F) {
	for _, s := range []string{
		`{"event":"agent.message","channel":"sms","agentId":"agt_1","data":{"from":"+12025550199","to":"+12025550101","message":"hi"}}`,
		`{"event":5,"channel":null,"data":[]}`, `[]`, ``, ` `, `{`, `{"event":"a","event":"b"}`, `{"EVENT":"a"}`, `{"data":{"a":"\ud800"}}`, "{\"event\":\"\xff\"}",
		`{"events":[{},1,"x"]}`, `[{},{}]`, `{"events":null}`, `{"events":{}}`, strings.Repeat("[", 100), strings.Repeat(`{"a":`, 70) + "1" + strings.Repeat("}", 70), `"\"[[[["`, `1e999`, `{"name":1,"numbers":2}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if e, err := decodeEvent(raw); err != nil {
			refused(t, err)
		} else if !json.Valid(raw) || len(e.Data) > len(raw) {
			t.Fatalf("%q is an event", raw)
		}
		if events, err := splitBatch(raw); err != nil {
			refused(t, err)
		} else if len(events) == 0 || len(events) > maxBatch || !json.Valid(raw) {
			t.Fatalf("%q is a batch of %d", raw, len(events))
		}
		var any map[string]any
		if err := unmarshal(raw, &any); err == nil && tooDeep(raw) {
			t.Fatalf("%q is too deep, and taken", raw)
		}
		if kept, err := settings([]byte(`{"voice":"x"}`), raw); err == nil && !json.Valid(kept) {
			t.Fatalf("%q is kept as %q", raw, kept)
		}
	})
}

// FuzzDepth: the depth is what a decoder would meet.
func FuzzDepth(f *testing.F) {
	f.Add([]byte(`{"a":[{"b":"[[[\"]]"}]}`))
	f.Add([]byte(strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1)))
	f.Add([]byte(strings.Repeat("[", maxDepth) + `"]\\"` + strings.Repeat("]", maxDepth)))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if !json.Valid(raw) {
			_ = tooDeep(raw)
			return
		}
		depth, deepest := 0, 0
		for d := json.NewDecoder(bytes.NewReader(raw)); ; {
			token, err := d.Token()
			if err != nil {
				break
			}
			switch token {
			case json.Delim('['), json.Delim('{'):
				depth++
				deepest = max(deepest, depth)
			case json.Delim(']'), json.Delim('}'):
				depth--
			}
		}
		if tooDeep(raw) != (deepest > maxDepth) {
			t.Fatalf("%q is %d deep, and too deep: %v", raw, deepest, tooDeep(raw))
		}
	})
}

// FuzzIdempotencyKey: a key is visible ASCII, and no longer than it may be.
func FuzzIdempotencyKey(f *testing.F) {
	for _, s := range []string{"", "k", "a b", "\x7f", "é", "\xff", strings.Repeat("k", maxIdempotencyKey), strings.Repeat("k", maxIdempotencyKey+1)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, key string) {
		good := len(key) <= maxIdempotencyKey
		for i := range len(key) {
			good = good && key[i] > ' ' && key[i] <= '~'
		}
		err := checkIdempotencyKey(key)
		if (err == nil) != good {
			t.Fatalf("%q: %v", key, err)
		}
		if err != nil {
			refused(t, err)
		}
	})
}
