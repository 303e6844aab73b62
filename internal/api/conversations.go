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

// ConversationView is a conversation as the API shows it.
type ConversationView struct {
	ID                 string          `json:"id"`
	AgentID            *string         `json:"agentId"`
	PhoneNumberID      string          `json:"phoneNumberId"`
	PhoneNumber        string          `json:"phoneNumber"`
	Participant        string          `json:"participant"`
	LastMessageAt      string          `json:"lastMessageAt"`
	LastMessagePreview string          `json:"lastMessagePreview"`
	MessageCount       int             `json:"messageCount"`
	Metadata           json.RawMessage `json:"metadata" doc:"An object, or null; receivers get it as conversationState."`
	CreatedAt          string          `json:"createdAt"`
}

func viewConversation(c phone.Conversation) ConversationView {
	v := ConversationView{
		c.ID, orNull(c.AgentID), c.NumberID, c.PhoneNumber, c.Participant, deliver.FormatTime(c.LastMessageAt),
		c.LastMessagePreview, c.MessageCount, c.Metadata, deliver.FormatTime(c.CreatedAt),
	}
	if v.Metadata == nil {
		v.Metadata = json.RawMessage("null")
	}
	return v
}

type messageView struct {
	ID         string   `json:"id"`
	Body       string   `json:"body"`
	FromNumber string   `json:"fromNumber"`
	ToNumber   string   `json:"toNumber"`
	Direction  string   `json:"direction"`
	Channel    string   `json:"channel"`
	MediaURL   *string  `json:"mediaUrl"`
	MediaURLs  []string `json:"mediaUrls"`
	ReceivedAt string   `json:"receivedAt"`
}

func viewMessage(m phone.Message) messageView {
	v := messageView{
		ID: m.ID, Body: m.Body, FromNumber: m.From, ToNumber: m.To, Direction: string(m.Direction),
		Channel: string(m.Channel), MediaURLs: []string{}, ReceivedAt: deliver.FormatTime(m.At),
	}
	if len(m.MediaURLs) > 0 {
		v.MediaURL, v.MediaURLs = &m.MediaURLs[0], m.MediaURLs
	}
	return v
}

type conversationDetail struct {
	ConversationView
	Messages []messageView `json:"messages" doc:"The latest, oldest first."`
}

// ConversationPath names a conversation.
type ConversationPath struct {
	ConversationID string `path:"conversation_id"`
}

func (h *handlers) registerConversations(a huma.API) {
	operation(a, http.MethodGet, "/v1/conversations", "list-conversations", "Conversations", "List conversations, the latest first", h.listConversations)
	operation(a, http.MethodGet, "/v1/agents/{agent_id}/conversations", "list-agent-conversations", "Conversations", "An agent's conversations, the latest first", h.agentConversations)
	operation(a, http.MethodGet, "/v1/conversations/{conversation_id}", "get-conversation", "Conversations", "A conversation with its latest messages", h.getConversation)
	operation(a, http.MethodGet, "/v1/conversations/{conversation_id}/messages", "list-conversation-messages", "Conversations", "A conversation's messages, newest first", h.conversationMessages)
	operation(a, http.MethodPatch, "/v1/conversations/{conversation_id}", "update-conversation", "Conversations", "Set a conversation's metadata", h.patchConversation)
}

func (h *handlers) listConversations(ctx context.Context, in *Page) (*body[list[ConversationView]], error) {
	return h.conversations(ctx, "", *in)
}

func (h *handlers) agentConversations(ctx context.Context, in *struct {
	AgentPath
	Page
}) (*body[list[ConversationView]], error) {
	return h.conversations(ctx, in.AgentID, in.Page)
}

func (h *handlers) conversations(ctx context.Context, agentID string, p Page) (*body[list[ConversationView]], error) {
	conversations, total, err := h.store.Conversations(ctx, project(ctx), agentID, p.Limit, p.Offset)
	return answer(newList(conversations, total, p.Offset, viewConversation), err)
}

func (h *handlers) getConversation(ctx context.Context, in *struct {
	ConversationPath
	MessageLimit int `query:"messageLimit" minimum:"1" maximum:"100" default:"50" doc:"How many messages to answer."`
	SDKLimit     int `query:"message_limit" minimum:"1" maximum:"100" doc:"The same, as the vendor's SDKs write it."`
}) (*body[conversationDetail], error) {
	limit := in.MessageLimit
	if in.SDKLimit > 0 {
		limit = in.SDKLimit
	}
	c, err := h.store.Conversation(ctx, project(ctx), in.ConversationID)
	if err != nil {
		return nil, err
	}
	messages, _, err := h.store.Messages(ctx, project(ctx), in.ConversationID, store.Page{Limit: limit})
	out := conversationDetail{viewConversation(c), make([]messageView, len(messages))}
	for i, m := range messages {
		out.Messages[len(messages)-1-i] = viewMessage(m)
	}
	return answer(out, err)
}

func (h *handlers) conversationMessages(ctx context.Context, in *struct {
	ConversationPath
	MessagesQuery
}) (*body[messageList[messageView]], error) {
	messages, more, err := h.store.Messages(ctx, project(ctx), in.ConversationID, in.page())
	out := messageList[messageView]{Data: []messageView{}, HasMore: more}
	for _, m := range messages {
		out.Data = append(out.Data, viewMessage(m))
	}
	return answer(out, err)
}

// maxMetadata bounds what every delivery of a conversation carries along.
const maxMetadata = 16 << 10

func (h *handlers) patchConversation(ctx context.Context, in *struct {
	ConversationPath
	Body struct {
		Metadata json.RawMessage `json:"metadata,omitempty" doc:"An object, or null."`
	}
}) (*body[ConversationView], error) {
	m := in.Body.Metadata
	if len(m) == 0 {
		c, err := h.store.Conversation(ctx, project(ctx), in.ConversationID)
		return answer(viewConversation(c), err)
	}
	var object map[string]any
	if err := json.Unmarshal(m, &object); err != nil {
		return nil, invalid("dict_type", "metadata is an object or null", "metadata")
	}
	if len(m) > maxMetadata {
		return nil, invalid("too_long", "metadata is at most 16 KiB: every delivery carries it", "metadata")
	}
	if object == nil {
		m = nil
	}
	c, err := h.store.SetMetadata(ctx, project(ctx), in.ConversationID, m)
	return answer(viewConversation(c), err)
}
