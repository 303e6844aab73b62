package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"switchhook.dev/switchhook/internal/deliver"
	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
)

type numberView struct {
	ID          string  `json:"id"`
	PhoneNumber string  `json:"phoneNumber" doc:"In E.164."`
	Country     string  `json:"country"`
	Status      string  `json:"status"`
	Type        string  `json:"type"`
	AgentID     *string `json:"agentId"`
	CreatedAt   string  `json:"createdAt"`
}

func viewNumber(n phone.Number) numberView {
	return numberView{n.ID, n.PhoneNumber, n.Country, n.Status, n.Type, orNull(n.AgentID), deliver.FormatTime(n.CreatedAt)}
}

type createNumberInput struct {
	Body struct {
		PhoneNumber string  `json:"phoneNumber" minLength:"1" maxLength:"64" doc:"In any common notation; kept as E.164."`
		Country     *string `json:"country,omitempty" nullable:"true" maxLength:"2" doc:"Where a number without + is taken to be; default US."`
		AgentID     *string `json:"agentId,omitempty" nullable:"true"`
		Type        *string `json:"type,omitempty" nullable:"true" maxLength:"64"`
	}
}

// NumberPath names a number.
type NumberPath struct {
	NumberID string `path:"number_id"`
}

type attachInput struct {
	AgentPath
	Body struct {
		NumberID string `json:"numberId" minLength:"1"`
	}
}

type attachedView struct {
	AgentID string          `json:"agentId"`
	Number  agentNumberView `json:"number"`
}

func (h *handlers) registerNumbers(a huma.API) {
	operation(a, http.MethodPost, "/v1/numbers", "create-number", "Numbers", "Add a number of your own", h.createNumber)
	operation(a, http.MethodGet, "/v1/numbers", "list-numbers", "Numbers", "List numbers, oldest first", h.listNumbers)
	operation(a, http.MethodGet, "/v1/numbers/{number_id}", "get-number", "Numbers", "Read a number", h.getNumber)
	operation(a, http.MethodDelete, "/v1/numbers/{number_id}", "delete-number", "Numbers", "Remove a number; its conversations stay", h.deleteNumber)
	operation(a, http.MethodGet, "/v1/numbers/{number_id}/messages", "list-number-messages", "Numbers", "A number's messages, newest first", h.numberMessages)
	operation(a, http.MethodPost, "/v1/agents/{agent_id}/numbers", "attach-number", "Numbers", "Attach a number to an agent", h.attachNumber)
	operation(a, http.MethodDelete, "/v1/agents/{agent_id}/numbers/{number_id}", "detach-number", "Numbers", "Detach a number from an agent", h.detachNumber)
}

func (h *handlers) createNumber(ctx context.Context, in *createNumberInput) (*body[numberView], error) {
	text := func(s *string, otherwise string) string {
		if s == nil || *s == "" {
			return otherwise
		}
		return *s
	}
	e164, region, err := phone.ParseNumber(in.Body.PhoneNumber, text(in.Body.Country, "US"))
	if err != nil {
		return nil, invalid("phone_number", err.Error(), "phoneNumber")
	}
	n := phone.Number{
		ID: phone.NewID(phone.PrefixNumber), ProjectID: project(ctx), PhoneNumber: e164, Country: region,
		Type: text(in.Body.Type, "sms"), Status: "active", AgentID: text(in.Body.AgentID, ""), CreatedAt: now(),
	}
	if n.Country == "" {
		n.Country = text(in.Body.Country, "US")
	}
	return answer(viewNumber(n), h.store.CreateNumber(ctx, n))
}

func (h *handlers) listNumbers(ctx context.Context, in *Page) (*body[list[numberView]], error) {
	numbers, total, err := h.store.Numbers(ctx, project(ctx), in.Limit, in.Offset)
	return answer(newList(numbers, total, in.Offset, viewNumber), err)
}

func (h *handlers) getNumber(ctx context.Context, in *NumberPath) (*body[numberView], error) {
	n, err := h.store.Number(ctx, project(ctx), in.NumberID)
	return answer(viewNumber(n), err)
}

func (h *handlers) deleteNumber(ctx context.Context, in *NumberPath) (*body[Success], error) {
	return answer(Success{true}, h.store.DeleteNumber(ctx, project(ctx), in.NumberID))
}

func (h *handlers) attachNumber(ctx context.Context, in *attachInput) (*body[attachedView], error) {
	n, err := h.store.AttachNumber(ctx, project(ctx), in.AgentID, in.Body.NumberID)
	return answer(attachedView{in.AgentID, viewAgentNumber(n)}, err)
}

func (h *handlers) detachNumber(ctx context.Context, in *struct {
	AgentPath
	NumberPath
}) (*body[Success], error) {
	return answer(Success{true}, h.store.DetachNumber(ctx, project(ctx), in.AgentID, in.NumberID))
}

// MessagesQuery is the query of a list of messages.
type MessagesQuery struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
	Before string `query:"before" doc:"Only messages older than this id."`
	After  string `query:"after" doc:"Only messages newer than this id."`
}

func (q MessagesQuery) page() store.Page {
	return store.Page{Limit: q.Limit, Before: q.Before, After: q.After}
}

type numberMessageView struct {
	ID         string `json:"id"`
	From       string `json:"from_"`
	To         string `json:"to"`
	Body       string `json:"body"`
	Direction  string `json:"direction"`
	Channel    string `json:"channel"`
	ReceivedAt string `json:"receivedAt"`
}

type messageList[T any] struct {
	Data    []T  `json:"data"`
	HasMore bool `json:"hasMore"`
}

func (h *handlers) numberMessages(ctx context.Context, in *struct {
	NumberPath
	MessagesQuery
}) (*body[messageList[numberMessageView]], error) {
	messages, more, err := h.store.NumberMessages(ctx, project(ctx), in.NumberID, in.page())
	out := messageList[numberMessageView]{Data: []numberMessageView{}, HasMore: more}
	for _, m := range messages {
		out.Data = append(out.Data, numberMessageView{
			m.ID, m.From, m.To, m.Body, string(m.Direction), string(m.Channel), deliver.FormatTime(m.At),
		})
	}
	return answer(out, err)
}
