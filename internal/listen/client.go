package listen

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// Pauses of a Client.
const (
	// firstPause and maxPause bound the wait before a lost connection is tried again.
	firstPause = 100 * time.Millisecond
	maxPause   = 3 * time.Second
	// maxFarewells is how often a connection is tried again only to say goodbye.
	maxFarewells = 3
	// dialTimeout bounds one try.
	dialTimeout = 15 * time.Second
	// byeTimeout bounds how long Run takes to say goodbye.
	byeTimeout = drainTimeout + 5*time.Second
)

// Delivery is one request that came to be forwarded.
type Delivery struct {
	Header http.Header
	Body   []byte
}

// Reply takes the answer to a Delivery: Head once, Body as often as there is
// something. Each part is on its way at once.
type Reply struct {
	send     func(frame)
	exchange string
	watch    func(status int)
}

// Watch returns the same Reply; it calls f with the status when that is known.
func (r *Reply) Watch(f func(status int)) *Reply {
	w := *r
	w.watch = f
	return &w
}

// Head sends the status and header.
func (r *Reply) Head(status int, header http.Header) {
	if r.watch != nil {
		r.watch(status)
	}
	r.send(frame{Kind: kindHead, Exchange: r.exchange, Status: status, Header: header})
}

// Body sends a part of the body.
func (r *Reply) Body(part []byte) {
	r.send(frame{Kind: kindBody, Exchange: r.exchange, Body: part})
}

// Ready is what a client learns when it begins to listen.
type Ready struct {
	WebhookID string
	// Secret is what deliveries are signed with.
	Secret string
}

// ClientConfig is what a Client is made of. URL, Key and Handle are required.
type ClientConfig struct {
	// URL is where to connect: http(s)://…/v1/agents/{agent_id}/listen.
	URL string
	// Key is an API key of the project.
	Key      string
	Settings Settings
	// Handle forwards one delivery. An error, which is shown to the server's
	// people, says that there was no complete answer. ctx ends when nobody waits
	// for one any more.
	Handle func(ctx context.Context, d Delivery, r *Reply) error
	// Ready is called when listening begins, and again where a session was lost.
	Ready func(Ready)
	// Lost and Back are called when the connection is cut, and when it is taken up.
	Lost func(error)
	Back func()
	// Ping is DefaultPing where 0.
	Ping time.Duration
	// Dial is for tests; nil connects directly.
	Dial *http.Transport
}

// Client is the developer's end.
type Client struct {
	cfg  ClientConfig
	http *http.Client

	session string
	link    *link
	work    sync.WaitGroup

	mu       sync.Mutex
	underWay map[string]context.CancelFunc
	ended    error // how the session ended, once it has
}

// RefusedError says that the server does not let this client listen; trying again
// does not help.
type RefusedError struct {
	// Status is the HTTP status, or 0 where the connection stood already.
	Status int
	Detail string
}

func (e *RefusedError) Error() string { return e.Detail }

// errEnded is how a session ends that was asked to.
var errEnded = errors.New("the session has ended")

