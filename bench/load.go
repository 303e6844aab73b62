package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const apiKey = "bench-key-0123456789"

// client speaks to a server or a ceiling, or to several in turn.
type client struct {
	urls []string
	next atomic.Uint64
	http *http.Client
}

func newClient(urls ...string) *client {
	return &client{urls: urls, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1024, DisableCompression: true}}}
}

// url is where the next request goes.
func (c *client) url() string { return c.urls[c.next.Add(1)%uint64(len(c.urls))] }

// call makes a request, reads the answer into a value where one is given, and
// takes any answer but a 2xx as an error.
func (c *client) call(method, path string, body []byte, into any) error {
	req, err := http.NewRequest(method, c.url()+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+apiKey)
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("%s %s: %d %s", method, path, resp.StatusCode, answer)
	}
	if into != nil {
		return json.Unmarshal(answer, into)
	}
	return nil
}

// number is the n-th agent's, person the n-th customer's.
func number(n int) string { return fmt.Sprintf("+1202555%04d", n) }
func person(n int) string { return fmt.Sprintf("+1303%07d", 2_000_000+n) }

// eventBody is a text to an agent.
func eventBody(agent, from int, text string) []byte {
	return fmt.Appendf(nil, `{"event":"agent.message","channel":"sms","data":{"from":%q,"to":%q,"message":%q,"receivedAt":"2026-01-02T03:04:05Z"}}`,
		person(from), number(agent), text)
}

// hello is what people write where nobody measures how long it takes.
const hello = "Hello there, where is my order? I have been waiting for it for three days now."

// mix spreads texts over agents and, of each, over its conversations.
type mix struct{ agents, conversations int }

func (m mix) event(i int64) []byte {
	agent := int(i) % m.agents
	return eventBody(agent, agent*1000+int(i)/m.agents%m.conversations, hello)
}

// closedLoop keeps connections busy for a while: each sends its next request when
// the last is answered. It returns how many events were taken.
func closedLoop(ctx context.Context, c *client, connections int, span time.Duration, path string, perRequest int, body func(i int64) []byte) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, span)
	defer cancel()
	var next, done atomic.Int64
	var failed atomic.Pointer[error]
	var work sync.WaitGroup
	for range connections {
		work.Go(func() {
			for ctx.Err() == nil {
				if err := c.call(http.MethodPost, path, body(next.Add(1)-1), nil); err != nil {
					failed.Store(&err)
					return
				}
				done.Add(int64(perRequest))
			}
		})
	}
	work.Wait()
	if err := failed.Load(); err != nil {
		return done.Load(), *err
	}
	return done.Load(), nil
}

// batchOf makes bodies of n events.
func batchOf(n int, event func(i int64) []byte) func(i int64) []byte {
	return func(i int64) []byte {
		events := make([][]byte, n)
		for k := range events {
			events[k] = event(i*int64(n) + int64(k))
		}
		return append(append([]byte(`{"events":[`), bytes.Join(events, []byte(","))...), "]}"...)
	}
}

// openLoop sends at a rate, on time whatever is answered, and returns when all
// is answered. body gets the moment at which its request is due.
func openLoop(ctx context.Context, c *client, rate float64, span time.Duration, body func(i int64, due time.Time) []byte) error {
	var failed atomic.Pointer[error]
	var work sync.WaitGroup
	start := time.Now()
	for i := int64(0); i < int64(rate*span.Seconds()) && ctx.Err() == nil; i++ {
		due := start.Add(time.Duration(float64(i) / rate * float64(time.Second)))
		time.Sleep(time.Until(due))
		work.Go(func() {
			if err := c.call(http.MethodPost, "/v1/events", body(i, due), nil); err != nil {
				failed.Store(&err)
			}
		})
	}
	work.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}
