package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"switchhook.dev/switchhook/internal/deliver"
	"switchhook.dev/switchhook/internal/netguard"
	"switchhook.dev/switchhook/internal/server"
)

// Version is the program's version, set by main.
var Version = "dev"

// stopGrace is how long a stopping server waits for attempts in flight: the
// default timeout of a webhook.
const stopGrace = 30 * time.Second

// ServeCmd runs the server.
type ServeCmd struct {
	Listen               string          `env:"SWITCHHOOK_LISTEN" default:"127.0.0.1:8080" help:"Address to serve the API on."`
	Database             string          `env:"SWITCHHOOK_DATABASE" default:"sqlite:switchhook.db" help:"Where everything is kept: sqlite:FILE."`
	APIKey               string          `name:"api-key" env:"SWITCHHOOK_API_KEY" help:"A key for the first project. Without it the first start makes one and prints it once."`
	Dev                  bool            `env:"SWITCHHOOK_DEV" help:"For your own machine: permits http and private addresses as endpoints, and logs for people."`
	AllowHTTP            bool            `name:"allow-http" env:"SWITCHHOOK_ALLOW_HTTP" help:"Permit endpoints with http URLs."`
	AllowPrivateNetworks bool            `name:"allow-private-networks" env:"SWITCHHOOK_ALLOW_PRIVATE_NETWORKS" help:"Permit endpoints on private, loopback and other special addresses."`
	RetrySchedule        []time.Duration `name:"retry-schedule" env:"SWITCHHOOK_RETRY_SCHEDULE" default:"5s,30s,2m,10m,1h" help:"How long after each failed attempt the next one follows."`
	LogFormat            string          `name:"log-format" env:"SWITCHHOOK_LOG_FORMAT" enum:"auto,json,text" default:"auto" help:"How to log: json, text, or auto, which is text with --dev and json otherwise."`
}

// Validate checks what kong cannot.
func (c *ServeCmd) Validate() error {
	if len(c.RetrySchedule) > 100 {
		return fmt.Errorf("--retry-schedule has at most 100 delays")
	}
	for _, d := range c.RetrySchedule {
		if d < 0 || d > 7*24*time.Hour {
			return fmt.Errorf("--retry-schedule: %s is not between 0s and 168h", d)
		}
	}
	return nil
}

// Run serves until SIGINT or SIGTERM.
func (c *ServeCmd) Run(ctx context.Context, kctx *kong.Context) error {
	ctx, release := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer release()
	logger := newLogger(c.LogFormat, c.Dev, kctx.Stderr)
	srv, err := server.Start(ctx, server.Config{
		Listen: c.Listen, Database: c.Database, APIKey: c.APIKey, Version: Version, Logger: logger,
		Policy:   netguard.Policy{AllowHTTP: c.AllowHTTP || c.Dev, AllowPrivate: c.AllowPrivateNetworks || c.Dev},
		Schedule: deliver.Schedule(c.RetrySchedule),
	})
	if err != nil {
		return err
	}
	if srv.NewKey != "" {
		fmt.Fprintf(kctx.Stdout, "API key (shown only this once): %s\n", srv.NewKey)
	}
	fmt.Fprintf(kctx.Stdout, "Switchhook %s answers at %s (docs at %s/docs)\n", Version, srv.URL, srv.URL)
	err = srv.Wait(ctx)
	// A second signal ends the program at once.
	release()
	logger.Info("stopping: attempts in flight may finish", "within", stopGrace.String())
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
	defer cancel()
	if stopErr := srv.Stop(stopCtx); stopErr != nil && err == nil {
		err = stopErr
	}
	return err
}

func newLogger(format string, dev bool, w io.Writer) *slog.Logger {
	if format == "text" || format == "auto" && dev {
		return slog.New(slog.NewTextHandler(w, nil))
	}
	return slog.New(slog.NewJSONHandler(w, nil))
}