// NewClient returns a client that does nothing until Run.
func NewClient(cfg ClientConfig) *Client {
	if cfg.Back == nil {
		cfg.Back = func() {}
	}
	if cfg.Lost == nil {
		cfg.Lost = func(error) {}
	}
	if cfg.Ready == nil {
		cfg.Ready = func(Ready) {}
	}
	if cfg.Ping == 0 {
		cfg.Ping = DefaultPing
	}
	transport := cfg.Dial
	if transport == nil {
		transport = http.DefaultTransport.(*http.Transport).Clone()
	}
	// A WebSocket begins as HTTP/1.1.
	transport.Protocols = new(http.Protocols)
	transport.Protocols.SetHTTP1(true)
	return &Client{
		cfg: cfg, link: newLink(), underWay: map[string]context.CancelFunc{},
		http: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// Run listens until ctx ends; then it says goodbye, and returns nil when the
// server has removed the listener. It returns an error where it could not begin,
// or where the server refused to go on; a connection that is lost it takes up
// again, however long that takes.
func (c *Client) Run(ctx context.Context) error {
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer c.work.Wait()
	defer c.forget()
	defer cancel()
	began, farewells := false, 0
	for pause := firstPause; ; {
		conn, answer, err := c.connect(run)
		if err == nil {
			pause = firstPause
			if began && answer.Resumed {
				c.cfg.Back()
			}
			began = true
			err = c.serve(ctx, run, conn, answer)
			if errors.Is(err, errEnded) {
				return nil
			}
		}
		var refused *RefusedError
		switch {
		case errors.As(err, &refused), !began:
			return err
		case ctx.Err() != nil && farewells == maxFarewells:
			return fmt.Errorf("the connection was lost while saying goodbye: the server removes the listener by itself within %s", DefaultGrace)
		}
		if ctx.Err() != nil {
			farewells++
		}
		c.cfg.Lost(err)
		select {
		case <-ctx.Done():
		case <-time.After(pause/2 + rand.N(pause/2)):
		}
		pause = min(2*pause, maxPause)
	}
}

// connect opens a connection and takes up the session, or begins one.
func (c *Client) connect(ctx context.Context) (*websocket.Conn, ready, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	var answer ready
	conn, resp, err := websocket.Dial(ctx, c.cfg.URL, &websocket.DialOptions{
		HTTPClient: c.http, HTTPHeader: http.Header{"Authorization": {"Bearer " + c.cfg.Key}, "User-Agent": {"Switchhook-CLI"}},
	})
	if err != nil {
		return nil, answer, refusal(resp, err)
	}
	conn.SetReadLimit(maxFrame)
	first := hello{Protocol: protocol, Session: c.session, Settings: c.cfg.Settings}
	if c.session != "" {
		first.Received = c.link.last()
	}
	err = writeJSON(ctx, conn, first)
	if err == nil {
		err = readJSON(ctx, conn, &answer)
	}
	if err == nil && answer.Error != "" {
		err = &RefusedError{Detail: answer.Error}
	}
	if err != nil {
		_ = conn.CloseNow()
		return nil, answer, err
	}
	if !answer.Resumed {
		c.forget()
		c.session = answer.Session
		c.cfg.Ready(Ready{WebhookID: answer.WebhookID, Secret: answer.Secret})
	}
	return conn, answer, nil
}

// refusal reads the server's answer where it did not switch to a WebSocket.
func refusal(resp *http.Response, err error) error {
	if resp == nil || resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests {
		return err
	}
	e := &RefusedError{Status: resp.StatusCode, Detail: fmt.Sprintf("the server answered %s: is it a Switchhook of this version?", resp.Status)}
	var body struct{ Detail string }
	if raw, readErr := io.ReadAll(io.LimitReader(resp.Body, 64<<10)); readErr == nil && json.Unmarshal(raw, &body) == nil && body.Detail != "" {
		e.Detail = body.Detail
	}
	return e
}

// forget drops what belongs to a session that the server no longer knows.
func (c *Client) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, cancel := range c.underWay {
		cancel()
	}
	clear(c.underWay)
	c.link = newLink()
}

// serve carries the session over one connection, and says goodbye over it when
// ctx ends.
func (c *Client) serve(ctx, run context.Context, conn *websocket.Conn, answer ready) error {
	defer conn.CloseNow()
	run, cancel := context.WithCancelCause(run)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() {
		c.link.send(frame{Kind: kindBye})
		timer := time.AfterFunc(byeTimeout, func() { cancel(errors.New("the server does not answer")) })
		context.AfterFunc(run, func() { timer.Stop() })
	})
	defer stop()
	err := c.link.run(run, conn, answer.Received, c.cfg.Ping, func(f frame) { c.take(run, conn, f) })
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != nil {
		return c.ended
	}
	return err
}

// take takes a frame of the server.
func (c *Client) take(run context.Context, conn *websocket.Conn, f frame) {
	switch f.Kind {
	case kindRequest:
		c.mu.Lock()
		defer c.mu.Unlock()
		// A request outlives its connection: the answer goes over the next.
		ctx, cancel := context.WithCancel(context.WithoutCancel(run))
		c.underWay[f.Exchange] = cancel
		send := c.link.send
		c.work.Go(func() {
			defer cancel()
			end := frame{Kind: kindEnd, Exchange: f.Exchange}
			if err := c.cfg.Handle(ctx, Delivery{f.Header, f.Body}, &Reply{send: send, exchange: f.Exchange}); err != nil {
				end.Error = err.Error()
			}
			send(end)
			c.mu.Lock()
			defer c.mu.Unlock()
			delete(c.underWay, f.Exchange)
		})
	case kindCancel:
		c.mu.Lock()
		defer c.mu.Unlock()
		if cancel := c.underWay[f.Exchange]; cancel != nil {
			cancel()
		}
	case kindGone:
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.ended = errEnded; f.Error != "" {
			c.ended = &RefusedError{Detail: f.Error}
		}
		c.work.Go(func() { _ = conn.Close(websocket.StatusNormalClosure, "") })
	}
}
