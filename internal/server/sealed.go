package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/seal"
	"switchhook.dev/switchhook/internal/store"
)

// sealedStore is a store in which the webhooks' secrets are sealed: what it keeps
// is opened for whoever reads it, and nothing plain gets past it.
type sealedStore struct {
	Store
	ring *seal.Ring
	// fresh are the webhooks that events were bound to, opened: there are many
	// events for one webhook.
	fresh *openedWebhooks
}

// openedWebhooks remembers opened webhooks by their id.
type openedWebhooks struct {
	mu   sync.RWMutex
	byID map[string]openedWebhook
}

type openedWebhook struct{ sealed, opened *phone.Webhook }

// maxOpened bounds them. Past it all are opened anew.
const maxOpened = 10_000

func (o *openedWebhooks) get(sealed *phone.Webhook) *phone.Webhook {
	o.mu.RLock()
	defer o.mu.RUnlock()
	e := o.byID[sealed.ID]
	if e.sealed == sealed {
		return e.opened
	}
	// A store that reads it for every batch hands out as many copies of one revision.
	if e.sealed != nil && e.sealed.Revision == sealed.Revision && e.sealed.Secret == sealed.Secret && e.sealed.PreviousSecret == sealed.PreviousSecret {
		return e.opened
	}
	return nil
}

func (o *openedWebhooks) put(sealed, opened *phone.Webhook) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.byID) >= maxOpened {
		clear(o.byID)
	}
	o.byID[sealed.ID] = openedWebhook{sealed, opened}
}

// sealSecrets puts the seal between a store and the server. Secrets that are plain,
// or sealed under a key that is no longer the first, are sealed anew; one that no
// key opens stops the start.
func sealSecrets(ctx context.Context, s Store, cfg Config) (Store, error) {
	kept, err := s.Secrets(ctx)
	if err != nil {
		return s, err
	}
	inUse := false
	for _, k := range kept {
		inUse = inUse || seal.IsSealed(k.Secret)
	}
	ring, err := keyring(cfg, inUse)
	if err != nil {
		return s, err
	}
	again := func(id, secret string) (string, error) {
		if secret == "" {
			return "", nil
		}
		if ring.Current(secret) {
			_, err := ring.Open(id, secret)
			return secret, err
		}
		plain := secret
		if seal.IsSealed(secret) {
			var err error
			if plain, err = ring.Open(id, secret); err != nil {
				return "", err
			}
		}
		return ring.Seal(id, plain), nil
	}
	count := 0
	for _, k := range kept {
		secret, err := again(k.WebhookID, k.Secret)
		if err != nil {
			return s, fmt.Errorf("the secret of webhook %s cannot be opened: %w: start with the key it was sealed under, in --secret-key-file or SWITCHHOOK_SECRET_KEY", k.WebhookID, err)
		}
		previous, err := again(k.WebhookID, k.Previous)
		if err != nil {
			previous = "" // it only eases a change: the webhook goes on without
		}
		if secret == k.Secret && previous == k.Previous {
			continue
		}
		if err := s.ReplaceSecrets(ctx, k, secret, previous); err != nil {
			return s, err
		}
		count++
	}
	if count > 0 {
		cfg.Logger.Info("secrets were sealed under the first key", "webhooks", count)
	}
	return sealedStore{s, ring, &openedWebhooks{byID: map[string]openedWebhook{}}}, nil
}

// keyring finds the keys: in the environment, in the file that was named, or, for
// an embedded database, in one beside it, which the first start makes. inUse says
// that secrets are sealed already, so that a new key would be of no use.
func keyring(cfg Config, inUse bool) (*seal.Ring, error) {
	if cfg.SecretKeys != "" {
		ring, err := seal.Parse(cfg.SecretKeys)
		if err != nil {
			return nil, fmt.Errorf("SWITCHHOOK_SECRET_KEY: %w", err)
		}
		return ring, nil
	}
	path, own := cfg.SecretKeyFile, false
	if path == "" {
		kind, file, err := parseDatabase(cfg.Database)
		if err != nil {
			return nil, err
		}
		if kind != databaseSQLite {
			return nil, errors.New("this database needs a key for the webhooks' secrets, the same on every node: " +
				"give it with --secret-key-file or in SWITCHHOOK_SECRET_KEY (`openssl rand -base64 32` makes one)")
		}
		path, own = file+".key", true
	}
	ring, exposed, err := seal.ReadFile(path)
	switch {
	case err == nil && exposed:
		cfg.Logger.Warn("others than its owner may read the key of the webhooks' secrets: chmod 600 it", "file", path)
	case errors.Is(err, fs.ErrNotExist) && own && inUse:
		return nil, fmt.Errorf("%s is missing, and the webhooks' secrets are sealed under a key in it: put it back from your copy, or name another with --secret-key-file", path)
	case errors.Is(err, fs.ErrNotExist) && own:
		if ring, err = seal.MakeFile(path); err != nil {
			return nil, fmt.Errorf("cannot make %s for the key of the webhooks' secrets: %w", path, err)
		}
		cfg.Logger.Info("made a key that seals the webhooks' secrets: keep a copy of it, apart from those of the database", "file", path)
	case err != nil:
		return nil, fmt.Errorf("--secret-key-file: %w", err)
	}
	return ring, nil
}

