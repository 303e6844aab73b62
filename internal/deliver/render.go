package deliver

import (
	"encoding/json"
	"strings"
	"time"

	"switchhook.dev/switchhook/internal/phone"
)

// timeFormat is RFC 3339 with up to milliseconds.
const timeFormat = "2006-01-02T15:04:05.999Z07:00"

// FormatTime writes a time as bodies and the API show it: RFC 3339, UTC, up to
// milliseconds.
func FormatTime(t time.Time) string { return t.UTC().Format(timeFormat) }

// Render returns the body of a delivery, in the contract's order. It is a pure
// function of what was committed, none of which changes while the delivery lives,
// so every attempt sends the same bytes; a body frozen by an earlier attempt is
// used as it is. The bytes are those that encoding/json would make.
func Render(c phone.Content) ([]byte, error) {
	if c.Body != nil {
		return c.Body, nil
	}
	state := []byte("null")
	if c.Event.State != nil {
		// Compact and escaped, whatever form it was kept in.
		var err error
		if state, err = json.Marshal(json.RawMessage(c.Event.State)); err != nil {
			return nil, err
		}
	}
	size := 256 + len(c.Event.Data) + len(state)
	for _, m := range c.History {
		size += 160 + len(m.Body)
	}
	b := make([]byte, 0, size)
	b = appendString(append(b, `{"event":`...), string(c.Event.Type))
	b = appendString(append(b, `,"channel":`...), string(c.Event.Channel))
	b = appendTime(append(b, `,"timestamp":`...), c.Event.At)
	b = appendString(append(b, `,"agentId":`...), c.Event.AgentID)
	b = append(append(b, `,"data":`...), c.Event.Data...)
	b = append(append(b, `,"conversationState":`...), state...)
	b = append(b, `,"recentHistory":[`...)
	for i, m := range c.History {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(append(b, `{"messageId":`...), m.ID)
		b = appendString(append(b, `,"content":`...), m.Body)
		b = appendString(append(b, `,"direction":`...), string(m.Direction))
		b = appendString(append(b, `,"channel":`...), string(m.Channel))
		b = append(appendTime(append(b, `,"at":`...), m.At), '}')
	}
	return append(b, "]}"...), nil
}

// plain are the bytes that stand for themselves in a JSON string, as encoding/json
// writes it.
var plain = func() (p [256]bool) {
	for c := ' '; c <= '~'; c++ {
		p[c] = !strings.ContainsRune(`"\<>&`, c)
	}
	return p
}()

// appendString appends a JSON string. Plain ASCII is copied; the rest is left to
// encoding/json.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if !plain[s[i]] {
			quoted, err := json.Marshal(s)
			if err != nil {
				panic("deliver: a string cannot be encoded: " + err.Error()) // it always can
			}
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

// appendTime appends a time as timeFormat says. RFC3339Nano says the same of whole
// milliseconds, and the standard library has a short way for it.
func appendTime(b []byte, t time.Time) []byte {
	return append(t.UTC().Truncate(time.Millisecond).AppendFormat(append(b, '"'), time.RFC3339Nano), '"')
}
