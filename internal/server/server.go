// Package server puts the parts together: a store, a dispatcher, a switchboard
// and the API on a listener, started in that order and stopped in the other.
// `switchhook serve`, `switchhook demo` and the tests all run this same server.
package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"switchhook.dev/switchhook/internal/api"
	"switchhook.dev/switchhook/internal/dashboard"
	"switchhook.dev/switchhook/internal/deliver"
	"switchhook.dev/switchhook/internal/gate"
	"switchhook.dev/switchhook/internal/listen"
	"switchhook.dev/switchhook/internal/netguard"
	"switchhook.dev/switchhook/internal/nodes"
	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/pulse"
	"switchhook.dev/switchhook/internal/store"
	"switchhook.dev/switchhook/internal/store/postgres"
	"switchhook.dev/switchhook/internal/store/sqlite"
	"switchhook.dev/switchhook/internal/switchboard"
	"switchhook.dev/switchhook/internal/tracing"
)

// Config is what a server is started with.
type Config struct {
	// Listen is an address as net.Listen takes it, "127.0.0.1:8080".
	Listen string
	// Database is a URL whose scheme picks the store: "sqlite:switchhook.db".
	Database string
	// APIKey is a key for the first project; "" makes one at the first start.
	APIKey string
	// Policy says which addresses a webhook may have.
	Policy netguard.Policy
	// Resolver is the name server, host and port, that is asked for endpoints'
	// names; "" is the machine's.
	Resolver string
	// Schedule is deliver.DefaultSchedule where nil.
	Schedule deliver.Schedule
	// InFlight and PerEndpoint bound requests in flight: in all, and to one
	// endpoint. The dispatcher's defaults where 0.
	InFlight, PerEndpoint int
	// Turns bounds turns of calls under way; deliver.DefaultTurns where 0.
	Turns int
	// DisableAfter is how long an endpoint may fail before its webhook is
	// disabled: deliver.DefaultDisableAfter where 0.
	DisableAfter time.Duration
	// Lease is how long after its last sign of life this node counts as alive, where
	// many share the database: lease.DefaultLength where 0. NodeName is what it is
	// called there: the host's name where empty.
	Lease    time.Duration
	NodeName string
	// Retention is how long deliveries are kept; 0 is forever.
	Retention time.Duration
	// Profile is an address to serve Go's profiles on; "" serves none.
	Profile string
	// ListenPing is how often the server makes sure that who listens is there, and may:
	// listen.DefaultPing where 0.
	ListenPing time.Duration
	// Traces is where traces are sent, as the URL of an OTLP/HTTP collector. Where it
	// is "", OTEL_EXPORTER_OTLP_ENDPOINT (or _TRACES_ENDPOINT) says, and without them
	// none are made.
	Traces string
	// ListenGrace is how long who listens may take up a lost connection:
	// listen.DefaultGrace where 0.
	ListenGrace time.Duration
	// Version is shown to receivers and in the API's document.
	Version string
	Logger  *slog.Logger
	// Doors says who gets in, and how fast.
	Doors
}

// Server is a running server.
type Server struct {
	// URL is where the API answers.
	URL string
	// Address is what it listens on, with the port where Config left that open.
	Address string
	// NewKey is the key that this start made for the first project; "" where it
	// has one already. It is not to be had again.
	NewKey string

	logger       *slog.Logger
	http         *http.Server
	served       chan error
	store        Store
	dispatcher   *deliver.Dispatcher
	node         *nodes.Node        // nil where the database is this server's alone
	shared       switchboard.Shared // likewise
	owner        string             // the node's name; "" likewise
	adopted      prometheus.Counter
	board        *switchboard.Switchboard
	pages        *dashboard.Dashboard
	pulse        *pulse.Pulse
	listeners    *listen.Hub
	traces       *tracing.Tracer // nil where none are made
	pruning      sync.WaitGroup
	stopPrune    context.CancelFunc
	stopProfiles func() error // nil where none are served
	stopped      bool
	certificate  *gate.Certificate // nil where there is no TLS
}

