package listen

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync"
	"time"

	"github.com/coder/websocket"
	"switchhook.dev/switchhook/internal/phone"
)

// Scheme marks the URL of a listener's webhook: listen://<webhook id>/<where it
// forwards to>.
const Scheme = "listen"

// Defaults of a Hub.
const (
	// DefaultGrace is how long a lost connection may be taken up again.
	DefaultGrace = 15 * time.Second
	// DefaultPing is how often each end makes sure of the other.
	DefaultPing = 15 * time.Second
	// helloTimeout bounds the wait for a connection's first message.
	helloTimeout = 10 * time.Second
	// drainTimeout is how long a session that says goodbye may finish what is under way.
	drainTimeout = 5 * time.Second
)

// errGone is what becomes of a request whose listener went.
var errGone = errors.New("`switchhook listen` was stopped, or lost its connection, before the local server answered")

// Board keeps the webhook rows of listeners and what is sent to them.
type Board interface {
	// AddListener makes a row, and starts sending to it. session is what the listener
	// is known by from now on, before what it was known by, "" for nothing: whoever comes
	// from another node takes the place of their earlier self.
	AddListener(ctx context.Context, projectID, agentID string, set Settings, session, before string) (phone.Webhook, error)
	// ListenerStands says whether the row is still there.
	ListenerStands(ctx context.Context, w phone.Webhook) (bool, error)
	// RemoveListener removes it; what was never sent is bound anew.
	RemoveListener(ctx context.Context, w phone.Webhook) error
	// PauseListener starts nothing more for it; ResumeListener goes on.
	PauseListener(ctx context.Context, w phone.Webhook)
	ResumeListener(ctx context.Context, w phone.Webhook) error
}

// HubConfig is what a Hub is made of.
type HubConfig struct {
	Logger *slog.Logger
	// Grace and Ping are the defaults where 0.
	Grace, Ping time.Duration
}

// Hub is the server's end: it knows who listens. Its methods are safe for
// concurrent use.
type Hub struct {
	cfg    HubConfig
	board  Board
	ctx    context.Context
	cancel context.CancelFunc

	mu       sync.Mutex
	sessions map[string]*session // by webhook
	opening  sync.Mutex          // one session is made, or unmade, at a time
	work     sync.WaitGroup
	closed   bool
}

// NewHub returns a hub that takes nobody in until Open.
func NewHub(cfg HubConfig) *Hub {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Grace == 0 {
		cfg.Grace = DefaultGrace
	}
	if cfg.Ping == 0 {
		cfg.Ping = DefaultPing
	}
	h := &Hub{cfg: cfg, sessions: map[string]*session{}}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	return h
}

// Open begins to take connections. It is called before Serve.
func (h *Hub) Open(board Board) { h.board = board }

// Close drops all connections. The rows stay: the next start removes them.
func (h *Hub) Close() {
	h.mu.Lock()
	h.closed = true
	for _, s := range h.sessions {
		s.stopTimer()
	}
	h.mu.Unlock()
	h.cancel()
	h.work.Wait()
}

// Connected says whether a listener's connection is up at the moment.
func (h *Hub) Connected(webhookID string) bool {
	s := h.session(webhookID)
	return s != nil && s.connected()
}

// Count is how many are connected.
func (h *Hub) Count() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.sessions {
		if s.connected() {
			n++
		}
	}
	return n
}

// Gone ends the session of a webhook row that went with its agent.
func (h *Hub) Gone(webhookID string) {
	if s := h.session(webhookID); s != nil {
		s.end()
		s.link.send(frame{Kind: kindGone, Error: "the agent was deleted"})
	}
}

// Lost ends the session of a webhook row that another node took away: because it
// took this one for dead, or because the listener has come there. A client that is
// still connected begins anew.
func (h *Hub) Lost(webhookID string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || h.sessions[webhookID] == nil {
		return
	}
	h.work.Add(1)
	go func() {
		defer h.work.Done()
		h.opening.Lock() // whoever is removing it finishes first
		defer h.opening.Unlock()
		if s := h.session(webhookID); s != nil {
			h.cfg.Logger.Info("another node took a listener away: it may begin anew", "webhook", webhookID)
			s.lose()
		}
	}()
}

func (h *Hub) session(webhookID string) *session {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sessions[webhookID]
}

// Serve takes a connection of who listens for an agent, until it ends. The caller
// has seen to it that they may; refused is asked now and then whether they no longer
// do, and then says why.
func (h *Hub) Serve(w http.ResponseWriter, r *http.Request, projectID, agentID string, refused func(context.Context) string) {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Retry-After", "5")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, `{"detail":"the server is stopping: try again in a few seconds"}`+"\n")
		return
	}
	h.work.Add(1)
	h.mu.Unlock()
	defer h.work.Done()
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // it has answered
	}
	defer conn.CloseNow()
	conn.SetReadLimit(maxFrame)
	var first hello
	ctx, cancel := context.WithTimeout(h.ctx, helloTimeout)
	err = readJSON(ctx, conn, &first)
	cancel()
	if err != nil {
		_ = conn.Close(websocket.StatusPolicyViolation, "no hello came")
		return
	}
	// Its values only: the request ends with this call, and its context with a stop.
	s, resumed, err := h.open(context.WithoutCancel(r.Context()), projectID, agentID, first)
	if err != nil {
		h.refuse(conn, err)
		return
	}
	watching, stop := context.WithCancel(h.ctx)
	h.work.Go(func() { h.watch(watching, s, refused) })
	s.serve(conn, first, resumed)
	stop()
}

