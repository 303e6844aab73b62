package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	testworld "switchhook.dev/switchhook/test/world"
)

// Of the voice scenario: how many calls there are at once, of how many agents, and
// how fast texts flow beside them.
const (
	calls       = 200
	voiceAgents = 20
	textsBeside = 2000
	manyCalls   = 1000
	// pause is what a person takes from an answer to the next question.
	pause = 700 * time.Millisecond
	// thinks is what an agent takes to its first line, and from there to its last.
	thinks = 100 * time.Millisecond
)

// proxyCmd is the least that can stand between a caller and a streaming webhook: a
// reverse proxy that flushes what comes, looks at nothing and keeps nothing.
type proxyCmd struct {
	Forward *url.URL `required:"" help:"Where requests go."`
}

func (c *proxyCmd) Run(ctx context.Context) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("answers at http://%s\n", l.Addr())
	srv := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: testworld.TakeWhole(&httputil.ReverseProxy{
		FlushInterval: -1, Transport: &http.Transport{MaxIdleConnsPerHost: manyCalls, DisableCompression: true},
		Rewrite: func(r *httputil.ProxyRequest) { r.Out.URL = c.Forward; r.Out.Host = c.Forward.Host },
	})}
	context.AfterFunc(ctx, func() { _ = srv.Close() })
	_ = srv.Serve(l)
	return nil
}

// agents are the webhooks of the voice scenario: they say two lines, the first of
// which tells when it was sent. Paths that begin with /hang say nothing.
type agents struct {
	url    string
	server *http.Server
	hold   chan struct{} // while it is open, the second line waits for it
	asked  atomic.Int64

	mu    sync.Mutex
	heard waits // from the question's sending to its arrival; nil while nobody measures
}

func newAgents() (*agents, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	a := &agents{url: "http://" + l.Addr().String()}
	a.server = &http.Server{Handler: a, ReadHeaderTimeout: time.Minute}
	go func() { _ = a.server.Serve(l) }()
	return a, nil
}

func (a *agents) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	a.asked.Add(1)
	if strings.HasPrefix(r.URL.Path, "/hang") {
		<-r.Context().Done()
		return
	}
	_, rest, _ := bytes.Cut(body, []byte(`"transcript":"`))
	text, _, _ := bytes.Cut(rest, []byte(`"`))
	if sent, err := strconv.ParseInt(string(text), 10, 64); err == nil {
		a.mu.Lock()
		a.heard = append(a.heard, now.Sub(time.Unix(0, sent)))
		a.mu.Unlock()
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	time.Sleep(thinks)
	fmt.Fprintf(w, `{"text":"%d","interim":true}`+"\n", time.Now().UnixNano())
	_ = http.NewResponseController(w).Flush()
	if a.hold != nil {
		<-a.hold
	} else {
		time.Sleep(thinks)
	}
	fmt.Fprintln(w, `{"text":"bye"}`)
}

// measured ends measuring, and returns what was heard.
func (a *agents) measured() waits {
	a.mu.Lock()
	defer a.mu.Unlock()
	w := a.heard
	a.heard = nil
	slices.Sort(w)
	return w
}

// turn asks one turn and returns how long its first line took from the webhook.
func (c *client) turn(ctx context.Context, call string, agent int) (first time.Duration, err error) {
	body := fmt.Appendf(nil, `{"event":"agent.message","channel":"voice","data":{"callId":%q,"from":%q,"to":%q,"transcript":"%d"}}`,
		call, person(agent*1000), number(agent), time.Now().UnixNano())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url()+"/v1/events", bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+apiKey)
	req.Header.Set("Accept", "application/x-ndjson")
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	l, err := lines.ReadBytes('\n')
	if err != nil {
		return 0, fmt.Errorf("%d %w", resp.StatusCode, err)
	}
	now := time.Now()
	var line struct{ Text, Error string }
	if err := json.Unmarshal(l, &line); err != nil || line.Error != "" || resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("%d %s %w", resp.StatusCode, l, err)
	}
	sent, err := strconv.ParseInt(line.Text, 10, 64)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, lines)
	return now.Sub(time.Unix(0, sent)), err
}

// talk keeps calls going for a while, and returns how long first lines took from the
// webhook to the caller, and questions to the webhook.
func (a *agents) talk(ctx context.Context, c *client, from, span int, name string, length time.Duration) (lines, questions waits, err error) {
	a.measured()
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	var mu sync.Mutex
	var failed error
	var work sync.WaitGroup
	for i := range calls {
		work.Go(func() {
			// They begin one after the other, not all at once.
			time.Sleep(time.Duration(i) * (pause + 2*thinks) / calls)
			for ctx.Err() == nil {
				first, err := c.turn(context.WithoutCancel(ctx), fmt.Sprintf("%s-%d", name, i), from+i%span)
				mu.Lock()
				if err != nil {
					failed = err
				}
				lines = append(lines, first)
				mu.Unlock()
				if err != nil {
					return
				}
				time.Sleep(pause)
			}
		})
	}
	work.Wait()
	slices.Sort(lines)
	return lines, a.measured(), failed
}

