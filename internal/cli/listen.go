package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"golang.org/x/term"
	"switchhook.dev/switchhook/internal/listen"
	"switchhook.dev/switchhook/webhook"
)

// ListenCmd is `listen`.
type ListenCmd struct {
	ServerFlags
	Agent        string `required:"" placeholder:"ID" help:"Whose deliveries to take."`
	Forward      string `required:"" placeholder:"URL" help:"Your local server, such as http://localhost:3000/hook."`
	Secret       string `env:"SWITCHHOOK_SECRET" placeholder:"SECRET" help:"What deliveries are signed with (${env}). Without it a secret is made and shown."`
	PrintJSON    bool   `name:"print-json" help:"Print each delivery as a line of JSON with its body; everything else goes to the standard error."`
	ContextLimit *int   `name:"context-limit" placeholder:"N" help:"Messages of history a delivery carries; by default as with the agent's own webhook."`
	Timeout      *int   `placeholder:"SECONDS" help:"How long your server may take to answer; by default as with the agent's own webhook."`
}

// Run listens until Ctrl-C.
func (cmd *ListenCmd) Run(ctx context.Context, kctx *kong.Context) error {
	target, err := url.Parse(cmd.Forward)
	if err != nil || target.Host == "" || target.Scheme != "http" && target.Scheme != "https" {
		return fmt.Errorf("--forward %q is not the URL of a server: give one such as http://localhost:3000/hook", cmd.Forward)
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends at once
	client := NewClient(cmd.URL, cmd.APIKey)
	// The first question finds out what would be wrong with server, key or agent.
	raw, err := client.Do(ctx, Request{Method: http.MethodGet, Path: Path("v1", "agents", cmd.Agent)})
	if err != nil {
		return err
	}
	var agent Agent
	if err := json.Unmarshal(raw, &agent); err != nil {
		return err
	}
	l := &listening{out: kctx.Stdout, notes: kctx.Stdout, client: client, json: cmd.PrintJSON, now: time.Now}
	if cmd.PrintJSON {
		l.notes = kctx.Stderr
	}
	restore, err := l.keys(ctx, os.Stdin, stop)
	if err != nil {
		return err
	}
	defer restore()
	forward := listen.Forward(cmd.Forward)
	err = listen.NewClient(listen.ClientConfig{
		URL: strings.TrimRight(cmd.URL, "/") + Path("v1", "agents", cmd.Agent, "listen"), Key: cmd.APIKey,
		Settings: listen.Settings{Forward: cmd.Forward, Secret: cmd.Secret, ContextLimit: cmd.ContextLimit, TimeoutSeconds: cmd.Timeout},
		Handle: func(ctx context.Context, d listen.Delivery, r *listen.Reply) error {
			return l.deliver(ctx, d, r, forward)
		},
		Ready: func(r listen.Ready) {
			l.note("Listening for %s (%s): what comes for it goes to %s", agent.Name, agent.ID, cmd.Forward)
			if cmd.Secret == "" {
				l.note("signed with the secret %s", r.Secret)
			}
			l.note("r sends the last one again, Ctrl-C ends.")
		},
		Lost: func(err error) { l.note("The connection was lost, trying again: %v", err) },
		Back: func() { l.note("Connected again: nothing was lost.") },
	}).Run(ctx)
	if err == nil {
		l.note("The listener was removed: what comes now goes where it went before.")
	}
	return err
}

// listening is what a person sees of a listen.
type listening struct {
	mu     sync.Mutex
	out    io.Writer // a line for each delivery
	notes  io.Writer // everything else
	client *Client
	json   bool
	last   string // delivery
	now    func() time.Time
}

func (l *listening) note(format string, args ...any) { l.print(l.notes, format, args...) }

// print prints a line without what could rewrite the terminal.
func (l *listening) print(w io.Writer, format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintln(w, clean(fmt.Sprintf(format, args...)))
}

// deliver forwards one delivery and prints what came of it.
func (l *listening) deliver(ctx context.Context, d listen.Delivery, r *listen.Reply, forward func(context.Context, listen.Delivery, *listen.Reply) error) error {
	start := l.now()
	line := deliveryLine{Time: start.UTC().Format(time.RFC3339), DeliveryID: d.Header.Get(webhook.HeaderID), Event: d.Header.Get(webhook.HeaderEvent)}
	l.mu.Lock()
	l.last = line.DeliveryID
	l.mu.Unlock()
	err := forward(ctx, d, r.Watch(func(status int) { line.Status = status }))
	line.DurationMs = l.now().Sub(start).Milliseconds()
	if err != nil {
		line.Error = err.Error()
	}
	var sent struct{ Channel string }
	_ = json.Unmarshal(d.Body, &sent)
	line.Channel = sent.Channel
	if l.json {
		line.Body = d.Body
		b, jsonErr := json.Marshal(line)
		if jsonErr != nil {
			return errors.Join(err, jsonErr)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		_, _ = l.out.Write(append(b, '\n')) // JSON shows control characters by itself
		return err
	}
	answer := fmt.Sprint(line.Status)
	if err != nil {
		answer = line.Error
	}
	l.print(l.out, "%s  %s %s  %s  %s  %d ms", start.Format(time.TimeOnly), line.Event, line.Channel, line.DeliveryID, answer, line.DurationMs)
	return err
}

// deliveryLine is a line of --print-json.
type deliveryLine struct {
	Time       string          `json:"time"`
	DeliveryID string          `json:"deliveryId"`
	Event      string          `json:"event"`
	Channel    string          `json:"channel"`
	Status     int             `json:"status,omitempty"`
	Error      string          `json:"error,omitempty"`
	DurationMs int64           `json:"durationMs"`
	Body       json.RawMessage `json:"body"`
}

// replay asks the server to send the last delivery again.
func (l *listening) replay(ctx context.Context) {
	l.mu.Lock()
	last := l.last
	l.mu.Unlock()
	if last == "" {
		l.note("There is nothing to send again yet.")
		return
	}
	if _, err := l.client.Do(ctx, Request{Method: http.MethodPost, Path: Path("v1", "deliveries", last, "retry")}); err != nil {
		l.note("%s cannot be sent again: %v", last, err)
		return
	}
	l.note("Sending %s again.", last)
}

// keys reads what is typed, without waiting for Enter where this is a terminal.
// restore puts the terminal back.
func (l *listening) keys(ctx context.Context, in *os.File, interrupt func()) (restore func(), err error) {
	restore = func() {}
	if fd := int(in.Fd()); term.IsTerminal(fd) {
		state, err := term.MakeRaw(fd)
		if err != nil {
			return nil, err
		}
		restore = func() { _ = term.Restore(fd, state) }
		l.out, l.notes = rawWriter{l.out}, rawWriter{l.notes}
	}
	go func() {
		keys := bufio.NewReader(in)
		for {
			switch key, err := keys.ReadByte(); {
			case err != nil:
				return
			case key == 'r':
				l.replay(ctx)
			case key == 3: // Ctrl-C, where the terminal does not make a signal of it
				interrupt()
			}
		}
	}()
	return restore, nil
}

// rawWriter begins lines at the left where the terminal does not do it.
type rawWriter struct{ io.Writer }

func (w rawWriter) Write(b []byte) (int, error) {
	_, err := io.WriteString(w.Writer, strings.ReplaceAll(string(b), "\n", "\r\n"))
	return len(b), err
}
