package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/switchboard"
)

// eventBody is an event as it is handed in. The handler decodes it itself, once:
// this is the hot path.
type eventBody struct {
	Event   string          `json:"event" enum:"agent.message,agent.call_ended,agent.reaction"`
	Channel string          `json:"channel" enum:"sms,mms,imessage,voice"`
	AgentID string          `json:"agentId,omitempty" doc:"Default: the agent whose number it is."`
	Data    json.RawMessage `json:"data" doc:"What happened, as receivers get it, less the ids that the server makes."`
}

// AcceptedView is the answer to an event.
type AcceptedView struct {
	ID             string  `json:"id"`
	AgentID        string  `json:"agentId"`
	MessageID      *string `json:"messageId"`
	ConversationID *string `json:"conversationId"`
	DeliveryID     *string `json:"deliveryId" doc:"null where the event is unrouted or outbound."`
	WebhookID      *string `json:"webhookId"`
	Duplicate      bool    `json:"duplicate"`
}

func viewAccepted(a phone.Accepted) AcceptedView {
	return AcceptedView{
		a.EventID, a.AgentID, orNull(a.MessageID), orNull(a.ConversationID), orNull(a.DeliveryID), orNull(a.WebhookID), a.Duplicate,
	}
}

type eventInput struct {
	Traceparent    string `header:"traceparent" doc:"The caller's trace (W3C Trace Context), which the event's joins."`
	IdempotencyKey string `header:"Idempotency-Key" doc:"A repeat within 24 hours answers as the first did, and nothing is sent again."`
	RawBody        []byte
}

type batchInput struct {
	Traceparent string `header:"traceparent" doc:"The caller's trace (W3C Trace Context), which the events' join."`
	RawBody     []byte
}

// maxBatch is how many events a batch may have, from the contract.
const maxBatch = 1000

// batchBody documents a batch. Its events are decoded one by one, so that one
// that cannot be read leaves the others alone.
type batchBody struct {
	Events []eventBody `json:"events" minItems:"1" maxItems:"1000"`
}

type batchResult struct {
	Status int `json:"status" doc:"What the event would have been answered with alone."`
	*AcceptedView
	Detail any `json:"detail,omitempty" doc:"What is wrong, where it was refused."`
}

type batchView struct {
	Results []batchResult `json:"results" doc:"One for each event, in order."`
}

func (h *handlers) registerEvents(a huma.API) {
	operation(a, http.MethodPost, "/v1/events", "create-event", "Events", "Hand an event in", h.createEvent, func(op *huma.Operation) {
		op.DefaultStatus = http.StatusAccepted
		op.RequestBody = rawBody[eventBody](a, "Event")
		op.SkipValidateBody = true
		documentTurns(a, op)
	})
	operation(a, http.MethodPost, "/v1/events/batch", "create-events", "Events", "Hand up to 1,000 events in", h.createEvents, func(op *huma.Operation) {
		op.MaxBodyBytes = maxBatchBody
		op.RequestBody = rawBody[batchBody](a, "EventBatch")
		op.SkipValidateBody = true
	})
}

// rawBody documents a body that the handler decodes itself.
func rawBody[T any](a huma.API, name string) *huma.RequestBody {
	schema := a.OpenAPI().Components.Schemas.Schema(typeOf[T](), true, name)
	return &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": {Schema: schema}}}
}

func (h *handlers) createEvent(ctx context.Context, in *eventInput) (*huma.StreamResponse, error) {
	if err := checkIdempotencyKey(in.IdempotencyKey); err != nil {
		return nil, err
	}
	e, err := decodeEvent(in.RawBody)
	if err != nil {
		return nil, err
	}
	sub := e.submission(project(ctx), in.IdempotencyKey)
	sub.Traceparent = in.Traceparent
	if phone.IsTurn(sub.Type, sub.Channel) {
		return &huma.StreamResponse{Body: func(hc huma.Context) {
			if err := h.answerTurn(ctx, hc, sub); err != nil {
				writeFailure(hc, h.failed(ctx, "create-event", err))
			}
		}}, nil
	}
	a, err := h.board.Accept(ctx, sub)
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) { writeJSON(hc, http.StatusAccepted, viewAccepted(a)) }}, nil
}

// writeJSON writes an answer of a handler that writes it itself.
func writeJSON(hc huma.Context, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic("api: an answer cannot be encoded: " + err.Error())
	}
	hc.SetHeader("Content-Type", "application/json")
	hc.SetHeader("Content-Length", strconv.Itoa(len(b)+1))
	hc.SetStatus(status)
	_, _ = hc.BodyWriter().Write(append(b, '\n'))
}

// writeFailure writes what an operation failed with.
func writeFailure(hc huma.Context, f *failure) {
	for name, values := range f.GetHeaders() {
		hc.SetHeader(name, values[0])
	}
	writeJSON(hc, f.status, f)
}

