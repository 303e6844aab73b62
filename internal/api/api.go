// Package api is the HTTP API and its OpenAPI document: one set of Go types
// serves, validates and documents. There is a file per noun.
//
// The package checks the form of requests, names the project they are for, and
// shows nouns as the contract writes them. It must never decide anything about
// routing or delivery, and no request gets past it without a key.
package api

import (
	"context"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"
	"switchhook.dev/switchhook/internal/deliver"
	"switchhook.dev/switchhook/internal/listen"
	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
	"switchhook.dev/switchhook/internal/switchboard"
)

// Store is what the API reads and writes past the switchboard: nouns whose
// changes concern no delivery.
type Store interface {
	Ping(ctx context.Context) error

	KeyByHash(ctx context.Context, hash [32]byte) (phone.Key, error)
	CreateProject(ctx context.Context, p phone.Project, k phone.Key) error
	Project(ctx context.Context, id string) (phone.Project, error)
	Keys(ctx context.Context, projectID string) ([]phone.Key, error)
	CreateKey(ctx context.Context, k phone.Key) error
	RevokeKey(ctx context.Context, projectID, id string, at time.Time) error
	Changes(ctx context.Context, projectID, before string, limit int) ([]phone.Change, bool, error)

	CreateAgent(ctx context.Context, a phone.Agent) error
	Agent(ctx context.Context, projectID, id string) (phone.Agent, error)
	Agents(ctx context.Context, projectID string, limit, offset int) ([]phone.Agent, int, error)
	UpdateAgent(ctx context.Context, projectID, id string, change func(*phone.Agent) error) (phone.Agent, error)

	CreateNumber(ctx context.Context, n phone.Number) error
	Number(ctx context.Context, projectID, id string) (phone.Number, error)
	Numbers(ctx context.Context, projectID string, limit, offset int) ([]phone.Number, int, error)
	DeleteNumber(ctx context.Context, projectID, id string) error
	AttachNumber(ctx context.Context, projectID, agentID, numberID string) (phone.Number, error)
	DetachNumber(ctx context.Context, projectID, agentID, numberID string) error

	Conversations(ctx context.Context, projectID, agentID string, limit, offset int) ([]phone.Conversation, int, error)
	Conversation(ctx context.Context, projectID, id string) (phone.Conversation, error)
	SetMetadata(ctx context.Context, projectID, id string, metadata []byte) (phone.Conversation, error)
	Messages(ctx context.Context, projectID, conversationID string, p store.Page) ([]phone.Message, bool, error)
	NumberMessages(ctx context.Context, projectID, numberID string, p store.Page) ([]phone.Message, bool, error)

	Calls(ctx context.Context, f store.CallFilter) ([]phone.Call, int, error)
	Call(ctx context.Context, projectID, id string) (phone.Call, []phone.Turn, error)

	Deliveries(ctx context.Context, f store.DeliveryFilter) ([]phone.Delivery, int, error)
	Stats(ctx context.Context, projectID string, since time.Time) ([]store.HourCount, error)
	Totals(ctx context.Context, projectID string) (store.Counts, error)
}

// Config is what the API is made of. Store and Switchboard are required.
type Config struct {
	Store       Store
	Switchboard *switchboard.Switchboard
	Logger      *slog.Logger
	// Version is shown in the OpenAPI document.
	Version string
	// Rates bounds the requests of each key; nil for no bound.
	Rates Rates
	// Listeners takes the connections of `switchhook listen`; nil for none.
	Listeners *listen.Hub
	// Metrics is what /metrics answers.
	Metrics prometheus.Gatherer
}

// Limits of a request's body, in bytes: the first size that is refused, since
// huma refuses what reaches its limit.
const (
	maxBody      = 1<<20 + 1
	maxBatchBody = 16<<20 + 1
)

// handlers are the operations. A method is one operation.
type handlers struct {
	store  Store
	board  *switchboard.Switchboard
	logger *slog.Logger
	rates  Rates
	bodies bodies
}

