package api

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"switchhook.dev/switchhook/internal/deliver"
	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
)

// CallView is a call as the API shows it, in the vendor's shape.
type CallView struct {
	ID                    string   `json:"id"`
	AgentID               *string  `json:"agentId"`
	PhoneNumberID         *string  `json:"phoneNumberId"`
	PhoneNumber           *string  `json:"phoneNumber" doc:"Ours."`
	FromNumber            string   `json:"fromNumber"`
	ToNumber              string   `json:"toNumber"`
	Direction             string   `json:"direction" enum:"inbound,outbound"`
	Status                string   `json:"status" doc:"in-progress, until the end of the call is told; then what was told with it, or completed."`
	StartedAt             string   `json:"startedAt"`
	EndedAt               *string  `json:"endedAt"`
	DurationSeconds       *float64 `json:"durationSeconds"`
	LastTranscriptSnippet *string  `json:"lastTranscriptSnippet"`
	RecordingURL          *string  `json:"recordingUrl" doc:"null: calls are not recorded here."`
	RecordingAvailable    bool     `json:"recordingAvailable"`
}

func viewCall(c phone.Call) CallView {
	from, to := c.Participant, c.PhoneNumber
	if c.Direction == phone.Outbound {
		from, to = to, from
	}
	return CallView{
		ID: c.ID, AgentID: orNull(c.AgentID), PhoneNumberID: orNull(c.NumberID), PhoneNumber: orNull(c.PhoneNumber),
		FromNumber: from, ToNumber: to, Direction: string(c.Direction), Status: c.Status, StartedAt: deliver.FormatTime(c.StartedAt),
		EndedAt: timeOrNull(c.EndedAt), DurationSeconds: c.DurationSeconds, LastTranscriptSnippet: orNull(c.LastSnippet),
	}
}

// turnView is a question and its answer.
type turnView struct {
	ID         string   `json:"id" doc:"The turn's delivery."`
	Transcript string   `json:"transcript" doc:"What the person said."`
	Confidence *float64 `json:"confidence"`
	Response   *string  `json:"response" doc:"What the agent said; null where it said nothing."`
	CreatedAt  string   `json:"createdAt"`
	Status     string   `json:"status" enum:"pending,success,failed"`
}

type callDetail struct {
	CallView
	Transcripts         []turnView        `json:"transcripts" doc:"The turns that were asked here, oldest first."`
	DisconnectionReason *string           `json:"disconnectionReason"`
	Summary             *string           `json:"summary"`
	UserSentiment       *string           `json:"userSentiment"`
	CallSuccessful      json.RawMessage   `json:"callSuccessful"`
	Transcript          []transcriptEntry `json:"transcript" doc:"As GET /v1/calls/{call_id}/transcript answers it."`
}

type transcriptEntry struct {
	Role      string  `json:"role" enum:"user,agent"`
	Content   string  `json:"content"`
	CreatedAt *string `json:"createdAt" doc:"null where only the end of the call told of it."`
}

type callTranscript struct {
	CallID     string            `json:"callId"`
	Transcript []transcriptEntry `json:"transcript" doc:"Every word of the call, oldest first: as told with its end, until then by its turns."`
}

// viewTranscript is what was told with the call's end, or else what its turns say.
func viewTranscript(c phone.Call, turns []phone.Turn) []transcriptEntry {
	out := []transcriptEntry{}
	if len(c.Transcript) > 0 {
		for _, u := range c.Transcript {
			out = append(out, transcriptEntry{Role: u.Role, Content: u.Content})
		}
		return out
	}
	for _, t := range turns {
		out = append(out, transcriptEntry{"user", t.Question, timeOrNull(t.AskedAt)})
		if t.Answer != "" {
			out = append(out, transcriptEntry{"agent", t.Answer, timeOrNull(t.AnsweredAt)})
		}
	}
	return out
}

// CallPath names a call.
type CallPath struct {
	CallID string `path:"call_id"`
}

