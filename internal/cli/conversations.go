package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Conversation is a conversation as the API shows it.
type Conversation struct {
	ID                 string          `json:"id"`
	AgentID            *string         `json:"agentId"`
	PhoneNumber        string          `json:"phoneNumber"`
	Participant        string          `json:"participant"`
	LastMessageAt      *time.Time      `json:"lastMessageAt"`
	LastMessagePreview *string         `json:"lastMessagePreview"`
	MessageCount       int             `json:"messageCount"`
	Metadata           json.RawMessage `json:"metadata"`
	CreatedAt          *time.Time      `json:"createdAt"`
	Messages           []Message       `json:"messages"`
}

// Message is a message as it stands in its conversation.
type Message struct {
	ID         string     `json:"id"`
	Body       string     `json:"body"`
	FromNumber string     `json:"fromNumber"`
	Direction  string     `json:"direction"`
	Channel    string     `json:"channel"`
	MediaURLs  []string   `json:"mediaUrls"`
	ReceivedAt *time.Time `json:"receivedAt"`
}

// ConversationsCmd groups the commands on conversations.
type ConversationsCmd struct {
	ClientFlags
	List ConversationsListCmd `cmd:"" help:"List conversations."`
	Show ConversationsShowCmd `cmd:"" help:"Show a conversation and its messages."`
	Set  ConversationsSetCmd  `cmd:"" help:"Set the metadata, which webhooks get as conversationState."`
}

// ConversationsListCmd is `conversations list`.
type ConversationsListCmd struct {
	Agent string `placeholder:"ID" help:"Only of this agent."`
	PageFlags
}

// Run lists conversations.
func (cmd *ConversationsListCmd) Run(ctx context.Context, c *Client, out Output) error {
	path := "/v1/conversations"
	if cmd.Agent != "" {
		path = Path("v1", "agents", cmd.Agent, "conversations")
	}
	answer, err := c.Do(ctx, Request{Method: http.MethodGet, Path: path, Query: cmd.query()})
	if err != nil {
		return err
	}
	return show(out, answer, func(p *printer, conversations page[Conversation]) {
		var rows [][]string
		for _, v := range conversations.Data {
			rows = append(rows, []string{v.ID, v.Participant, v.PhoneNumber, text(v.AgentID),
				strconv.Itoa(v.MessageCount), when(v.LastMessageAt), shorten(text(v.LastMessagePreview), 40)})
		}
		p.table("ID PARTICIPANT NUMBER AGENT MESSAGES LAST PREVIEW", "There are no conversations.", rows)
		p.more(conversations.HasMore, cmd.PageFlags, len(rows))
	})
}

// ConversationsShowCmd is `conversations show`.
type ConversationsShowCmd struct {
	ID       string `arg:"" help:"The id of the conversation."`
	Messages int    `placeholder:"N" help:"How many of the last messages to show."`
}

// Run shows a conversation.
func (cmd *ConversationsShowCmd) Run(ctx context.Context, c *Client, out Output) error {
	answer, err := c.Do(ctx, Request{
		Method: http.MethodGet,
		Path:   Path("v1", "conversations", cmd.ID),
		Query:  map[string]string{"messageLimit": intParam(cmd.Messages)},
	})
	if err != nil {
		return err
	}
	return show(out, answer, printConversation)
}

// ConversationsSetCmd is `conversations set`.
type ConversationsSetCmd struct {
	ID       string `arg:"" help:"The id of the conversation."`
	Metadata string `required:"" placeholder:"JSON" help:"A JSON object that replaces the metadata, or null to remove it."`
}

// Run sets the metadata of a conversation.
func (cmd *ConversationsSetCmd) Run(ctx context.Context, c *Client, out Output) error {
	metadata, err := parseMetadata(cmd.Metadata)
	if err != nil {
		return err
	}
	answer, err := c.Do(ctx, Request{
		Method: http.MethodPatch,
		Path:   Path("v1", "conversations", cmd.ID),
		Body:   map[string]json.RawMessage{"metadata": metadata},
	})
	if err != nil {
		return err
	}
	return show(out, answer, printConversation)
}

// parseMetadata checks here what a shell's quotes often spoil, so that the error
// can name the flag.
func parseMetadata(s string) (json.RawMessage, error) {
	b := bytes.TrimSpace([]byte(s))
	if !json.Valid(b) {
		return nil, fmt.Errorf(`--metadata %q is not JSON: quote it for the shell, such as --metadata '{"orderId":"1"}'`, s)
	}
	if b[0] != '{' && string(b) != "null" {
		return nil, errors.New(`--metadata is not a JSON object: give one such as '{"orderId":"1"}', or null`)
	}
	return b, nil
}

func printConversation(p *printer, v Conversation) {
	p.fields("conversation", v.ID, "participant", v.Participant, "number", v.PhoneNumber, "agent", text(v.AgentID),
		"messages", strconv.Itoa(v.MessageCount), "metadata", metadataCell(v.Metadata), "created", when(v.CreatedAt))
	for i, m := range v.Messages {
		if i == 0 {
			p.line("")
		}
		p.line("%s  %s  %s  %s", when(m.ReceivedAt), m.Direction, m.Channel, m.FromNumber)
		p.block(m.Body)
		for _, u := range m.MediaURLs {
			p.block(u)
		}
	}
}

// metadataCell prints metadata on one line, nothing where it is null.
func metadataCell(m json.RawMessage) string {
	var buf bytes.Buffer
	if string(m) == "null" || json.Compact(&buf, m) != nil {
		return ""
	}
	return buf.String()
}