// minAPIKey is the shortest key that may be chosen: 16 characters of the usual
// alphabets are beyond guessing over a network.
const minAPIKey = 16

// Timeouts of the HTTP server, against clients that hold connections open.
const (
	readHeaderTimeout = 10 * time.Second
	readTimeout       = 60 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10
)

// Start opens the store, takes up what is pending, and serves.
func Start(ctx context.Context, cfg Config) (_ *Server, err error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{logger: cfg.Logger, served: make(chan error, 1)}
	kept, err := openStore(ctx, cfg.Database)
	if err != nil {
		return nil, err
	}
	s.store = kept
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Stop(context.WithoutCancel(ctx)))
		}
	}()
	if err := s.unlock(ctx, cfg); err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w: choose another address with --listen", cfg.Listen, err)
	}
	defer func() {
		if err != nil {
			_ = listener.Close()
		}
	}()
	s.pulse = pulse.New(s.store, cfg.Logger)
	s.pulse.Start(ctx)
	if s.traces, err = startTraces(ctx, cfg); err != nil {
		return nil, err
	}
	if err := s.join(ctx, kept, cfg); err != nil {
		return nil, err
	}
	p := parts{
		kept: kept, metrics: newMetrics(), watchers: switchboard.NewWatchers(s.shared),
		listeners: listen.NewHub(listen.HubConfig{Logger: cfg.Logger, Grace: cfg.ListenGrace, Ping: cfg.ListenPing}),
	}
	p.measured = timed{s.store, p.metrics}
	if err := s.startDelivering(ctx, cfg, p); err != nil {
		return nil, err
	}
	if err := s.startAccepting(ctx, cfg, p); err != nil {
		return nil, err
	}
	s.prune(ctx, cfg.Retention)
	s.http = s.newHTTP(ctx, cfg, p)
	s.Address = listener.Addr().String()
	s.serve(listener, cfg)
	return s, nil
}

// parts are what several pieces of a server share while it is put together.
type parts struct {
	kept      Store // the store itself, without what is put around it
	measured  timed
	metrics   *metrics
	watchers  *switchboard.Watchers
	listeners *listen.Hub
}

// unlock opens the webhooks' secrets, and readies what guards the doors.
func (s *Server) unlock(ctx context.Context, cfg Config) (err error) {
	if p, ok := s.store.(*postgres.Store); ok {
		for _, w := range p.Warnings() {
			cfg.Logger.Warn(w)
		}
	}
	if s.store, err = sealSecrets(ctx, s.store, cfg); err != nil {
		return err
	}
	if err := s.ensureKey(ctx, cfg.APIKey); err != nil {
		return err
	}
	if err := s.readCertificate(cfg); err != nil || cfg.Profile == "" {
		return err
	}
	s.stopProfiles, err = serveProfiles(ctx, cfg.Profile, cfg.Logger)
	return err
}

// startDelivering makes the dispatcher, which takes up what is pending.
func (s *Server) startDelivering(ctx context.Context, cfg Config, p parts) error {
	s.nodeMetrics(p.metrics.registry)
	dialer := cfg.Policy.Dialer(&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second, Resolver: resolver(cfg.Resolver)})
	// transport is how endpoints are reached: a listener's by its connection.
	transport := func(t *http.Transport) http.RoundTripper {
		return s.traces.Transport(p.listeners.Transport(s.leased(throughProxy(t, cfg.Proxy, cfg.Policy))))
	}
	s.dispatcher = deliver.New(deliver.Config{
		Store: p.measured, Transport: transport(newTransport(dialer)), Schedule: cfg.Schedule, Knock: p.listeners.Knock(cfg.knock(dialer)),
		Turns: cfg.Turns, TurnTransport: transport(newTurnTransport(dialer)), MaySend: s.maySend(),
		InFlight: cfg.InFlight, PerEndpoint: cfg.PerEndpoint, DisableAfter: cfg.DisableAfter,
		UserAgent: "Switchhook/" + cfg.Version, Logger: cfg.Logger, Recorded: func(results []*phone.Result, recorded []store.Recorded) {
			p.metrics.recorded(results, recorded)
			logAttempts(cfg.Logger, results, recorded)
			p.watchers.Recorded(results, recorded)
			s.pulse.Recorded(results, recorded)
		},
	})
	if many, ok := p.kept.(*postgres.Store); ok {
		many.OnDue(s.dispatcher.Wake)
	}
	if err := s.store.RemoveListeners(ctx, s.owner, time.Now()); err != nil {
		return err
	}
	return s.startDispatcher(ctx)
}

