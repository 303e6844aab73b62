package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"switchhook.dev/switchhook/internal/deliver"
	"switchhook.dev/switchhook/internal/lease"
	"switchhook.dev/switchhook/internal/server"
)

// Version is the program's version, set by main.
var Version = "dev"

// stopGrace is how long a stopping server waits for attempts in flight: the
// default timeout of a webhook.
const stopGrace = 30 * time.Second

// ServeCmd runs the server.
type ServeCmd struct {
	Listen         string          `env:"SWITCHHOOK_LISTEN" default:"127.0.0.1:8080" help:"Address to serve the API on."`
	Database       string          `env:"SWITCHHOOK_DATABASE" default:"sqlite:switchhook.db" help:"Where everything is kept: sqlite:FILE, or postgres://USER:PASSWORD@HOST/DATABASE."`
	APIKey         string          `name:"api-key" env:"SWITCHHOOK_API_KEY" help:"A key for the first project. Without it the first start makes one and prints it once."`
	Dev            bool            `env:"SWITCHHOOK_DEV" help:"For your own machine: permits http and private addresses as endpoints, and logs for people."`
	RetrySchedule  []time.Duration `name:"retry-schedule" env:"SWITCHHOOK_RETRY_SCHEDULE" default:"5s,30s,2m,10m,1h" help:"How long after each failed attempt the next one follows."`
	MaxInFlight    int             `name:"max-in-flight" env:"SWITCHHOOK_MAX_IN_FLIGHT" default:"1024" help:"Requests in flight to all endpoints."`
	MaxPerEndpoint int             `name:"max-in-flight-per-endpoint" env:"SWITCHHOOK_MAX_IN_FLIGHT_PER_ENDPOINT" default:"32" help:"Requests in flight to one endpoint."`
	MaxTurns       int             `name:"max-turns" env:"SWITCHHOOK_MAX_TURNS" default:"4096" help:"Turns of calls under way, beside the above."`
	DisableAfter   Span            `name:"disable-after" env:"SWITCHHOOK_DISABLE_AFTER" default:"5d" help:"How long an endpoint may fail before its webhook is disabled."`
	Retention      Span            `env:"SWITCHHOOK_RETENTION" default:"0" help:"How long deliveries, their attempts and bodies are kept, such as 30d; 0 is forever. Counts and conversations stay."`
	Lease          time.Duration   `env:"SWITCHHOOK_LEASE" default:"10s" help:"How long after its last sign of life a node counts as alive, where many share a PostgreSQL database: 2s to 1m, the same on all of them."`
	NodeName       string          `name:"node-name" env:"SWITCHHOOK_NODE_NAME" help:"What this node is called among others; the host's name where empty."`
	Profile        string          `env:"SWITCHHOOK_PROFILE" placeholder:"ADDRESS" help:"Address to serve Go's profiles on, such as 127.0.0.1:6060. Keep it private."`
	Resolver       HostPort        `env:"SWITCHHOOK_RESOLVER" placeholder:"HOST:PORT" help:"Name server to ask for endpoints' names; without it the machine's are asked."`
	Traces         string          `env:"SWITCHHOOK_TRACES" placeholder:"URL" help:"Send OpenTelemetry traces to this collector (OTLP over HTTP), such as http://localhost:4318. The standard OTEL_ variables hold too."`
	LogLevel       string          `name:"log-level" env:"SWITCHHOOK_LOG_LEVEL" enum:"debug,info,warn,error" default:"info" help:"What to log: ${enum}. debug says what came of each attempt."`
	LogFormat      string          `name:"log-format" env:"SWITCHHOOK_LOG_FORMAT" enum:"auto,json,text" default:"auto" help:"How to log: json, text, or auto, which is text with --dev and json otherwise."`

	DoorFlags
}

// Span is a duration that may also be given in days: "30d".
type Span time.Duration

// UnmarshalText reads a span.
func (s *Span) UnmarshalText(text []byte) error {
	v := string(text)
	if days, ok := strings.CutSuffix(v, "d"); ok {
		n, err := strconv.Atoi(days)
		if err != nil || n < 0 || n > 36_500 {
			return fmt.Errorf("%q is no number of days: write it as 30d", v)
		}
		*s = Span(time.Duration(n) * 24 * time.Hour)
		return nil
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 {
		return fmt.Errorf("%q is no length of time: write it as 30d or 12h", v)
	}
	*s = Span(d)
	return nil
}

// Validate checks what kong cannot.
func (c *ServeCmd) Validate() error {
	if len(c.RetrySchedule) > 100 {
		return fmt.Errorf("--retry-schedule has at most 100 delays")
	}
	if c.MaxInFlight < 1 || c.MaxPerEndpoint < 1 || c.MaxInFlight > 1_000_000 || c.MaxPerEndpoint > c.MaxInFlight {
		return fmt.Errorf("--max-in-flight must be 1 to 1000000, and --max-in-flight-per-endpoint 1 to as many")
	}
	if c.MaxTurns < 1 || c.MaxTurns > 1_000_000 {
		return fmt.Errorf("--max-turns must be 1 to 1000000")
	}
	if c.DisableAfter < Span(time.Minute) {
		return fmt.Errorf("--disable-after must be at least 1m")
	}
	if c.Retention != 0 && c.Retention < Span(time.Hour) {
		return fmt.Errorf("--retention must be at least 1h, or 0 for forever")
	}
	if c.Lease < lease.MinLength || c.Lease > lease.MaxLength {
		return fmt.Errorf("--lease must be %s to %s", lease.MinLength, lease.MaxLength)
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
	logger := newLogger(c.LogFormat, c.LogLevel, c.Dev, kctx.Stderr)
	cfg := server.Config{
		Listen: c.Listen, Database: c.Database, APIKey: c.APIKey, Version: Version, Logger: logger,
		Doors:    c.doors(),
		Policy:   c.policy(c.Dev),
		Schedule: deliver.Schedule(c.RetrySchedule), InFlight: c.MaxInFlight, PerEndpoint: c.MaxPerEndpoint, Turns: c.MaxTurns,
		DisableAfter: time.Duration(c.DisableAfter), Retention: time.Duration(c.Retention), Profile: c.Profile,
		Resolver: string(c.Resolver), Traces: c.Traces, Lease: c.Lease, NodeName: c.NodeName,
	}
	srv, err := server.Start(ctx, cfg)
	if err != nil {
		return err
	}
	onHangup(ctx, srv, logger)
	if srv.NewKey != "" {
		fmt.Fprintf(kctx.Stdout, "API key (shown only this once): %s\n", srv.NewKey)
	}
	fmt.Fprintf(kctx.Stdout, "Switchhook %s answers at %s (docs at %s/docs)\n", Version, srv.URL, srv.URL)
	for err = c.wait(ctx, srv); errors.Is(err, errRestored); err = c.wait(ctx, srv) {
		logger.Info("going over to the backup that was restored")
		cfg.Listen = srv.Address
		if err := stop(ctx, srv, logger); err != nil {
			return err
		}
		if srv, err = server.Start(ctx, cfg); err != nil {
			return err
		}
	}
	// A second signal ends the program at once.
	release()
	return errors.Join(err, stop(ctx, srv, logger))
}

func newLogger(format, level string, dev bool, w io.Writer) *slog.Logger {
	var options slog.HandlerOptions
	var at slog.Level
	if at.UnmarshalText([]byte(level)) == nil {
		options.Level = at
	}
	if format == "text" || format == "auto" && dev {
		return slog.New(slog.NewTextHandler(w, &options))
	}
	return slog.New(slog.NewJSONHandler(w, &options))
}
