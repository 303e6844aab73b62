// Package dashboard is the pages that people look at: what happens now, the log,
// the agents and their endpoints, conversations, replays, keys and the audit log.
// Pages are rendered here and embedded; nothing comes from another network. There
// is a file per page.
//
// Whoever looks has signed in with an API key, and sees and may do what that key
// may. No page asks the store for more than it shows. The package must never
// decide anything about routing or delivery: it asks the switchboard, as the API
// does.
package dashboard

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
	"switchhook.dev/switchhook/internal/switchboard"
)

// Store is what the dashboard reads, and the little it writes past the switchboard.
type Store interface {
	Project(ctx context.Context, id string) (phone.Project, error)
	KeyByHash(ctx context.Context, hash [32]byte) (phone.Key, error)
	Keys(ctx context.Context, projectID string) ([]phone.Key, error)
	CreateKey(ctx context.Context, k phone.Key) error
	RevokeKey(ctx context.Context, projectID, id string, at time.Time) error
	Changes(ctx context.Context, projectID, before string, limit int) ([]phone.Change, bool, error)

	CreateSession(ctx context.Context, v store.Session) error
	Session(ctx context.Context, projectID string, hash [32]byte, now time.Time) (store.Session, error)
	EndSession(ctx context.Context, projectID string, hash [32]byte) error

	Agent(ctx context.Context, projectID, id string) (phone.Agent, error)
	Agents(ctx context.Context, projectID string, limit, offset int) ([]phone.Agent, int, error)
	AgentLooks(ctx context.Context, projectID string, agentIDs []string) (map[string]store.AgentLook, error)
	Numbers(ctx context.Context, projectID string, limit, offset int) ([]phone.Number, int, error)
	Listener(ctx context.Context, projectID, agentID string) (*phone.Webhook, error)
	WebhookByID(ctx context.Context, id string) (*phone.Webhook, error)
	Waiting(ctx context.Context, projectID, webhookID string) (store.Waiting, error)

	Conversation(ctx context.Context, projectID, id string) (phone.Conversation, error)
	Messages(ctx context.Context, projectID, conversationID string, p store.Page) ([]phone.Message, bool, error)
	RecentConversations(ctx context.Context, projectID, agentID string, limit int) ([]phone.Conversation, bool, error)
	ConversationsWith(ctx context.Context, projectID, participant string, limit int) ([]phone.Conversation, error)
	MessageDeliveries(ctx context.Context, projectID string, messages []phone.Message) (map[string]phone.Delivery, error)

	Look(ctx context.Context, f store.LookFilter) (store.Look, error)
	CountDeliveries(ctx context.Context, f store.DeliveryFilter) (int, error)
	Troubles(ctx context.Context, projectID string, since time.Time) ([]store.Trouble, error)
	Minutes(ctx context.Context, projectID string, since, until time.Time) ([]store.Minute, error)
	Totals(ctx context.Context, projectID string) (store.Counts, error)
}

// Config is what the dashboard is made of. All of it is required.
type Config struct {
	Store       Store
	Switchboard *switchboard.Switchboard
	Logger      *slog.Logger
	// Version is shown at the foot of each page.
	Version string
	// NewKey makes an API key: the key itself, and what is kept of it.
	NewKey func() (secret string, k phone.Key)
	// Rates bounds the requests of each key, those of its sessions too; nil, which
	// alone is not required, bounds nothing.
	Rates Rates
}

// Rates bounds the requests of each key.
type Rates interface {
	// Take takes one request, or answers how long to wait for the next.
	Take(keyID string, now time.Time) (wait time.Duration)
}

//go:embed templates/*.html
var templateFiles embed.FS

//go:embed static
var staticFiles embed.FS

// policy is the whole of what a page may load or do: nothing but from here, and
// no script or style within the page itself.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// maxForm bounds what a form may send, in bytes.
const maxForm = 64 << 10

// Dashboard serves the pages.
type Dashboard struct {
	cfg     Config
	board   *switchboard.Switchboard
	store   Store
	mux     *http.ServeMux
	pages   map[string]*template.Template
	assets  assets
	replays replays
}

// New returns a dashboard.
func New(cfg Config) *Dashboard {
	d := &Dashboard{cfg: cfg, board: cfg.Switchboard, store: cfg.Store, mux: http.NewServeMux(), assets: loadAssets()}
	d.pages = d.parseTemplates()
	d.mux.HandleFunc("GET /static/{file}", d.assets.serve)
	d.registerSession()
	d.registerNow()
	d.registerDeliveries()
	d.registerDelivery()
	d.registerAgents()
	d.registerConversations()
	d.registerReplay()
	d.registerKeys()
	return d
}

// Over returns a handler that serves the pages, and what is none of them by next.
func (d *Dashboard) Over(next http.Handler) http.Handler {
	guarded := d.recoverPanics(http.NewCrossOriginProtection().Handler(d.mux))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The API's paths are known at a glance: they are the hot ones.
		if strings.HasPrefix(r.URL.Path, "/v1/") {
			next.ServeHTTP(w, r)
			return
		}
		if _, pattern := d.mux.Handler(r); pattern == "" {
			next.ServeHTTP(w, r)
			return
		}
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		guarded.ServeHTTP(w, r)
	})
}

// Close ends what goes on in the background.
func (d *Dashboard) Close() { d.replays.close() }

// visit is one request of somebody who has signed in.
type visit struct {
	*http.Request
	w   http.ResponseWriter
	key phone.Key
	now time.Time
}

// project is the one project that a visit sees.
func (v *visit) project() string { return v.key.ProjectID }