// startAccepting makes the switchboard, and connects what tells it of changes.
func (s *Server) startAccepting(ctx context.Context, cfg Config, p parts) error {
	s.board = switchboard.New(switchboard.Config{
		Store: p.measured, Dispatcher: s.dispatcher, Policy: cfg.Policy, Logger: cfg.Logger, Watchers: p.watchers,
		Accepted: func(n int) { p.metrics.accepted.Add(float64(n)) }, Taken: s.pulse.Accepted, TurnEnded: p.metrics.turns.ended,
		ListenerGone: p.listeners.Gone, ListenerLost: p.listeners.Lost,
		Written: s.traces.Hook(), Shared: s.shared, Owner: s.owner,
	})
	if err := s.board.SettleTurns(ctx); err != nil {
		return err
	}
	if s.node != nil {
		s.node.Start(s.dispatcher, s.board)
	}
	p.listeners.Open(s.board)
	p.metrics.watch(s.dispatcher, p.listeners.Count)
	s.listeners = p.listeners
	return nil
}

// newHTTP makes the pages, the API, and the server of both.
func (s *Server) newHTTP(ctx context.Context, cfg Config, p parts) *http.Server {
	base, stopStreams := context.WithCancelCause(context.WithoutCancel(ctx))
	rates := gate.NewRates(cfg.RatePerKey)
	s.pages = dashboard.New(dashboard.Config{
		Store: s.store, Switchboard: s.board, Logger: cfg.Logger, Version: cfg.Version, NewKey: api.NewKey, Rates: rates,
	})
	calls := api.New(api.Config{
		Store: s.store, Switchboard: s.board, Logger: cfg.Logger, Version: cfg.Version, Metrics: p.metrics.registry, Rates: rates, Listeners: p.listeners,
	})
	srv := &http.Server{
		Handler:           gate.Handler(cfg.TrustedProxies, s.pages.Over(calls)),
		ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog:    slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return base },
	}
	// Shutdown waits for requests to end; a stream of events never does by itself.
	srv.RegisterOnShutdown(func() { stopStreams(switchboard.ErrStopping) })
	return srv
}

// openStore opens the store that a database URL names.
func openStore(ctx context.Context, database string) (Store, error) {
	kind, rest, err := parseDatabase(database)
	switch {
	case err != nil:
		return nil, err
	case kind == databasePostgres:
		return postgres.Open(ctx, database)
	}
	return sqlite.Open(ctx, rest)
}

