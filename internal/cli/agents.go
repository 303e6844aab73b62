package cli

import (
	"context"
	"net/http"
	"strings"
	"time"
)

// Agent is an agent as the API shows it.
type Agent struct {
	ID          string        `json:"id"`
	Name        string        `json:"name"`
	Description *string       `json:"description"`
	VoiceMode   *string       `json:"voiceMode"`
	CreatedAt   *time.Time    `json:"createdAt"`
	Numbers     []AgentNumber `json:"numbers"`
}

// AgentNumber is a number as it stands in its agent.
type AgentNumber struct {
	ID          string `json:"id"`
	PhoneNumber string `json:"phoneNumber"`
	Status      string `json:"status"`
	Type        string `json:"type"`
}

// AgentsCmd groups the commands on agents.
type AgentsCmd struct {
	ClientFlags
	List   AgentsListCmd   `cmd:"" help:"List the agents."`
	Create AgentsCreateCmd `cmd:"" help:"Create an agent."`
	Show   AgentsShowCmd   `cmd:"" help:"Show an agent and its numbers."`
	Rm     AgentsRmCmd     `cmd:"" help:"Remove an agent and its webhook; its numbers are kept, unassigned."`
}

// AgentsListCmd is `agents list`.
type AgentsListCmd struct{ PageFlags }

// Run lists the agents.
func (cmd *AgentsListCmd) Run(ctx context.Context, c *Client, out Output) error {
	answer, err := c.Do(ctx, Request{Method: http.MethodGet, Path: "/v1/agents", Query: cmd.query()})
	if err != nil {
		return err
	}
	return show(out, answer, func(p *printer, agents page[Agent]) {
		var rows [][]string
		for _, v := range agents.Data {
			rows = append(rows, []string{v.ID, v.Name, v.phoneNumbers(), when(v.CreatedAt)})
		}
		p.table("ID NAME NUMBERS CREATED", "There are no agents: create one with `switchhook agents create NAME`.", rows)
		p.more(agents.HasMore, cmd.PageFlags, len(rows))
	})
}

// AgentsCreateCmd is `agents create`.
type AgentsCreateCmd struct {
	Name        string `arg:"" help:"What to call the agent."`
	Description string `help:"What the agent does."`
}

// Run creates an agent.
func (cmd *AgentsCreateCmd) Run(ctx context.Context, c *Client, out Output) error {
	body := struct {
		Name        string `json:"name"`
		Description string `json:"description,omitempty"`
	}{cmd.Name, cmd.Description}
	answer, err := c.Do(ctx, Request{Method: http.MethodPost, Path: "/v1/agents", Body: body})
	if err != nil {
		return err
	}
	return show(out, answer, printAgent)
}

// AgentsShowCmd is `agents show`.
type AgentsShowCmd struct {
	ID string `arg:"" help:"The id of the agent."`
}

// Run shows an agent.
func (cmd *AgentsShowCmd) Run(ctx context.Context, c *Client, out Output) error {
	answer, err := c.Do(ctx, Request{Method: http.MethodGet, Path: Path("v1", "agents", cmd.ID)})
	if err != nil {
		return err
	}
	return show(out, answer, printAgent)
}

// AgentsRmCmd is `agents rm`.
type AgentsRmCmd struct {
	ID string `arg:"" help:"The id of the agent."`
}

// Run removes an agent.
func (cmd *AgentsRmCmd) Run(ctx context.Context, c *Client, out Output) error {
	answer, err := c.Do(ctx, Request{Method: http.MethodDelete, Path: Path("v1", "agents", cmd.ID)})
	if err != nil {
		return err
	}
	return show(out, answer, done("Removed %s.", cmd.ID))
}

func printAgent(p *printer, v Agent) {
	p.fields("agent", v.ID, "name", v.Name, "description", text(v.Description), "voice mode", text(v.VoiceMode),
		"numbers", v.phoneNumbers(), "created", when(v.CreatedAt))
}

// phoneNumbers lists the numbers in one cell.
func (a Agent) phoneNumbers() string {
	var numbers []string
	for _, n := range a.Numbers {
		numbers = append(numbers, n.PhoneNumber)
	}
	return strings.Join(numbers, ", ")
}