// voiceCalls is turns of calls: what they add to a reverse proxy's latency while
// texts flow, what a call costs in memory, and what agents that hang do to others.
func voiceCalls(b *bench) error {
	if err := b.callMemory(); err != nil {
		return err
	}
	w, err := b.newWorld("voice")
	if err != nil {
		return err
	}
	a, err := newAgents()
	if err != nil {
		return err
	}
	defer a.server.Close()
	if err := w.team(everyday.agents); err != nil {
		return err
	}
	first := everyday.agents
	for i := range voiceAgents {
		if err := w.agent(first+i, fmt.Sprintf("%s/voice/%d", a.url, i), "timeout", 120); err != nil {
			return err
		}
	}
	const hung = 200
	for i := range hung {
		if err := w.agent(first+voiceAgents+i, fmt.Sprintf("%s/hang/%d", a.url, i), "timeout", 120); err != nil {
			return err
		}
	}
	proxy, err := b.start(b.self, "proxy", "--forward", a.url+"/voice/0")
	if err != nil {
		return err
	}
	defer func() { _ = proxy.stop() }()

	// Texts flow through the server all the while, beside the proxy too.
	ctx, stop := context.WithCancel(b.ctx)
	ended := make(chan error, 1)
	go func() { ended <- openLoop(ctx, w.api, textsBeside, time.Hour, everyday.stamped("beside")) }()
	defer func() { stop(); <-ended }()
	talk := func(c *client, name string) (lines, questions waits, err error) {
		if _, _, err := a.talk(b.ctx, c, first, voiceAgents, name+"-warm", 2*time.Second); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
		return a.talk(b.ctx, c, first, voiceAgents, name, 2*b.span())
	}
	bareLines, bareQuestions, err := talk(newClient(proxy.url), "proxy")
	if err != nil {
		return err
	}
	lines, questions, err := talk(newClient(w.srv.url), "server")
	if err != nil {
		return err
	}
	what := fmt.Sprintf("%d calls at once beside %d texts/s: ", calls, textsBeside)
	b.addTurns(what+"first line at the webhook to first line at the caller", lines, bareLines, time.Millisecond, 5*time.Millisecond)
	b.addTurns(what+"question in to question at the webhook", questions, bareQuestions, 2*time.Millisecond, 10*time.Millisecond)

	for _, n := range []int{10, hung} {
		hanging, hangUp := context.WithCancel(b.ctx)
		var work sync.WaitGroup
		before := a.asked.Load()
		held := max(10*calls/n, 3*n) // 200 of ten agents, 600 of two hundred
		for i := range held {
			work.Go(func() { _, _ = w.api.turn(hanging, fmt.Sprintf("hang-%d-%d", n, i), first+voiceAgents+i%n) })
		}
		for a.asked.Load() < before+int64(held) && b.ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		_, beside, err := a.talk(b.ctx, newClient(w.srv.url), first, voiceAgents, fmt.Sprint("beside-", n), b.span())
		hangUp()
		work.Wait()
		if err != nil {
			return err
		}
		ratio := float64(beside.quantile(0.99)) / float64(questions.quantile(0.99))
		b.add(fmt.Sprintf("the same beside %d agents that hang: question in to question at the webhook", n), "p99 ≤ 1.5 × that without them",
			fmt.Sprintf("%s, %.2f ×", beside, ratio), met(ratio <= 1.5))
	}
	stop()
	if err := <-ended; err != nil {
		return err
	}
	ended <- nil
	return w.close()
}

// addTurns adds a line about turns beside a bare proxy's; the goal is of what is added.
func (b *bench) addTurns(what string, seen, bare waits, p50, p99 time.Duration) {
	add50, add99 := seen.quantile(0.5)-bare.quantile(0.5), seen.quantile(0.99)-bare.quantile(0.99)
	b.add(what, fmt.Sprintf("adds ≤ %s at p50, ≤ %s at p99", ms(p50), ms(p99)),
		fmt.Sprintf("adds %s at p50 and %s at p99 (%s, the bare proxy %s: %.1f × and %.1f ×; %d turns)", ms(add50), ms(add99), seen, bare,
			float64(seen.quantile(0.5))/float64(max(1, bare.quantile(0.5))), float64(seen.quantile(0.99))/float64(max(1, bare.quantile(0.99))), len(seen)),
		met(add50 <= p50 && add99 <= p99))
}

// callMemory is what a call costs while its answer is under way.
func (b *bench) callMemory() error {
	w, err := b.newWorld("calls")
	if err != nil {
		return err
	}
	a, err := newAgents()
	if err != nil {
		return err
	}
	defer a.server.Close()
	a.hold = make(chan struct{})
	for i := range voiceAgents {
		if err := w.agent(i, fmt.Sprintf("%s/voice/%d", a.url, i), "timeout", 120); err != nil {
			return err
		}
	}
	before := w.srv.resident()
	var work sync.WaitGroup
	var failed atomic.Int64
	for i := range manyCalls {
		work.Go(func() {
			if _, err := w.api.turn(b.ctx, fmt.Sprint("many-", i), i%voiceAgents); err != nil {
				failed.Add(1)
			}
		})
	}
	for a.asked.Load()+failed.Load() < manyCalls && b.ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(time.Second)
	during := w.srv.resident()
	close(a.hold)
	work.Wait()
	b.add(fmt.Sprintf("%d calls at once, each with an answer under way", manyCalls), "all answered",
		fmt.Sprintf("%d failed; %d KiB of resident memory a call (%d MB, before %d MB)", failed.Load(), (during-before)/manyCalls>>10, during>>20, before>>20), met(failed.Load() == 0))
	return w.close()
}
