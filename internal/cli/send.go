package cli

import (
	"context"
	"errors"
	"net/http"
)

// SentEvent is the answer to an event handed in.
type SentEvent struct {
	ID             string  `json:"id"`
	AgentID        *string `json:"agentId"`
	MessageID      *string `json:"messageId"`
	ConversationID *string `json:"conversationId"`
	DeliveryID     *string `json:"deliveryId"`
	WebhookID      *string `json:"webhookId"`
	Duplicate      bool    `json:"duplicate"`
}

// SendCmd is `send`.
type SendCmd struct {
	ClientFlags
	From           string   `required:"" placeholder:"NUMBER" help:"Who wrote it, in E.164."`
	To             string   `required:"" placeholder:"NUMBER" help:"Who gets it, in E.164."`
	Text           string   `arg:"" optional:"" help:"The message; optional where --media is given."`
	Channel        string   `enum:"sms,mms,imessage" default:"sms" help:"How it came: ${enum}."`
	Outbound       bool     `help:"The agent wrote it: it joins the history and is delivered to no one."`
	Agent          string   `placeholder:"ID" help:"The agent it belongs to; by default the number decides."`
	IdempotencyKey string   `placeholder:"KEY" help:"A repeat with the same key within 24 hours sends nothing again."`
	Media          []string `sep:"none" placeholder:"URL" help:"The URL of a picture or file; may be repeated."`
}

// Run hands the message in.
func (cmd *SendCmd) Run(ctx context.Context, c *Client, out Output) error {
	if cmd.Text == "" && len(cmd.Media) == 0 {
		return errors.New("there is nothing to send: give a text, or a file with --media URL")
	}
	answer, err := c.Do(ctx, Request{
		Method:         http.MethodPost,
		Path:           "/v1/events",
		Body:           cmd.event(),
		IdempotencyKey: cmd.IdempotencyKey,
	})
	if err != nil {
		return err
	}
	return show(out, answer, func(p *printer, v SentEvent) {
		p.fields("event", v.ID, "agent", text(v.AgentID), "message", text(v.MessageID),
			"conversation", text(v.ConversationID), "goes to", cmd.destination(v))
		if v.Duplicate {
			p.line("This is a repeat: it was accepted before, and nothing was sent again.")
		}
	})
}

// sentMessage and sentData are the event as the API takes it.
type sentMessage struct {
	Event   string   `json:"event"`
	Channel string   `json:"channel"`
	AgentID string   `json:"agentId,omitempty"`
	Data    sentData `json:"data"`
}

type sentData struct {
	From      string   `json:"from"`
	To        string   `json:"to"`
	Message   string   `json:"message"`
	MediaURL  string   `json:"mediaUrl,omitempty"`
	MediaURLs []string `json:"mediaUrls,omitempty"`
	Direction string   `json:"direction"`
}

func (cmd *SendCmd) event() sentMessage {
	data := sentData{From: cmd.From, To: cmd.To, Message: cmd.Text, MediaURLs: cmd.Media, Direction: "inbound"}
	if len(cmd.Media) > 0 {
		data.MediaURL = cmd.Media[0]
	}
	if cmd.Outbound {
		data.Direction = "outbound"
	}
	return sentMessage{Event: "agent.message", Channel: cmd.Channel, AgentID: cmd.Agent, Data: data}
}

// destination says where the event goes.
func (cmd *SendCmd) destination(v SentEvent) string {
	switch {
	case v.DeliveryID != nil && v.WebhookID != nil:
		return "webhook " + *v.WebhookID + ", delivery " + *v.DeliveryID
	case cmd.Outbound:
		return "the history only"
	default:
		return "unrouted: neither the agent nor the project has a webhook"
	}
}
