// Switchhook is the webhook switchboard for AI phone agents.
package main

import (
	"context"
	"os"
	"runtime/debug"

	"github.com/alecthomas/kong"
	"switchhook.dev/switchhook/internal/cli"
)

// version is set at release builds: -ldflags "-X main.version=1.2.3".
var version string

type program struct {
	Serve   cli.ServeCmd   `cmd:"" help:"Run the server."`
	Demo    cli.DemoCmd    `cmd:"" help:"See it work: a server, two agents, receivers, and a few texts, all in one."`
	Backup  cli.BackupCmd  `cmd:"" help:"Write a copy of the database file, while the server runs or not."`
	Restore cli.RestoreCmd `cmd:"" help:"Put a backup in the place of the database file, while the server runs or not."`
	cli.Commands
	Migrate      cli.MigrateCmd      `cmd:"" help:"Bring the schema of a PostgreSQL database up to date, and no more."`
	MigrateStore cli.MigrateStoreCmd `cmd:"" name:"migrate-store" help:"Move everything from a SQLite file to PostgreSQL."`
	Healthcheck  cli.HealthcheckCmd  `cmd:"" help:"Ask a server whether it is ready: for images without a shell."`
	Version      kong.VersionFlag    `help:"Print the version."`
}

func main() {
	cli.Version = currentVersion()
	parsed := kong.Parse(&program{},
		kong.Name("switchhook"),
		kong.Description("The webhook switchboard for AI phone agents."),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Vars{"version": cli.Version},
	)
	parsed.FatalIfErrorf(cli.Run(context.Background(), parsed))
	os.Exit(0)
}

func currentVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}