// CallsQuery selects calls.
type CallsQuery struct {
	Page
	Status    string `query:"status" doc:"in-progress, completed, or what was told with a call's end."`
	Direction string `query:"direction" enum:"inbound,outbound"`
	Type      string `query:"type" doc:"pstn: all calls here are; of another type there are none."`
	Search    string `query:"search" maxLength:"64" doc:"Part of either side's number."`
}

func (q CallsQuery) filter(projectID string) store.CallFilter {
	return store.CallFilter{
		ProjectID: projectID, Status: q.Status, Direction: phone.Direction(q.Direction), Search: q.Search, Limit: q.Limit, Offset: q.Offset,
	}
}

func (h *handlers) registerCalls(a huma.API) {
	operation(a, http.MethodGet, "/v1/calls", "list-calls", "Calls", "List calls, the latest first", h.listCalls)
	operation(a, http.MethodGet, "/v1/calls/{call_id}", "get-call", "Calls", "One call with its turns", h.getCall)
	operation(a, http.MethodGet, "/v1/calls/{call_id}/transcript", "get-call-transcript", "Calls", "Every word of a call", h.getTranscript)
	operation(a, http.MethodGet, "/v1/agents/{agent_id}/calls", "list-agent-calls", "Calls", "List calls of an agent", h.listAgentCalls)
	operation(a, http.MethodGet, "/v1/numbers/{number_id}/calls", "list-number-calls", "Calls", "List calls of a number", h.listNumberCalls)
}

func (h *handlers) calls(ctx context.Context, q CallsQuery, f store.CallFilter) (*body[list[CallView]], error) {
	if q.Type != "" && q.Type != "pstn" {
		return answer(newList(nil, 0, 0, viewCall), nil)
	}
	calls, total, err := h.store.Calls(ctx, f)
	return answer(newList(calls, total, q.Offset, viewCall), err)
}

func (h *handlers) listCalls(ctx context.Context, in *CallsQuery) (*body[list[CallView]], error) {
	return h.calls(ctx, *in, in.filter(project(ctx)))
}

func (h *handlers) listAgentCalls(ctx context.Context, in *struct {
	AgentPath
	CallsQuery
}) (*body[list[CallView]], error) {
	if _, err := h.store.Agent(ctx, project(ctx), in.AgentID); err != nil {
		return nil, err
	}
	f := in.filter(project(ctx))
	f.AgentID = in.AgentID
	return h.calls(ctx, in.CallsQuery, f)
}

func (h *handlers) listNumberCalls(ctx context.Context, in *struct {
	NumberID string `path:"number_id"`
	CallsQuery
}) (*body[list[CallView]], error) {
	if _, err := h.store.Number(ctx, project(ctx), in.NumberID); err != nil {
		return nil, err
	}
	f := in.filter(project(ctx))
	f.NumberID = in.NumberID
	return h.calls(ctx, in.CallsQuery, f)
}

func (h *handlers) getCall(ctx context.Context, in *CallPath) (*body[callDetail], error) {
	c, turns, err := h.store.Call(ctx, project(ctx), in.CallID)
	if err != nil {
		return nil, err
	}
	v := callDetail{
		CallView: viewCall(c), Transcripts: make([]turnView, 0, len(turns)), DisconnectionReason: c.DisconnectionReason, Summary: c.Summary,
		UserSentiment: c.UserSentiment, CallSuccessful: c.CallSuccessful, Transcript: viewTranscript(c, turns),
	}
	if v.CallSuccessful == nil {
		v.CallSuccessful = json.RawMessage("null")
	}
	for _, t := range turns {
		v.Transcripts = append(v.Transcripts, turnView{
			ID: t.DeliveryID, Transcript: t.Question, Confidence: t.Confidence, Response: orNull(t.Answer),
			CreatedAt: deliver.FormatTime(t.AskedAt), Status: string(t.Status),
		})
	}
	return answer(v, nil)
}

func (h *handlers) getTranscript(ctx context.Context, in *CallPath) (*body[callTranscript], error) {
	c, turns, err := h.store.Call(ctx, project(ctx), in.CallID)
	return answer(callTranscript{in.CallID, viewTranscript(c, turns)}, err)
}
