package api

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"github.com/danielgtaylor/huma/v2"
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
// Keys are found by their hash: comparing hashes tells nothing about a key.
func (h *handlers) authenticate(a huma.API) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		k, err := h.key(ctx.Context(), ctx.Header("Authorization"))
		if err != nil {
			f := h.failed(ctx.Context(), "authenticate", err)
			for name, values := range f.GetHeaders() {
				ctx.SetHeader(name, values[0])
			}
			_ = huma.WriteErr(a, ctx, f.status, f.Error())
			return
		}
		next(huma.WithValue(huma.WithValue(ctx, keyInContext{}, k), handlersInContext{}, h))
	}
}

func (h *handlers) key(ctx context.Context, authorization string) (phone.Key, error) {
	scheme, presented, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "Bearer") || presented == "" {
		return phone.Key{}, phone.Errorf(phone.Unauthorized, "an API key is required: send the header Authorization: Bearer followed by the key")
	}
	k, err := h.store.KeyByHash(ctx, sha256.Sum256([]byte(strings.TrimSpace(presented))))
	if phone.CodeOf(err) == phone.NotFound {
		err = phone.Errorf(phone.Unauthorized, "this API key is unknown or revoked: make one with switchhook keys create")
	}
	return k, err
}