// may says whether the visitor's key allows something.
func (v *visit) may(need phone.Scopes) bool { return v.key.Scopes.Allow(need) }

// isFragment says that a part of a page is asked for, not a whole one.
func (v *visit) isFragment() bool { return v.Header.Get("HX-Request") == "true" }

// on registers a page, or a part or a button of one, that needs a scope.
func (d *Dashboard) on(pattern string, need phone.Scopes, serve func(*visit) error) {
	d.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		key, err := d.signedIn(r)
		if err != nil {
			d.toSignIn(w, r, err)
			return
		}
		actor := phone.Actor{KeyID: key.ID, KeyName: key.Name, Address: address(r)}
		v := &visit{Request: r.WithContext(phone.WithActor(r.Context(), actor)), w: w, key: key, now: time.Now()}
		err = nil
		if d.cfg.Rates != nil && d.cfg.Rates.Take(key.ID, v.now) > 0 {
			err = phone.Errorf(phone.TooMany, "your key makes more requests than it may: wait a second")
			w.Header().Set("Retry-After", "1")
		} else if !v.may(need) {
			err = phone.Errorf(phone.Forbidden, "your key has the scope %s, and this needs %s: sign in with another key", orNone(key.Scopes.String()), need)
		}
		if err == nil {
			err = serve(v)
		}
		if err != nil {
			d.fail(v, err)
		}
	})
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func address(r *http.Request) string {
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		return host
	}
	return r.RemoteAddr
}

// errorStatuses maps the kinds of fault to HTTP; the rest is 500.
var errorStatuses = map[phone.Code]int{
	phone.Invalid: http.StatusUnprocessableEntity, phone.BadRequest: http.StatusBadRequest, phone.Unauthorized: http.StatusUnauthorized,
	phone.Forbidden: http.StatusForbidden, phone.NotFound: http.StatusNotFound, phone.Conflict: http.StatusConflict,
	phone.TooLarge: http.StatusRequestEntityTooLarge, phone.TooMany: http.StatusTooManyRequests,
	phone.NotImplemented: http.StatusNotImplemented, phone.Unavailable: http.StatusServiceUnavailable,
}

// fail shows a fault: on a page of its own, or, of a button, above the page.
func (d *Dashboard) fail(v *visit, err error) {
	if v.Context().Err() != nil {
		return // nobody is there any more
	}
	status, message := http.StatusInternalServerError, "The server met a fault of its own: its log says more."
	if e, ok := errors.AsType[*phone.Error](err); ok {
		status, message = errorStatuses[e.Code], sentence(e.Error())
		if len(e.Faults) > 0 {
			var parts []string
			for _, f := range e.Faults {
				parts = append(parts, f.Msg)
			}
			message = sentence(strings.Join(parts, "; "))
		}
	}
	if status >= http.StatusInternalServerError {
		d.cfg.Logger.Error("a page failed", "path", v.URL.Path, "error", errors.Join(err, errors.Unwrap(err)))
	}
	if v.isFragment() {
		v.w.Header().Set("HX-Retarget", "#notice")
		v.w.Header().Set("HX-Reswap", "innerHTML")
		d.fragment(v, status, "notice", notice{Bad: true, Text: message})
		return
	}
	d.page(v, status, "error", "Something is wrong", errorPage{http.StatusText(status), message})
}

type errorPage struct{ Title, Message string }

// notice is a line that says what came of a button.
type notice struct {
	Bad  bool
	Text string
	// Link leads on, with its text; "" for none.
	Link, LinkText string
}

// sentence begins with a capital letter and ends with a stop.
func sentence(s string) string {
	if s == "" {
		return s
	}
	s = strings.ToUpper(s[:1]) + s[1:]
	if !strings.ContainsAny(s[len(s)-1:], ".?!") {
		s += "."
	}
	return s
}

// layout is what every page has around its content.
type layout struct {
	Title, Section, Theme, Version string
	Key                            phone.Key
	Signed, May, MayAdmin          bool
	Now                            time.Time
	Content                        any
}

// page answers with a whole page.
func (d *Dashboard) page(v *visit, status int, name, title string, content any) {
	d.render(v.w, status, name, "page", layout{
		Title: title, Section: name, Theme: theme(v.Request), Version: d.cfg.Version, Key: v.key, Signed: true,
		May: v.may(phone.ScopeWrite), MayAdmin: v.may(phone.ScopeAdmin), Now: v.now, Content: content,
	})
}

// fragment answers with a part of a page: a template of any page's, by its name.
func (d *Dashboard) fragment(v *visit, status int, name string, content any) {
	d.render(v.w, status, "parts", name, content)
}

// render writes nothing until all of it is there: half a page is none.
func (d *Dashboard) render(w http.ResponseWriter, status int, set, name string, data any) {
	var b bytes.Buffer
	if err := d.pages[set].ExecuteTemplate(&b, name, data); err != nil {
		d.cfg.Logger.Error("a page could not be rendered", "page", set, "template", name, "error", err)
		http.Error(w, "The server met a fault of its own: its log says more.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}

// recoverPanics answers a fault of ours with 500 instead of a closed connection.
func (d *Dashboard) recoverPanics(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if v == http.ErrAbortHandler {
				panic(v)
			}
			d.cfg.Logger.Error("a page met a fault of the server", "path", r.URL.Path, "panic", v, "stack", string(debug.Stack()))
			http.Error(w, "The server met a fault of its own: its log says more.", http.StatusInternalServerError)
		}()
		next.ServeHTTP(w, r)
	})
}
