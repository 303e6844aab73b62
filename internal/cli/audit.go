package cli

import (
	"context"
	"net/http"
	"time"
)

// Change is an entry of the audit log as the API shows it.
type Change struct {
	ID      string     `json:"id"`
	Action  string     `json:"action"`
	Target  string     `json:"target"`
	Detail  string     `json:"detail"`
	KeyID   *string    `json:"keyId"`
	KeyName *string    `json:"keyName"`
	Address *string    `json:"address"`
	At      *time.Time `json:"at"`
}

// AuditCmd is `audit`.
type AuditCmd struct {
	ClientFlags
	Limit  int    `help:"How many to list at most." default:"50"`
	Before string `placeholder:"ID" help:"Only entries older than this one."`
}

// Run lists who changed what.
func (cmd *AuditCmd) Run(ctx context.Context, c *Client, out Output) error {
	answer, err := c.Do(ctx, Request{Method: http.MethodGet, Path: "/v1/audit", Query: map[string]string{"limit": intParam(cmd.Limit), "before": cmd.Before}})
	if err != nil {
		return err
	}
	return show(out, answer, func(p *printer, changes page[Change]) {
		var rows [][]string
		for _, v := range changes.Data {
			rows = append(rows, []string{when(v.At), who(v), text(v.Address), v.Action, v.Target, shorten(v.Detail, 80)})
		}
		p.table("AT WHO FROM ACTION TARGET DETAIL", "Nothing was changed.", rows)
		if changes.HasMore {
			p.line("There are more: continue with --before %s.", changes.Data[len(changes.Data)-1].ID)
		}
	})
}

// who names the key that made a change.
func who(v Change) string {
	if v.KeyID == nil {
		return "the server"
	}
	return text(v.KeyName) + " (" + *v.KeyID + ")"
}