// New returns the API as a handler.
func New(cfg Config) http.Handler {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	h := &handlers{store: cfg.Store, board: cfg.Switchboard, logger: cfg.Logger, rates: cfg.Rates}
	mux := http.NewServeMux()
	a := humago.New(mux, humaConfig(cfg.Version))
	a.UseMiddleware(h.authenticate(a))
	h.registerProjects(a)
	h.registerAgents(a)
	h.registerNumbers(a)
	h.registerConversations(a)
	h.registerWebhooks(a)
	h.registerDeliveries(a)
	h.registerEvents(a)
	h.registerCalls(a)
	h.registerAudit(a)
	h.registerListen(a, mux, cfg.Listeners)
	h.registerSystem(mux, cfg.Metrics)
	return recoverPanics(cfg.Logger, asJSON(notFound(mux)))
}

func humaConfig(version string) huma.Config {
	c := huma.DefaultConfig("Switchhook", version)
	c.Info.Description = "The webhook switchboard for AI phone agents: whatever happens to an agent is delivered to exactly one endpoint, its own or the project's default."
	c.DocsPath, c.SchemasPath, c.CreateHooks = "", "", nil
	c.AllowAdditionalPropertiesByDefault = true
	jsonFormat := huma.Format{Marshal: huma.DefaultJSONFormat.Marshal, Unmarshal: unmarshal}
	c.Formats = map[string]huma.Format{"application/json": jsonFormat, "json": jsonFormat}
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"key": {Type: "http", Scheme: "bearer", Description: "An API key of the project."},
	}
	c.Security = []map[string][]string{{"key": {}}}
	return c
}

// operation registers one operation of the API.
func operation[I, O any](a huma.API, method, path, id, tag, summary string, handle func(context.Context, *I) (*O, error), change ...func(*huma.Operation)) {
	op := huma.Operation{
		OperationID: id, Method: method, Path: path, Summary: summary, Tags: []string{tag},
		DefaultStatus: http.StatusOK, MaxBodyBytes: maxBody,
		Errors: []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusUnprocessableEntity, http.StatusTooManyRequests, http.StatusServiceUnavailable},
	}
	for _, c := range change {
		c(&op)
	}
	describeScope(&op)
	huma.Register(a, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := handle(ctx, in)
		if err != nil {
			return nil, failed(ctx, id, err)
		}
		return out, nil
	})
}

// body is an answer with a JSON body.
type body[T any] struct{ Body T }

func answer[T any](v T, err error) (*body[T], error) {
	if err != nil {
		return nil, err
	}
	return &body[T]{v}, nil
}

// Success is what a removal answers.
type Success struct {
	Success bool `json:"success"`
}

// list is a page of a list.
type list[T any] struct {
	Data    []T  `json:"data"`
	HasMore bool `json:"hasMore"`
	Total   int  `json:"total"`
}

func newList[N, T any](nouns []N, total, offset int, view func(N) T) list[T] {
	l := list[T]{Data: make([]T, 0, len(nouns)), Total: total, HasMore: offset+len(nouns) < total}
	for _, n := range nouns {
		l.Data = append(l.Data, view(n))
	}
	return l
}

// Page is the query of a list.
type Page struct {
	Limit  int `query:"limit" minimum:"1" maximum:"100" default:"20" doc:"How many to answer."`
	Offset int `query:"offset" minimum:"0" maximum:"10000000" default:"0" doc:"How many to pass over."`
}

// orNull is a string that is null where it is empty.
func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func timeOrNull(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	return orNull(deliver.FormatTime(t))
}

// now is the time of creation of what a request creates.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// asJSON treats every body as JSON, whatever its Content-Type says: there is
// nothing else it could be.
func asJSON(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("Content-Type", "application/json")
		r.Header.Del("Accept-Encoding")
		if acceptsNDJSON(r) {
			r = r.WithContext(context.WithValue(r.Context(), wantsNDJSON{}, true))
		}
		if r.Header.Get("Accept") != "text/event-stream" {
			r.Header.Set("Accept", "application/json")
		}
		next.ServeHTTP(w, r)
	})
}

// recoverPanics answers a fault of ours with 500 instead of a closed connection.
func recoverPanics(logger *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if v == http.ErrAbortHandler {
				panic(v)
			}
			logger.Error("a request met a fault of the server", "method", r.Method, "path", r.URL.Path, "panic", v, "stack", string(debug.Stack()))
			writeDetail(w, http.StatusInternalServerError, "the server met a fault of its own: its log says more; please report it")
		}()
		next.ServeHTTP(w, r)
	})
}
