package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"
)

// CallCmd is `call`.
type CallCmd struct {
	ClientFlags
	From    string `required:"" placeholder:"NUMBER" help:"Who is on the line, in E.164."`
	To      string `required:"" placeholder:"NUMBER" help:"The agent's number, in E.164."`
	Agent   string `placeholder:"ID" help:"The agent who is called; by default the number decides."`
	ID      string `name:"id" placeholder:"ID" help:"The call's id; by default one is made."`
	Timeout int    `default:"0" placeholder:"SECONDS" help:"Give an answer up after so long, as a caller who hangs up; 0 is never."`

	in  io.Reader
	now func() time.Time
}

// call is one at work.
type call struct {
	cmd    *CallCmd
	client *Client
	out    Output
	id     string
	began  time.Time
	lines  []spoken
}

type spoken struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// Run asks for each line that is typed, until there are no more, or the agent hangs up.
func (cmd *CallCmd) Run(ctx context.Context, c *Client, out Output) error {
	if cmd.in == nil {
		cmd.in, cmd.now = os.Stdin, time.Now
	}
	k := &call{cmd: cmd, client: c, out: out, id: cmd.ID, began: cmd.now()}
	if k.id == "" {
		k.id = fmt.Sprintf("call_%x", k.began.UnixNano())
	}
	k.say("Call %s from %s to %s. Type what the caller says; an empty line, the end of the input or Ctrl-C hangs up.", k.id, cmd.From, cmd.To)
	// The end is told even where the caller hung up with Ctrl-C, or an answer failed.
	over := context.WithoutCancel(ctx)
	ctx, release := signal.NotifyContext(ctx, os.Interrupt)
	defer release()
	typed := typing(ctx, cmd.in)
	for {
		k.prompt()
		text := ""
		select {
		case text = <-typed:
		case <-ctx.Done():
		}
		if text == "" {
			return k.end(over, "user_hangup")
		}
		hungUp, err := k.turn(ctx, text)
		switch {
		case ctx.Err() != nil:
			return k.end(over, "user_hangup")
		case err != nil:
			return errors.Join(err, k.end(over, "error"))
		case hungUp:
			return k.end(over, "agent_hangup")
		}
	}
}

// typing is the lines that are typed; closed at the end of the input.
func typing(ctx context.Context, in io.Reader) <-chan string {
	lines := make(chan string)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(in); s.Scan(); {
			select {
			case lines <- strings.TrimSpace(s.Text()):
			case <-ctx.Done():
				return
			}
		}
	}()
	return lines
}

// say prints a line for people; with --json only answers are printed.
func (k *call) say(format string, args ...any) {
	if k.out.JSON {
		return
	}
	p := &printer{}
	p.line(format, args...)
	_, _ = p.buf.WriteTo(k.out.W)
}

func (k *call) prompt() {
	if !k.out.JSON {
		_, _ = io.WriteString(k.out.W, "you:    ")
	}
}

// turn asks, and prints each line of the answer as it comes, with when it came.
func (k *call) turn(ctx context.Context, text string) (hungUp bool, err error) {
	if k.cmd.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(k.cmd.Timeout)*time.Second)
		defer cancel()
	}
	start := k.cmd.now()
	body, err := k.client.Stream(ctx, Request{Method: http.MethodPost, Path: "/v1/events", Body: k.event("agent.message", map[string]any{
		"callId": k.id, "from": k.cmd.From, "to": k.cmd.To, "transcript": text, "status": "in-progress", "direction": "inbound",
	})})
	if err != nil {
		return false, err
	}
	defer body.Close()
	k.lines = append(k.lines, spoken{"user", text})
	var said []string
	var first, last time.Duration
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxAnswer)
	for lines.Scan() {
		last = k.cmd.now().Sub(start)
		if first == 0 {
			first = last
		}
		l, err := readSpoken(lines.Bytes())
		if err != nil {
			return false, err
		}
		if l.text != "" {
			said = append(said, l.text)
		}
		hungUp = hungUp || l.hangUp
		k.show(lines.Bytes(), l, last)
	}
	if len(said) > 0 {
		k.lines = append(k.lines, spoken{"agent", strings.Join(said, " ")})
	}
	if err := lines.Err(); err != nil {
		return false, k.client.connectionError(ctx, err)
	}
	k.say("        (first line after %s, last after %s)", millis(first), millis(last))
	return hungUp, nil
}

func millis(d time.Duration) string { return fmt.Sprintf("%d ms", d.Milliseconds()) }

// heard is one line of an answer.
type heard struct {
	text, fault string
	hangUp      bool
	others      []string // further keys, as name=value
}

// readSpoken reads a line. What it holds besides text are actions, which belong to
// the caller: of these only hanging up means something here.
func readSpoken(line []byte) (h heard, err error) {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(line, &keys); err != nil {
		return h, fmt.Errorf("the answer is not of the form this version knows, use --json to see it: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		v := keys[name]
		switch name {
		case "text":
			_ = json.Unmarshal(v, &h.text)
		case "error":
			_ = json.Unmarshal(v, &h.fault)
		case "interim":
		default:
			h.hangUp = h.hangUp || name == "hangup" && string(v) == "true" || name == "action" && string(v) == `"hangup"`
			h.others = append(h.others, name+"="+string(v))
		}
	}
	return h, nil
}

func (k *call) show(raw []byte, h heard, after time.Duration) {
	if k.out.JSON {
		_, _ = fmt.Fprintf(k.out.W, "%s\n", raw)
		return
	}
	what := h.text
	if len(h.others) > 0 {
		what = strings.TrimSpace(what + " [" + strings.Join(h.others, " ") + "]")
	}
	switch {
	case h.fault != "":
		k.say("  !     %s", h.fault)
	case what == "":
		k.say("agent:  (silence) (%s)", millis(after))
	default:
		k.say("agent:  %s (%s)", what, millis(after))
	}
}

// end tells that the call ended.
func (k *call) end(ctx context.Context, reason string) error {
	ended := k.cmd.now()
	answer, err := k.client.Do(ctx, Request{Method: http.MethodPost, Path: "/v1/events", Body: k.event("agent.call_ended", map[string]any{
		"callId": k.id, "from": k.cmd.From, "to": k.cmd.To, "direction": "inbound", "status": "completed",
		"startedAt": k.began.UTC().Format(time.RFC3339Nano), "endedAt": ended.UTC().Format(time.RFC3339Nano),
		"durationSeconds": ended.Sub(k.began).Round(time.Millisecond).Seconds(), "disconnectionReason": reason, "transcript": append([]spoken{}, k.lines...),
	})})
	if err != nil {
		return err
	}
	if k.out.JSON {
		return k.out.printJSON(answer)
	}
	k.say("")
	k.say("The call ended (%s): %d lines in %s.", reason, len(k.lines), ended.Sub(k.began).Round(time.Second).String())
	return nil
}

func (k *call) event(kind string, data map[string]any) map[string]any {
	e := map[string]any{"event": kind, "channel": "voice", "data": data}
	if k.cmd.Agent != "" {
		e["agentId"] = k.cmd.Agent
	}
	return e
}