// open opens a webhook's secrets. A previous one that does not open is left out;
// one that was taken away by hand leaves the webhook unsent to until it is set anew.
func (s sealedStore) open(w *phone.Webhook) error {
	if w.Secret == "" {
		return nil
	}
	plain, err := s.ring.Open(w.ID, w.Secret)
	if err != nil {
		return fmt.Errorf("the secret of webhook %s cannot be opened: %w", w.ID, err)
	}
	w.Secret = plain
	if w.PreviousSecret != "" {
		w.PreviousSecret, _ = s.ring.Open(w.ID, w.PreviousSecret)
	}
	return nil
}

// opened is open for what a store answered.
func (s sealedStore) opened(w phone.Webhook, err error) (phone.Webhook, error) {
	if err != nil {
		return w, err
	}
	return w, s.open(&w)
}

func (s sealedStore) openedOrNone(w *phone.Webhook, err error) (*phone.Webhook, error) {
	if err != nil || w == nil {
		return nil, err
	}
	return w, s.open(w)
}

// Accept opens the webhooks that fresh deliveries carry. The store's own copies
// stay sealed: they are not to be changed.
func (s sealedStore) Accept(ctx context.Context, events []*phone.NewEvent, room store.Room) []phone.Accepted {
	out := s.Store.Accept(ctx, events, room)
	for i := range out {
		j := out[i].Job
		if j == nil || j.Webhook == nil {
			continue
		}
		opened := s.fresh.get(j.Webhook)
		if opened == nil {
			w := *j.Webhook
			if err := s.open(&w); err != nil {
				// The dispatcher reads the webhook itself then, and says what is wrong.
				j.Webhook = nil
				continue
			}
			opened = &w
			s.fresh.put(j.Webhook, opened)
		}
		j.Webhook = opened
	}
	return out
}

// SetWebhook seals the new secret for the webhook's id.
func (s sealedStore) SetWebhook(ctx context.Context, w phone.Webhook) (phone.Webhook, error) {
	w.SealSecret = s.ring.Seal
	return s.opened(s.Store.SetWebhook(ctx, w))
}

// AddListener seals the secret for the webhook's id.
func (s sealedStore) AddListener(ctx context.Context, w phone.Webhook, session, before string) (phone.Webhook, error) {
	w.SealSecret = s.ring.Seal
	return s.opened(s.Store.AddListener(ctx, w, session, before))
}

// SetWebhookStatus opens what it answers.
func (s sealedStore) SetWebhookStatus(ctx context.Context, projectID, agentID string, status phone.WebhookStatus) (phone.Webhook, error) {
	return s.opened(s.Store.SetWebhookStatus(ctx, projectID, agentID, status))
}

// Webhook opens what it answers.
func (s sealedStore) Webhook(ctx context.Context, projectID, agentID string) (*phone.Webhook, error) {
	return s.openedOrNone(s.Store.Webhook(ctx, projectID, agentID))
}

// Listener opens what it answers.
func (s sealedStore) Listener(ctx context.Context, projectID, agentID string) (*phone.Webhook, error) {
	return s.openedOrNone(s.Store.Listener(ctx, projectID, agentID))
}

// WebhookByID opens what it answers.
func (s sealedStore) WebhookByID(ctx context.Context, id string) (*phone.Webhook, error) {
	return s.openedOrNone(s.Store.WebhookByID(ctx, id))
}

// ActiveWebhooks opens what it answers.
func (s sealedStore) ActiveWebhooks(ctx context.Context) ([]phone.Webhook, error) {
	all, err := s.Store.ActiveWebhooks(ctx)
	for i := range all {
		if err == nil {
			err = s.open(&all[i])
		}
	}
	return all, err
}

// AcceptTurn opens the secrets of the webhook that is to be asked. One that does
// not open cannot be asked, and the turn says so.
func (s sealedStore) AcceptTurn(ctx context.Context, e *phone.NewEvent) phone.Accepted {
	a := s.Store.AcceptTurn(ctx, e)
	if a.Webhook != nil {
		_ = s.open(a.Webhook)
	}
	return a
}
