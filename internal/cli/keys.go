package cli

import (
	"context"
	"net/http"
	"strings"
	"time"
)

// Key is an API key as the API shows it.
type Key struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Hint      string     `json:"hint"`
	Scopes    []string   `json:"scopes"`
	CreatedAt *time.Time `json:"createdAt"`
	RevokedAt *time.Time `json:"revokedAt"`
	// Key is the key itself, shown once, when it is created.
	Key string `json:"key"`
}

// KeysCmd groups the commands on API keys.
type KeysCmd struct {
	ClientFlags
	List   KeysListCmd   `cmd:"" help:"List the API keys of the project; the keys themselves are never shown again."`
	Create KeysCreateCmd `cmd:"" help:"Create an API key and show it, once."`
	Revoke KeysRevokeCmd `cmd:"" help:"Revoke an API key at once."`
}

// KeysListCmd is `keys list`.
type KeysListCmd struct{}

// Run lists the keys.
func (cmd *KeysListCmd) Run(ctx context.Context, c *Client, out Output) error {
	answer, err := c.Do(ctx, Request{Method: http.MethodGet, Path: "/v1/keys"})
	if err != nil {
		return err
	}
	return show(out, answer, func(p *printer, keys page[Key]) {
		var rows [][]string
		for _, v := range keys.Data {
			rows = append(rows, []string{v.ID, v.Name, v.Hint, strings.Join(v.Scopes, " "), when(v.CreatedAt), when(v.RevokedAt)})
		}
		p.table("ID NAME HINT SCOPES CREATED REVOKED", "There are no keys.", rows)
	})
}

// KeysCreateCmd is `keys create`.
type KeysCreateCmd struct {
	Name  string   `help:"What the key is for, to know it by later."`
	Scope []string `placeholder:"SCOPE" enum:"admin,write,ingest,read" help:"What it may do: ingest (hand events in), read, write (both, and change things) or admin (everything, the default). Several: --scope ingest,read."`
}

// Run creates a key.
func (cmd *KeysCreateCmd) Run(ctx context.Context, c *Client, out Output) error {
	answer, err := c.Do(ctx, Request{Method: http.MethodPost, Path: "/v1/keys", Body: struct {
		Name   string   `json:"name"`
		Scopes []string `json:"scopes,omitempty"`
	}{cmd.Name, cmd.Scope}})
	if err != nil {
		return err
	}
	return show(out, answer, func(p *printer, v Key) {
		p.fields("id", v.ID, "name", v.Name, "scopes", strings.Join(v.Scopes, " "), "key", v.Key)
		p.line("Keep the key now: it is not shown again.")
	})
}

// KeysRevokeCmd is `keys revoke`.
type KeysRevokeCmd struct {
	ID string `arg:"" help:"The id of the key, from 'keys list'."`
}

// Run revokes a key.
func (cmd *KeysRevokeCmd) Run(ctx context.Context, c *Client, out Output) error {
	answer, err := c.Do(ctx, Request{Method: http.MethodDelete, Path: Path("v1", "keys", cmd.ID)})
	if err != nil {
		return err
	}
	return show(out, answer, done("Revoked %s.", cmd.ID))
}
