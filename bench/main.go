// Command bench measures a Switchhook server from outside: real processes, real
// HTTP, real receivers. Everything it prints is of one run on one machine, as a
// ratio to a program that does the same work and keeps nothing (the ceiling).
//
// Where latency is measured the load is open-loop: requests start when the plan
// says so, whatever the server does, and waits count from then, so that a server
// that stalls cannot hide its stalls.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"time"

	"github.com/alecthomas/kong"
)

type program struct {
	Run     runCmd     `cmd:"" default:"withargs" help:"Measure, and print a table."`
	Leases  leasesCmd  `cmd:"" help:"Simulate the lease protocol of many nodes, in virtual time."`
	Ceiling ceilingCmd `cmd:"" help:"Serve as the ceiling: events in, events out, nothing kept. Run by run."`
	Proxy   proxyCmd   `cmd:"" help:"Serve as a bare reverse proxy. Run by run."`
}

type runCmd struct {
	Out      string         `placeholder:"FILE" help:"Write the table, and what machine this is, to this Markdown file too."`
	Server   string         `placeholder:"BINARY" help:"The switchhook program to measure; built from this module where not given."`
	Dir      string         `placeholder:"DIR" help:"Where databases are put while measuring; a temporary folder where not given."`
	Only     *regexp.Regexp `placeholder:"REGEXP" help:"Only the scenarios with such a name: throughput, latency, hanging, busy, backlog, voice, postgres, log."`
	Log      int            `default:"10000000" help:"Deliveries in the long log."`
	Pending  int            `default:"1000000" help:"Deliveries of the backlog."`
	Profiles string         `placeholder:"DIR" help:"Also take the server's CPU, allocation, mutex and block profiles under the throughput loads and PostgreSQL's, into this folder."`
	Seconds  float64        `default:"6" help:"How long each measurement takes."`
}

// bench is what the scenarios share.
type bench struct {
	runCmd
	ctx  context.Context
	self string // this program, to start the ceiling with
	rows []row
}

func (c *runCmd) Run(ctx context.Context) (err error) {
	b := &bench{runCmd: *c, ctx: ctx}
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	if b.Dir == "" {
		if b.Dir, err = os.MkdirTemp("", "switchhook-bench-"); err != nil {
			return err
		}
		defer os.RemoveAll(b.Dir)
	}
	if b.Server == "" {
		b.Server = filepath.Join(b.Dir, "switchhook")
		build := exec.CommandContext(ctx, "go", "build", "-o", b.Server, "switchhook.dev/switchhook/cmd/switchhook")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			return fmt.Errorf("building the server: %w", err)
		}
	}
	for _, s := range []struct {
		name string
		run  func(*bench) error
	}{
		{"throughput", throughput}, {"latency", latency}, {"hanging", hanging}, {"busy", busyAgent}, {"backlog", backlog}, {"voice", voiceCalls}, {"postgres", postgres},
		// Last: the disk is busy for a while with a file of many gigabytes that is gone.
		{"log", longLog},
	} {
		if b.Only != nil && !b.Only.MatchString(s.name) {
			continue
		}
		start := time.Now()
		if err := s.run(b); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		fmt.Printf("  (%s took %.0f s)\n", s.name, time.Since(start).Seconds())
	}
	return b.report()
}

// span is how long one measurement takes.
func (b *bench) span() time.Duration { return time.Duration(b.Seconds * float64(time.Second)) }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var p program
	k := kong.Parse(&p, kong.Name("bench"), kong.UsageOnError())
	k.BindTo(ctx, (*context.Context)(nil))
	k.FatalIfErrorf(k.Run())
}