// watch ends the session of who may no longer listen.
func (h *Hub) watch(ctx context.Context, s *session, refused func(context.Context) string) {
	ticker := time.NewTicker(h.cfg.Ping)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		why := refused(ctx)
		if why == "" {
			if stands, err := h.board.ListenerStands(ctx, s.webhook); err == nil && !stands {
				h.Lost(s.webhook.ID)
			}
			continue
		}
		h.opening.Lock()
		err := s.remove()
		h.opening.Unlock()
		if err != nil {
			h.cfg.Logger.Error("a listener could not be removed: trying again", "webhook", s.webhook.ID, "error", err)
			continue
		}
		s.link.send(frame{Kind: kindGone, Error: why})
		return
	}
}

// refuse tells a client why it cannot listen.
func (h *Hub) refuse(conn *websocket.Conn, err error) {
	detail := err.Error()
	if phone.CodeOf(err) == "" {
		h.cfg.Logger.Error("a listener could not be set", "error", err)
		detail = "the server met a fault of its own: its log says more"
	}
	ctx, cancel := context.WithTimeout(h.ctx, helloTimeout)
	defer cancel()
	_ = writeJSON(ctx, conn, ready{Error: detail})
	_ = conn.Close(websocket.StatusPolicyViolation, "refused")
}

// open finds the session that a client takes up, or makes a new one.
func (h *Hub) open(ctx context.Context, projectID, agentID string, first hello) (s *session, resumed bool, err error) {
	if first.Protocol != protocol {
		return nil, false, phone.Errorf(phone.BadRequest, "this server speaks version %d of the listen protocol: use `switchhook listen` of the server's version", protocol)
	}
	h.opening.Lock()
	defer h.opening.Unlock()
	if s := h.ofAgent(projectID, agentID); s != nil {
		switch {
		case first.Session == s.token && !s.ended():
			return s, true, nil
		case s.connected():
			return nil, false, phone.Errorf(phone.Conflict, "somebody listens for this agent already: stop that `switchhook listen` first")
		}
		// It lost its connection, and somebody else comes.
		if err := s.remove(); err != nil {
			return nil, false, err
		}
	}
	token := rand.Text()
	w, err := h.board.AddListener(ctx, projectID, agentID, first.Settings, known(token), known(first.Session))
	if err != nil {
		return nil, false, err
	}
	s = &session{hub: h, webhook: w, token: token, link: newLink(), exchanges: map[string]*exchange{}, gone: make(chan struct{})}
	h.mu.Lock()
	h.sessions[w.ID] = s
	h.mu.Unlock()
	h.cfg.Logger.Info("somebody listens for an agent", "agent", agentID, "webhook", w.ID, "forward", first.Forward)
	return s, false, nil
}

// known is what the row keeps of a session's token: who reads it cannot take its place.
func known(token string) string {
	if token == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

func (h *Hub) ofAgent(projectID, agentID string) *session {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.sessions {
		if s.webhook.ProjectID == projectID && s.webhook.AgentID == agentID {
			return s
		}
	}
	return nil
}

// Transport returns a RoundTripper that sends what is for a listener over its
// connection, and everything else by next.
func (h *Hub) Transport(next http.RoundTripper) http.RoundTripper { return &transport{h, next} }

type transport struct {
	hub  *Hub
	next http.RoundTripper
}

// RoundTrip sends one request; see http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != Scheme {
		return t.next.RoundTrip(r)
	}
	return t.hub.roundTrip(r)
}

// Knock says whether a listener could be sent to; see deliver.Config.
func (h *Hub) Knock(next func(context.Context, *url.URL) error) func(context.Context, *url.URL) error {
	return func(ctx context.Context, u *url.URL) error {
		switch {
		case u.Scheme != Scheme:
			return next(ctx, u)
		case h.Connected(u.Host):
			return nil
		}
		return errGone
	}
}

func (h *Hub) roundTrip(r *http.Request) (*http.Response, error) {
	s := h.session(r.URL.Host)
	if s == nil {
		return nil, errGone
	}
	content, err := io.ReadAll(r.Body)
	_ = r.Body.Close()
	if err != nil {
		return nil, err
	}
	e := newExchange(r.Context(), rand.Text(), s.gone)
	if !s.begin(e) {
		return nil, errGone
	}
	trace := httptrace.ContextClientTrace(r.Context())
	if trace != nil && trace.GotConn != nil {
		// From here on it may have been sent: whoever asks must not ask again.
		trace.GotConn(httptrace.GotConnInfo{Reused: true})
	}
	s.link.send(frame{Kind: kindRequest, Exchange: e.id, Header: r.Header, Body: content})
	status, header, err := e.head()
	if err != nil {
		s.finish(e)
		return nil, err
	}
	if trace != nil && trace.GotFirstResponseByte != nil {
		trace.GotFirstResponseByte()
	}
	if header == nil {
		header = http.Header{}
	}
	return &http.Response{
		Status: fmt.Sprintf("%d %s", status, http.StatusText(status)), StatusCode: status, Header: header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, ContentLength: -1, Request: r,
		Body: &body{e, func() { s.finish(e) }},
	}, nil
}
