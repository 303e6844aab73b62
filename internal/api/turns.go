package api

import (
	"bytes"
	"context"
	"encoding/json"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/switchboard"
	"switchhook.dev/switchhook/internal/voice"
)

// turnReply documents what a turn of a call is answered. It holds the keys that
// are ours; all others are the webhook's, untouched.
type turnReply struct {
	Text   string `json:"text" doc:"What is to be said: the texts of all lines, joined."`
	Chunks int    `json:"chunks" doc:"How many lines the webhook sent."`
	Error  string `json:"error,omitempty" doc:"Why the turn failed; absent where it did not."`
}

// Headers that carry the ids of a turn, since the body is the webhook's.
const (
	headerEvent        = "Switchhook-Event-Id"
	headerDelivery     = "Switchhook-Delivery-Id"
	headerMessage      = "Switchhook-Message-Id"
	headerConversation = "Switchhook-Conversation-Id"
	headerCall         = "Switchhook-Call-Id"
	headerAgent        = "Switchhook-Agent-Id"
	headerWebhook      = "Switchhook-Webhook-Id"
	headerDuplicate    = "Switchhook-Duplicate"
)

// writeWait bounds the wait for a caller who does not read what is said.
const writeWait = 15 * time.Second

const ndjson = "application/x-ndjson"

type wantsNDJSON struct{}

// acceptsNDJSON says whether a caller accepts a stream, by its Accept header: where
// it names the type, other than with q=0.
func acceptsNDJSON(r *http.Request) bool {
	for _, accept := range r.Header.Values("Accept") {
		for part := range strings.SplitSeq(accept, ",") {
			kind, params, err := mime.ParseMediaType(part)
			if err == nil && kind == ndjson {
				q, err := strconv.ParseFloat(params["q"], 64)
				return err != nil || q > 0
			}
		}
	}
	return false
}

// documentTurns says in the API's document what POST /v1/events answers.
func documentTurns(a huma.API, op *huma.Operation) {
	reply := a.OpenAPI().Components.Schemas.Schema(typeOf[turnReply](), true, "TurnReply")
	accepted := a.OpenAPI().Components.Schemas.Schema(typeOf[AcceptedView](), true, "AcceptedView")
	headers := map[string]*huma.Param{}
	for _, name := range []string{headerEvent, headerDelivery, headerMessage, headerConversation, headerCall, headerAgent, headerWebhook, headerDuplicate} {
		headers[name] = &huma.Param{Schema: &huma.Schema{Type: huma.TypeString}}
	}
	op.Responses = map[string]*huma.Response{
		"202": {Description: "The event is safe on disk.", Content: map[string]*huma.MediaType{"application/json": {Schema: accepted}}},
		"200": {
			Description: "The answer to a turn of a call (a voice agent.message). To a caller that accepts application/x-ndjson it is " +
				"streamed, a line for each object of the webhook's, as they come; the first line without \"interim\": true is the last. " +
				"It is 200 whatever comes of the turn: \"error\" says what went wrong.",
			Headers: headers,
			Content: map[string]*huma.MediaType{"application/json": {Schema: reply}, ndjson: {Schema: reply}},
		},
	}
}

// answerTurn asks the webhook and writes its answer. It returns an error only
// while nothing is written.
func (h *handlers) answerTurn(ctx context.Context, hc huma.Context, sub switchboard.Submission) error {
	r, w := humago.Unwrap(hc)
	c := &listener{out: w, control: http.NewResponseController(w), stream: r.Context().Value(wantsNDJSON{}) != nil}
	// A turn may take longer than a request may: the server's read timeout must not
	// pass for a caller who hangs up.
	_ = c.control.SetReadDeadline(time.Time{})
	turn, err := h.board.Ask(ctx, sub, c)
	if err != nil {
		return err
	}
	c.finish(turn)
	return nil
}

// listener is who waits on the line.
type listener struct {
	out     http.ResponseWriter
	control *http.ResponseController
	stream  bool
	said    bool // the closing line was passed on
	fault   error
}

// Accepted begins the answer of a stream, so that its ids are known at once.
func (c *listener) Accepted(a phone.Accepted) {
	header := c.out.Header()
	for name, id := range map[string]string{
		headerEvent: a.EventID, headerDelivery: a.DeliveryID, headerMessage: a.MessageID, headerConversation: a.ConversationID,
		headerCall: a.CallID, headerAgent: a.AgentID, headerWebhook: a.WebhookID,
	} {
		if id != "" {
			header.Set(name, id)
		}
	}
	if a.Duplicate {
		header.Set(headerDuplicate, "true")
	}
	header.Set("Cache-Control", "no-store")
	if !c.stream {
		header.Set("Content-Type", "application/json")
		return
	}
	header.Set("Content-Type", ndjson)
	header.Set("X-Accel-Buffering", "no") // nginx would hold lines back
	c.write(nil)
}

// Line passes a line on, flushed.
func (c *listener) Line(l voice.Line) error {
	if !c.stream {
		return nil
	}
	c.said = c.said || !l.Interim
	c.write(append(bytes.Clone(l.JSON), '\n'))
	return c.fault
}

// Ended closes a stream that the webhook did not close.
func (c *listener) Ended(fault string) {
	if !c.stream || c.said {
		return
	}
	c.said = true
	line, err := json.Marshal(struct {
		Text  string `json:"text"`
		Error string `json:"error,omitempty"`
	}{Error: fault})
	if err == nil {
		c.write(append(line, '\n'))
	}
}

// finish writes the answer of who does not stream, and that of a repeat.
func (c *listener) finish(t switchboard.Turn) {
	switch {
	case !c.stream:
		c.out.Header().Set("Content-Length", strconv.Itoa(len(t.Reply)+1))
		c.write(append(bytes.Clone(t.Reply), '\n'))
	case !c.said:
		c.write(append(bytes.Clone(t.Reply), '\n'))
	}
}

func (c *listener) write(b []byte) {
	if c.fault != nil {
		return
	}
	_ = c.control.SetWriteDeadline(time.Now().Add(writeWait))
	if _, c.fault = c.out.Write(b); c.fault == nil {
		c.fault = c.control.Flush()
	}
	_ = c.control.SetWriteDeadline(time.Time{})
}