func (e eventBody) submission(projectID, key string) switchboard.Submission {
	return switchboard.Submission{
		ProjectID: projectID, Type: phone.EventType(e.Event), Channel: phone.Channel(e.Channel),
		AgentID: e.AgentID, IdempotencyKey: key, Data: e.Data,
	}
}

// maxIdempotencyKey is how long a key may be, in characters.
const maxIdempotencyKey = 255

func checkIdempotencyKey(key string) error {
	if len(key) <= maxIdempotencyKey && !strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil
	}
	return &phone.Error{Code: phone.Invalid, Faults: []phone.Fault{{
		Loc: []any{"header", "Idempotency-Key"}, Msg: fmt.Sprintf("a key has at most %d characters, all of them visible ASCII", maxIdempotencyKey), Type: "string_pattern_mismatch",
	}}}
}

// decodeEvent reads an event. Only where that fails are all its faults looked for.
func decodeEvent(raw []byte) (eventBody, error) {
	var e eventBody
	err := decode(raw, &e)
	if err == nil {
		return e, nil
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil {
		return e, err
	}
	var faults []phone.Fault
	for _, name := range []string{"event", "channel", "agentId"} {
		var s *string
		if v, sent := fields[name]; sent && json.Unmarshal(v, &s) != nil {
			faults = append(faults, phone.Fault{Loc: []any{"body", name}, Msg: "expected string", Type: "string_type"})
		}
	}
	var object map[string]json.RawMessage
	if v, sent := fields["data"]; sent && json.Unmarshal(v, &object) != nil {
		faults = append(faults, phone.Fault{Loc: []any{"body", "data"}, Msg: "expected object", Type: "dict_type"})
	}
	if len(faults) == 0 {
		return e, err
	}
	return e, &phone.Error{Code: phone.Invalid, Faults: faults}
}

// splitBatch reads a batch in either form, its events still undecoded.
func splitBatch(raw []byte) ([]json.RawMessage, error) {
	var b struct{ Events []json.RawMessage }
	raw = bytes.TrimSpace(raw)
	into := any(&b)
	if len(raw) > 0 && raw[0] == '[' {
		into = &b.Events
	}
	if err := decode(raw, into); err != nil {
		return nil, err
	}
	switch n := len(b.Events); {
	case b.Events == nil:
		return nil, invalid("missing", fmt.Sprintf("events is required: give a list of 1 to %d events", maxBatch), "events")
	case n == 0:
		return nil, invalid("too_short", fmt.Sprintf("a batch has 1 to %d events, this one has none", maxBatch), "events")
	case n > maxBatch:
		return nil, invalid("too_long", fmt.Sprintf("a batch has 1 to %d events, this one has %d", maxBatch, n), "events")
	}
	return b.Events, nil
}

func (h *handlers) createEvents(ctx context.Context, in *batchInput) (*body[batchView], error) {
	raws, err := splitBatch(in.RawBody)
	if err != nil {
		return nil, err
	}
	out := batchView{Results: make([]batchResult, len(raws))}
	subs := make([]switchboard.Submission, 0, len(raws))
	places := make([]int, 0, len(raws))
	for i, raw := range raws {
		e, err := decodeEvent(raw)
		if err != nil {
			out.Results[i] = refusal(toStatus(err))
			continue
		}
		sub := e.submission(project(ctx), "")
		sub.Traceparent = in.Traceparent
		subs = append(subs, sub)
		places = append(places, i)
	}
	for i, a := range h.board.AcceptBatch(ctx, subs) {
		if a.Err != nil {
			out.Results[places[i]] = refusal(h.failed(ctx, "create-events", a.Err))
			continue
		}
		v := viewAccepted(a)
		out.Results[places[i]] = batchResult{Status: http.StatusAccepted, AcceptedView: &v}
	}
	return answer(out, nil)
}

func refusal(f *failure) batchResult { return batchResult{Status: f.status, Detail: f.Detail} }

// decode reads a JSON body into one of our types, and says what is wrong with it.
func decode(raw []byte, into any) error {
	if len(bytes.TrimSpace(raw)) == 0 {
		return invalid("missing", "a body is required: send a JSON object")
	}
	if tooDeep(raw) {
		return invalid("json_invalid", deepMessage)
	}
	err := json.Unmarshal(raw, into)
	if err == nil {
		return nil
	}
	t, ok := err.(*json.UnmarshalTypeError)
	if !ok {
		return invalid("json_invalid", "the body is not valid JSON: "+err.Error())
	}
	var loc []any
	for part := range strings.SplitSeq(t.Field, ".") {
		if part != "" {
			loc = append(loc, part)
		}
	}
	kind := "dict_type"
	if t.Type.Kind().String() == "string" {
		kind = "string_type"
	}
	return invalid(kind, fmt.Sprintf("a JSON %s is not accepted here", t.Value), loc...)
}
