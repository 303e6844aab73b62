package api

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/switchboard"
)

// keyPrefix begins every key we make, so that one is recognised where it leaks.
const keyPrefix = "sk_"

// NewKey makes an API key: the key itself, to be shown once, and what is kept of
// it. The caller sets its project, name and time.
func NewKey() (secret string, k phone.Key) {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails: it ends the program instead
	secret = keyPrefix + base64.RawURLEncoding.EncodeToString(b)
	return secret, phone.Key{ID: phone.NewID(phone.PrefixKey), Hash: sha256.Sum256([]byte(secret)), Hint: secret[:7]}
}

type (
	keyInContext      struct{}
	handlersInContext struct{}
)

// boardOf is the switchboard, for checks that run before an operation's method.
func boardOf(ctx context.Context) *switchboard.Switchboard {
	return ctx.Value(handlersInContext{}).(*handlers).board
}

// caller is the key a request came with. The middleware saw to it that there is one.
func caller(ctx context.Context) phone.Key { return ctx.Value(keyInContext{}).(phone.Key) }

// project is the one project that a request sees.
func project(ctx context.Context) string { return caller(ctx).ProjectID }

// authenticate lets nobody in without a key, before anything else is looked at.
// Keys are found by their hash, which tells nothing about a key, and the whole
// hash is then compared in constant time.
func (h *handlers) authenticate(a huma.API) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		k, err := h.key(ctx.Context(), ctx.Header("Authorization"))
		if err != nil {
			h.refuse(a, ctx, err)
			return
		}
		if err := checkScope(k, ctx.Operation()); err != nil {
			h.refuse(a, ctx, err)
			return
		}
		r, _ := humago.Unwrap(ctx)
		leave, err := h.bodies.enter(r.ContentLength)
		if err != nil {
			h.refuse(a, ctx, err)
			return
		}
		defer leave()
		actor := phone.WithActor(ctx.Context(), phone.Actor{KeyID: k.ID, KeyName: k.Name, Address: addressOf(ctx.RemoteAddr())})
		ctx = huma.WithContext(ctx, actor)
		next(huma.WithValue(huma.WithValue(ctx, keyInContext{}, k), handlersInContext{}, h))
	}
}

// Rates bounds the requests of each key.
type Rates interface {
	// Take takes one request, or answers how long to wait for the next.
	Take(keyID string, now time.Time) (wait time.Duration)
}

// take takes one request of a key.
func (h *handlers) take(k phone.Key) error {
	if h.rates == nil {
		return nil
	}
	wait := h.rates.Take(k.ID, time.Now())
	if wait == 0 {
		return nil
	}
	e := phone.Errorf(phone.TooMany, "this key makes more requests than it may: slow down, and put several events into one POST /v1/events/batch")
	e.RetryAfter = (wait + time.Second - 1).Truncate(time.Second)
	return e
}

// refuse answers a request that gets no further.
func (h *handlers) refuse(a huma.API, ctx huma.Context, err error) {
	f := h.failed(ctx.Context(), "authenticate", err)
	for name, values := range f.GetHeaders() {
		ctx.SetHeader(name, values[0])
	}
	_ = huma.WriteErr(a, ctx, f.status, f.Error())
}

// addressOf is the address of who asks, without its port.
func addressOf(remote string) string {
	if host, _, err := net.SplitHostPort(remote); err == nil {
		return host
	}
	return remote
}

func (h *handlers) key(ctx context.Context, authorization string) (phone.Key, error) {
	scheme, presented, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "Bearer") || presented == "" {
		return phone.Key{}, phone.Errorf(phone.Unauthorized, "an API key is required: send the header Authorization: Bearer followed by the key")
	}
	hash := sha256.Sum256([]byte(strings.TrimSpace(presented)))
	k, err := h.store.KeyByHash(ctx, hash)
	if phone.CodeOf(err) == phone.NotFound || err == nil && subtle.ConstantTimeCompare(hash[:], k.Hash[:]) != 1 {
		err = phone.Errorf(phone.Unauthorized, "this API key is unknown or revoked: make one with switchhook keys create")
	}
	if err == nil {
		err = h.take(k)
	}
	return k, err
}

// revoked says whether a key that was good when its request came is so no longer:
// what answers without end asks now and then.
func (h *handlers) revoked(ctx context.Context, k phone.Key) bool {
	_, err := h.store.KeyByHash(ctx, k.Hash)
	return phone.CodeOf(err) == phone.NotFound
}
