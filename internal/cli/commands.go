// Package cli holds the commands of the switchhook program.
//
// The client commands (projects to conversations) speak to a running server over
// its HTTP API and nothing else: what they can do, any program with an API key can
// do. They must never open the store or import the server's packages. There is a
// file per noun, with the JSON types of the contract that it shows beside it.
//
// With --json a command prints what the API answered, only indented; scripts
// should use that. The tables are for people and may change.
package cli

import (
	"context"

	"github.com/alecthomas/kong"
)

// Commands are the client commands. Embed it in the struct given to kong.
type Commands struct {
	Projects      ProjectsCmd      `cmd:"" help:"List and create projects."`
	Keys          KeysCmd          `cmd:"" help:"List, create and revoke API keys."`
	Agents        AgentsCmd        `cmd:"" help:"List, create, show and remove agents."`
	Numbers       NumbersCmd       `cmd:"" help:"Add phone numbers and attach them to agents."`
	Webhook       WebhookCmd       `cmd:"" help:"Read, set and test where events are delivered."`
	Send          SendCmd          `cmd:"" help:"Hand a message in, as a provider would."`
	Listen        ListenCmd        `cmd:"" help:"Take an agent's deliveries on this machine, wherever it is, and post them to a local server."`
	Call          CallCmd          `cmd:"" help:"Call an agent, in the terminal: type, and see the answer as it streams."`
	Deliveries    DeliveriesCmd    `cmd:"" help:"Look at deliveries and retry them."`
	Conversations ConversationsCmd `cmd:"" help:"Look at conversations and set their metadata."`
	Audit         AuditCmd         `cmd:"" help:"Look at who changed what, and when."`
}

// ServerFlags say which server is spoken to, and who asks.
type ServerFlags struct {
	URL    string `name:"url" env:"SWITCHHOOK_URL" default:"http://127.0.0.1:8080" placeholder:"URL" help:"Where the server answers (${env}; ${default})."`
	APIKey string `name:"api-key" env:"SWITCHHOOK_API_KEY" placeholder:"KEY" help:"The API key of the project (${env})."`
}

// ClientFlags are the flags of the client commands that print an answer of the API.
type ClientFlags struct {
	ServerFlags
	JSON bool `name:"json" help:"Print the answer of the API as JSON."`
}

// AfterApply is called by kong once the flags are read. It binds what the Run
// methods of the client commands ask for.
func (f ClientFlags) AfterApply(kctx *kong.Context) error {
	kctx.Bind(NewClient(f.URL, f.APIKey), Output{W: kctx.Stdout, JSON: f.JSON})
	return nil
}

// Run runs the command that kctx selected. The command's Run method may ask for
// the context, and stops where it is cancelled.
func Run(ctx context.Context, kctx *kong.Context) error {
	kctx.BindTo(ctx, (*context.Context)(nil))
	return kctx.Run()
}
