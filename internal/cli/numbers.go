package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Number is a phone number as the API shows it.
type Number struct {
	ID          string     `json:"id"`
	PhoneNumber string     `json:"phoneNumber"`
	Country     string     `json:"country"`
	Status      string     `json:"status"`
	Type        string     `json:"type"`
	AgentID     *string    `json:"agentId"`
	CreatedAt   *time.Time `json:"createdAt"`
}

// NumbersCmd groups the commands on phone numbers.
type NumbersCmd struct {
	ClientFlags
	List   NumbersListCmd   `cmd:"" help:"List the numbers."`
	Add    NumbersAddCmd    `cmd:"" help:"Add a number of your own."`
	Attach NumbersAttachCmd `cmd:"" help:"Attach a number to an agent."`
	Detach NumbersDetachCmd `cmd:"" help:"Detach a number from its agent."`
	Rm     NumbersRmCmd     `cmd:"" help:"Remove a number."`
}

// NumbersListCmd is `numbers list`.
type NumbersListCmd struct{ PageFlags }

// Run lists the numbers.
func (cmd *NumbersListCmd) Run(ctx context.Context, c *Client, out Output) error {
	answer, err := c.Do(ctx, Request{Method: http.MethodGet, Path: "/v1/numbers", Query: cmd.query()})
	if err != nil {
		return err
	}
	return show(out, answer, func(p *printer, numbers page[Number]) {
		var rows [][]string
		for _, v := range numbers.Data {
			rows = append(rows, []string{v.ID, v.PhoneNumber, v.Country, v.Status, text(v.AgentID), when(v.CreatedAt)})
		}
		p.table("ID NUMBER COUNTRY STATUS AGENT CREATED", "There are no numbers: add one with `switchhook numbers add NUMBER`.", rows)
		p.more(numbers.HasMore, cmd.PageFlags, len(rows))
	})
}

// NumbersAddCmd is `numbers add`.
type NumbersAddCmd struct {
	Number  string `arg:"" help:"The number in E.164, such as +15551234567."`
	Agent   string `placeholder:"ID" help:"Attach it to this agent."`
	Country string `placeholder:"CODE" help:"Its country, such as US; read from the number by default."`
}

// Run adds a number.
func (cmd *NumbersAddCmd) Run(ctx context.Context, c *Client, out Output) error {
	body := struct {
		PhoneNumber string `json:"phoneNumber"`
		Country     string `json:"country,omitempty"`
		AgentID     string `json:"agentId,omitempty"`
	}{cmd.Number, cmd.Country, cmd.Agent}
	answer, err := c.Do(ctx, Request{Method: http.MethodPost, Path: "/v1/numbers", Body: body})
	if err != nil {
		return err
	}
	return show(out, answer, func(p *printer, v Number) {
		p.fields("number", v.ID, "phone number", v.PhoneNumber, "country", v.Country, "status", v.Status, "agent", text(v.AgentID))
	})
}

// NumbersAttachCmd is `numbers attach`.
type NumbersAttachCmd struct {
	NumberID string `arg:"" name:"number-id" help:"The id of the number."`
	Agent    string `required:"" placeholder:"ID" help:"The agent that answers on it."`
}

// Run attaches a number.
func (cmd *NumbersAttachCmd) Run(ctx context.Context, c *Client, out Output) error {
	answer, err := c.Do(ctx, Request{
		Method: http.MethodPost,
		Path:   Path("v1", "agents", cmd.Agent, "numbers"),
		Body:   map[string]string{"numberId": cmd.NumberID},
	})
	if err != nil {
		return err
	}
	return show(out, answer, func(p *printer, _ json.RawMessage) { p.line("Attached %s to %s.", cmd.NumberID, cmd.Agent) })
}

// NumbersDetachCmd is `numbers detach`.
type NumbersDetachCmd struct {
	NumberID string `arg:"" name:"number-id" help:"The id of the number."`
}

// Run detaches a number from the agent that it finds it attached to.
func (cmd *NumbersDetachCmd) Run(ctx context.Context, c *Client, out Output) error {
	n, err := findNumber(ctx, c, cmd.NumberID)
	if err != nil {
		return err
	}
	agent := text(n.AgentID)
	if agent == "" {
		return fmt.Errorf("number %s is attached to no agent: there is nothing to detach", cmd.NumberID)
	}
	answer, err := c.Do(ctx, Request{Method: http.MethodDelete, Path: Path("v1", "agents", agent, "numbers", cmd.NumberID)})
	if err != nil {
		return err
	}
	return show(out, answer, func(p *printer, _ json.RawMessage) { p.line("Detached %s from %s.", cmd.NumberID, agent) })
}

// findNumber looks through the pages of the list: the API has no call for one number.
func findNumber(ctx context.Context, c *Client, id string) (Number, error) {
	for offset := 0; ; {
		answer, err := c.Do(ctx, Request{
			Method: http.MethodGet,
			Path:   "/v1/numbers",
			Query:  map[string]string{"limit": "100", "offset": strconv.Itoa(offset)},
		})
		if err != nil {
			return Number{}, err
		}
		var numbers page[Number]
		if err := json.Unmarshal(answer, &numbers); err != nil {
			return Number{}, fmt.Errorf("the list of numbers is not of the form this version knows: %w", err)
		}
		for _, n := range numbers.Data {
			if n.ID == id {
				return n, nil
			}
		}
		offset += len(numbers.Data)
		if !numbers.HasMore || len(numbers.Data) == 0 {
			return Number{}, fmt.Errorf("there is no number %q: see `switchhook numbers list` for the ids", id)
		}
	}
}

// NumbersRmCmd is `numbers rm`.
type NumbersRmCmd struct {
	ID string `arg:"" help:"The id of the number."`
}

// Run removes a number.
func (cmd *NumbersRmCmd) Run(ctx context.Context, c *Client, out Output) error {
	answer, err := c.Do(ctx, Request{Method: http.MethodDelete, Path: Path("v1", "numbers", cmd.ID)})
	if err != nil {
		return err
	}
	return show(out, answer, done("Removed %s.", cmd.ID))
}
