package dashboard

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
)

// A session is a random token in a cookie that scripts cannot read. The store has
// its hash, beside the hash of the key it was begun with: it ends when somebody
// signs out, when the key is revoked, and after sessionLife.
const (
	sessionCookie = "switchhook_session"
	sessionLife   = 7 * 24 * time.Hour
	themeCookie   = "switchhook_theme"
)

func (d *Dashboard) registerSession() {
	d.mux.HandleFunc("GET /login", d.showSignIn)
	d.mux.HandleFunc("POST /login", d.signIn)
	d.mux.HandleFunc("POST /logout", d.signOut)
}

// isTLS says whether the visitor came by TLS, here or at a proxy that is trusted:
// from any other the header does not get here.
func isTLS(r *http.Request) bool {
	return r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https"
}

// theme is the one a visitor chose: "light", "dark", or "" for the system's.
func theme(r *http.Request) string {
	if c, err := r.Cookie(themeCookie); err == nil && (c.Value == "light" || c.Value == "dark") {
		return c.Value
	}
	return ""
}

// token reads the cookie: the project and the hash of the token.
func token(r *http.Request) (projectID string, hash [32]byte, ok bool) {
	c, err := r.Cookie(sessionCookie)
	if err != nil {
		return "", hash, false
	}
	projectID, secret, ok := strings.Cut(c.Value, ".")
	return projectID, sha256.Sum256([]byte(secret)), ok && secret != ""
}

// signedIn is the key a visitor signed in with.
func (d *Dashboard) signedIn(r *http.Request) (phone.Key, error) {
	projectID, hash, ok := token(r)
	if !ok {
		return phone.Key{}, phone.Errorf(phone.Unauthorized, "sign in first")
	}
	s, err := d.store.Session(r.Context(), projectID, hash, time.Now())
	if err != nil {
		return phone.Key{}, err
	}
	k, err := d.store.KeyByHash(r.Context(), s.KeyHash)
	if err == nil && k.ProjectID != projectID {
		err = phone.Errorf(phone.NotFound, "this session has ended: sign in again")
	}
	return k, err
}

// toSignIn sends a visitor to the page where one signs in, and back after it.
func (d *Dashboard) toSignIn(w http.ResponseWriter, r *http.Request, err error) {
	if code := phone.CodeOf(err); code != phone.Unauthorized && code != phone.NotFound {
		d.fail(&visit{Request: r, w: w}, err)
		return
	}
	to := "/login"
	if r.Method == http.MethodGet && r.URL.Path != "/" && r.Header.Get("HX-Request") == "" && r.Header.Get("Accept") != "text/event-stream" {
		to += "?next=" + url.QueryEscape(r.URL.RequestURI())
	}
	if r.Header.Get("HX-Request") == "true" {
		w.Header().Set("HX-Redirect", to)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// backTo is a path of ours, or "/" where next is none.
func backTo(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.Contains(next, `\`) {
		return "/"
	}
	return next
}

type signInPage struct{ Next, Fault string }

func (d *Dashboard) showSignIn(w http.ResponseWriter, r *http.Request) {
	if _, err := d.signedIn(r); err == nil {
		http.Redirect(w, r, backTo(r.FormValue("next")), http.StatusSeeOther)
		return
	}
	d.renderSignIn(w, r, http.StatusOK, "")
}

func (d *Dashboard) renderSignIn(w http.ResponseWriter, r *http.Request, status int, fault string) {
	d.render(w, status, "login", "page", layout{
		Title: "Sign in", Section: "login", Theme: theme(r), Version: d.cfg.Version, Now: time.Now(),
		Content: signInPage{backTo(r.FormValue("next")), fault},
	})
}

func (d *Dashboard) signIn(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	keyHash := sha256.Sum256([]byte(strings.TrimSpace(r.PostFormValue("key"))))
	k, err := d.store.KeyByHash(r.Context(), keyHash)
	switch {
	case phone.CodeOf(err) == phone.NotFound:
		d.renderSignIn(w, r, http.StatusUnauthorized, "This API key is unknown or revoked. Check that it was copied whole.")
		return
	case err == nil && !k.Scopes.Allow(phone.ScopeRead):
		d.renderSignIn(w, r, http.StatusForbidden, "This key may only hand events in. Sign in with one that has the scope read.")
		return
	}
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails: it ends the program instead
	encoded := base64.RawURLEncoding.EncodeToString(secret)
	now := time.Now()
	if err == nil {
		err = d.store.CreateSession(r.Context(), store.Session{
			ProjectID: k.ProjectID, Hash: sha256.Sum256([]byte(encoded)), KeyHash: keyHash, CreatedAt: now, ExpiresAt: now.Add(sessionLife),
		})
	}
	if err != nil {
		d.cfg.Logger.Error("somebody could not sign in", "error", err)
		d.renderSignIn(w, r, http.StatusServiceUnavailable, "The database does not answer. Try again in a second.")
		return
	}
	http.SetCookie(w, newCookie(r, k.ProjectID+"."+encoded, int(sessionLife/time.Second)))
	http.Redirect(w, r, backTo(r.PostFormValue("next")), http.StatusSeeOther)
}

func (d *Dashboard) signOut(w http.ResponseWriter, r *http.Request) {
	if projectID, hash, ok := token(r); ok {
		if err := d.store.EndSession(r.Context(), projectID, hash); err != nil {
			d.cfg.Logger.Error("a session could not be ended", "error", err)
			http.Error(w, "The database does not answer: you are still signed in. Try again in a second.", http.StatusServiceUnavailable)
			return
		}
	}
	http.SetCookie(w, newCookie(r, "", -1))
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}

func newCookie(r *http.Request, value string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name: sessionCookie, Value: value, Path: "/", MaxAge: maxAge, HttpOnly: true, Secure: isTLS(r), SameSite: http.SameSiteLaxMode,
	}
}