// ensureKey makes the first project where there is none, and sees to it that the
// given key is good for it.
func (s *Server) ensureKey(ctx context.Context, given string) error {
	if given != "" && (len(given) < minAPIKey || strings.ContainsFunc(given, func(r rune) bool { return r <= ' ' || r > '~' })) {
		return fmt.Errorf("--api-key must be at least %d visible ASCII characters: leave it out, and one is made for you", minAPIKey)
	}
	now := time.Now().UTC().Truncate(time.Millisecond)
	p, found, err := s.store.FirstProject(ctx)
	if err != nil || found && given == "" {
		return err
	}
	secret, key := api.NewKey()
	if given != "" {
		secret = given
		key.Hash, key.Hint = sha256.Sum256([]byte(given)), given[:4]
	}
	key.Name, key.Operator, key.Scopes, key.CreatedAt = "operator", true, phone.ScopeAdmin, now
	if found {
		known, err := s.store.KeyByHash(ctx, key.Hash)
		if err == nil && known.RevokedAt.IsZero() {
			return nil
		}
		if err != nil && phone.CodeOf(err) != phone.NotFound {
			return err
		}
		key.ProjectID = p.ID
		if err := s.store.CreateKey(ctx, key); phone.CodeOf(err) != phone.Conflict {
			return err
		}
		// Another node that starts now may have been first.
		if _, err := s.store.KeyByHash(ctx, key.Hash); phone.CodeOf(err) == phone.NotFound {
			return errors.New("the key given with --api-key was revoked: give another one")
		} else {
			return err
		}
	}
	p = phone.Project{ID: phone.NewID(phone.PrefixProject), Name: "default", CreatedAt: now}
	key.ProjectID = p.ID
	switch made, err := s.store.CreateFirstProject(ctx, p, key); {
	case err != nil:
		return err
	case !made: // another node that starts now was first
		return s.ensureKey(ctx, given)
	case given == "":
		s.NewKey = secret
	}
	return nil
}

// newTransport is how endpoints are reached: never through a proxy, never to an
// address that the policy forbids, and without following redirects.
func newTransport(dialer *net.Dialer) *http.Transport {
	return &http.Transport{
		DialContext:        dialer.DialContext,
		ForceAttemptHTTP2:  true,
		DisableCompression: true,
		// Many endpoints may be on one host: the limits are the dispatcher's.
		MaxIdleConnsPerHost:    deliver.DefaultInFlight,
		MaxIdleConns:           deliver.DefaultInFlight,
		IdleConnTimeout:        90 * time.Second,
		TLSHandshakeTimeout:    10 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// knock asks an endpoint for a connection, under the same rules as a delivery,
// and closes it at once.
func knock(dialer *net.Dialer) func(context.Context, *url.URL) error {
	return func(ctx context.Context, u *url.URL) error {
		port := u.Port()
		if port == "" {
			port = u.Scheme // dialling knows the ports of http and https
		}
		c, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
		if err != nil {
			return err
		}
		return c.Close()
	}
}

// Wait returns when serving has failed, or ctx has ended.
func (s *Server) Wait(ctx context.Context) error {
	select {
	case err := <-s.served:
		return err
	case <-ctx.Done():
		return nil
	}
}

// Stop takes no new events, waits for the attempts in flight, hands back what
// was not sent, and closes the store. Where ctx ends first, attempts are cut off;
// they are made again, under the same ids, after the next start.
func (s *Server) Stop(ctx context.Context) error {
	if s.stopped {
		return nil
	}
	s.stopped = true
	var errs []error
	switch {
	case s.dispatcher != nil && s.board != nil && s.node != nil:
		errs = append(errs, s.node.Leave(ctx))
	case s.dispatcher != nil:
		s.dispatcher.Halt()
	}
	if s.stopPrune != nil {
		s.stopPrune()
		s.pruning.Wait()
	}
	if s.http != nil {
		errs = append(errs, s.http.Shutdown(ctx))
		s.pages.Close()
		s.board.Close()
	}
	if s.dispatcher != nil {
		errs = append(errs, s.dispatcher.Stop(ctx))
	}
	if s.node != nil {
		errs = append(errs, s.node.End(context.WithoutCancel(ctx)))
	}
	if s.pulse != nil {
		s.pulse.Stop(ctx)
	}
	if s.stopProfiles != nil {
		errs = append(errs, s.stopProfiles())
	}
	if s.listeners != nil {
		// Not before: what is in flight is answered over their connections.
		s.listeners.Close()
	}
	errs = append(errs, s.traces.Stop(ctx))
	return errors.Join(append(errs, s.store.Close())...)
}
