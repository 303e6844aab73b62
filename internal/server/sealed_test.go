package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/seal"
	"switchhook.dev/switchhook/internal/store"
	"switchhook.dev/switchhook/internal/store/sqlite"
	"switchhook.dev/switchhook/webhook"
)

// TestEveryWebhookThatAStoreAnswersIsOpened: a new method that answers webhooks is
// to be wrapped in sealed.go, and named here.
func TestEveryWebhookThatAStoreAnswersIsOpened(t *testing.T) {
	wrapped := []string{"ActiveWebhooks", "AddListener", "Listener", "SetWebhook", "SetWebhookStatus", "Webhook", "WebhookByID"}
	var found []string
	all := reflect.TypeFor[Store]()
	for i := range all.NumMethod() {
		m := all.Method(i)
		for j := range m.Type.NumOut() {
			if strings.Contains(m.Type.Out(j).String(), "phone.Webhook") {
				found = append(found, m.Name)
			}
		}
	}
	if slices.Sort(found); !slices.Equal(found, wrapped) {
		t.Errorf("methods that answer webhooks: %q, of which %q are opened", found, wrapped)
	}
}

// kept is a database file with webhooks in it, as a server would find it.
type kept struct {
	*testing.T
	cfg     Config
	log     bytes.Buffer
	project string
}

func newKept(t *testing.T) *kept {
	k := &kept{T: t, project: phone.NewID(phone.PrefixProject)}
	k.cfg = Config{Database: "sqlite:" + filepath.Join(t.TempDir(), "test.db")}
	k.cfg.Logger = slog.New(slog.NewTextHandler(&k.log, nil))
	return k
}

func (k *kept) file() string { return strings.TrimPrefix(k.cfg.Database, "sqlite:") }

// plain opens the file without any seal.
func (k *kept) plain(f func(s *sqlite.Store)) {
	k.Helper()
	s, err := sqlite.Open(k.Context(), k.file())
	if err != nil {
		k.Fatal(err)
	}
	defer s.Close()
	f(s)
}

// sealed opens it as a server does.
func (k *kept) sealed(f func(Store)) error {
	k.Helper()
	var err error
	k.plain(func(s *sqlite.Store) {
		var st Store
		if st, err = sealSecrets(k.Context(), s, k.cfg); err == nil {
			f(st)
		}
	})
	return err
}

func (k *kept) set(s Store, secret string) phone.Webhook {
	k.Helper()
	w, err := s.SetWebhook(k.Context(), phone.Webhook{
		ID: phone.NewID(phone.PrefixWebhook), ProjectID: k.project, URL: "https://example.com/", Secret: secret,
		Timeout: time.Second, Ordering: phone.OrderRelaxed, PreviousUntil: time.Now().Add(time.Hour),
	})
	if err != nil {
		k.Fatal(err)
	}
	return w
}

// shows reads the webhook in every way there is, and wants these secrets.
func (k *kept) shows(s Store, secret, previous string) {
	k.Helper()
	ctx := context.Background()
	w, err := s.Webhook(ctx, k.project, "")
	if err != nil {
		k.Fatal(err)
	}
	byID, err := s.WebhookByID(ctx, w.ID)
	if err != nil {
		k.Fatal(err)
	}
	active, err := s.ActiveWebhooks(ctx)
	if err != nil {
		k.Fatal(err)
	}
	again, err := s.SetWebhookStatus(ctx, k.project, "", phone.WebhookActive)
	if err != nil {
		k.Fatal(err)
	}
	for i, w := range []phone.Webhook{*w, *byID, active[0], again} {
		if w.Secret != secret || w.PreviousSecret != previous {
			k.Errorf("%d: %q, before it %q; want %q, %q", i, w.Secret, w.PreviousSecret, secret, previous)
		}
	}
}

// raw is every byte that is kept on disk beside the key.
func (k *kept) raw() string {
	k.Helper()
	var all []byte
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(k.file() + suffix)
		if err != nil && !os.IsNotExist(err) {
			k.Fatal(err)
		}
		all = append(all, b...)
	}
	return string(all)
}

func TestSecretsRestSealed(t *testing.T) {
	k := newKept(t)
	one, two := webhook.NewSecret(), webhook.NewSecret()
	if err := k.sealed(func(s Store) {
		if w := k.set(s, one); w.Secret != one || w.PreviousSecret != "" {
			t.Errorf("%+v", w)
		}
		if w := k.set(s, two); w.Secret != two || w.PreviousSecret != one {
			t.Errorf("%+v", w)
		}
		k.shows(s, two, one)
	}); err != nil {
		t.Fatal(err)
	}
	if raw := k.raw(); strings.Contains(raw, one[6:]) || strings.Contains(raw, two[6:]) || !strings.Contains(raw, "sealed1.") {
		t.Error("a secret is in the file as it is, or nothing is sealed")
	}
	info, err := os.Stat(k.file() + ".key")
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatal(info, err)
	}
	key, err := os.ReadFile(k.file() + ".key")
	if err != nil {
		t.Fatal(err)
	}
	if err := k.sealed(func(s Store) { k.shows(s, two, one) }); err != nil {
		t.Error("after a restart:", err)
	}
	for _, secret := range append(strings.Fields(string(key)), one, two) {
		if len(secret) > 20 && strings.Contains(k.log.String(), secret) {
			t.Errorf("a secret is in the log: %s", k.log.String())
		}
	}
}

func TestPlainSecretsAreSealedAtTheStart(t *testing.T) {
	k := newKept(t)
	one, two := webhook.NewSecret(), webhook.NewSecret()
	k.plain(func(s *sqlite.Store) { k.set(s, one); k.set(s, two) })
	if err := k.sealed(func(s Store) { k.shows(s, two, one) }); err != nil {
		t.Fatal(err)
	}
	k.plain(func(s *sqlite.Store) {
		all, err := s.Secrets(t.Context())
		if err != nil || len(all) != 1 || !seal.IsSealed(all[0].Secret) || !seal.IsSealed(all[0].Previous) {
			t.Errorf("%+v %v", all, err)
		}
	})
}

// TestKeysAreRotatedByAStart: the new key is put first; a start seals everything
// under it; then the old key may go.
func TestKeysAreRotatedByAStart(t *testing.T) {
	k := newKept(t)
	one, two := webhook.NewSecret(), webhook.NewSecret()
	old, fresh := seal.NewKey(), seal.NewKey()
	for _, step := range []struct{ keys, fault string }{
		{keys: old}, {keys: fresh, fault: "start with the key it was sealed under"}, {keys: fresh + "\n" + old}, {keys: fresh}, {keys: old, fault: "given here"},
	} {
		k.cfg.SecretKeys = step.keys
		err := k.sealed(func(s Store) {
			if step.keys == old {
				k.set(s, one)
				k.set(s, two)
			}
			k.shows(s, two, one)
		})
		if step.fault == "" && err != nil || step.fault != "" && (err == nil || !strings.Contains(err.Error(), step.fault)) {
			t.Errorf("%v, want %q", err, step.fault)
		}
		if err != nil && (strings.Contains(fmt.Sprint(err), old) || strings.Contains(err.Error(), fresh)) {
			t.Errorf("a key is in the error %v", err)
		}
	}
}

func TestWhereKeysComeFrom(t *testing.T) {
	k := newKept(t)
	if err := k.sealed(func(s Store) { k.set(s, webhook.NewSecret()) }); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(k.file()+".key", k.file()+".moved"); err != nil {
		t.Fatal(err)
	}
	if err := k.sealed(func(Store) {}); err == nil || !strings.Contains(err.Error(), "is missing") {
		t.Error("a lost key:", err)
	}
	if _, err := os.Stat(k.file() + ".key"); err == nil {
		t.Error("a new key was made where the old one is needed")
	}
	// Lost for good: the secrets are taken away, and the server starts with a new key.

	k.plain(func(s *sqlite.Store) {
		all, err := s.Secrets(t.Context())
		if err != nil || s.ReplaceSecrets(t.Context(), all[0], "", "") != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := s.ReplaceSecrets(t.Context(), store.Secret{WebhookID: all[0].WebhookID}, all[0].Secret, ""); err != nil {
				t.Error(err)
			}
		}()
		st, err := sealSecrets(t.Context(), s, k.cfg)
		if err != nil {
			t.Fatal(err)
		}
		if all, err := st.ActiveWebhooks(t.Context()); err != nil || len(all) != 1 || all[0].Secret != "" {
			t.Error(all, err)
		}
	})
	k.cfg.SecretKeyFile = k.file() + ".moved"
	if err := os.Chmod(k.cfg.SecretKeyFile, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := k.sealed(func(Store) {}); err != nil || !strings.Contains(k.log.String(), "chmod 600") {
		t.Error("named, and readable by others:", err, k.log.String())
	}
	for _, bad := range []Config{
		{Doors: Doors{SecretKeyFile: k.file() + ".none"}, Database: k.cfg.Database}, {Doors: Doors{SecretKeys: "x"}, Database: k.cfg.Database}, {Database: "postgres://localhost/x"},
	} {
		bad.Logger = k.cfg.Logger
		if _, err := keyring(bad, false); err == nil || !strings.Contains(err.Error(), "secret-key-file") && !strings.Contains(err.Error(), "SWITCHHOOK_SECRET_KEY") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// TestASecretMovedToAnotherWebhookDoesNotOpen: who can write to the database cannot
// put a secret that is known in place of one that is not.
func TestASecretMovedToAnotherWebhookDoesNotOpen(t *testing.T) {
	k := newKept(t)
	if err := k.sealed(func(s Store) { k.set(s, webhook.NewSecret()) }); err != nil {
		t.Fatal(err)
	}
	other := *k
	other.project = phone.NewID(phone.PrefixProject)
	if err := k.sealed(func(s Store) { other.set(s, webhook.NewSecret()) }); err != nil {
		t.Fatal(err)
	}
	k.plain(func(s *sqlite.Store) {
		all, err := s.Secrets(t.Context())
		if err != nil || len(all) != 2 {
			t.Fatal(all, err)
		}
		if err := s.ReplaceSecrets(t.Context(), all[0], all[1].Secret, ""); err != nil {
			t.Fatal(err)
		}
	})
	if err := k.sealed(func(Store) {}); err == nil || !strings.Contains(err.Error(), "belongs to something else") {
		t.Error(err)
	}
}

// TestAFreshDeliveryCarriesItsWebhookOpened: and the store's own copy stays sealed.
func TestAFreshDeliveryCarriesItsWebhookOpened(t *testing.T) {
	k := newKept(t)
	secret := webhook.NewSecret()
	err := k.sealed(func(s Store) {
		ctx, now := t.Context(), time.Now()
		agent := phone.Agent{ID: phone.NewID(phone.PrefixAgent), ProjectID: k.project, Name: "a", Settings: []byte("{}"), CreatedAt: now}
		number := phone.Number{ID: phone.NewID(phone.PrefixNumber), ProjectID: k.project, PhoneNumber: "+12025550101", AgentID: agent.ID, CreatedAt: now}
		if err := errors.Join(s.CreateAgent(ctx, agent), s.CreateNumber(ctx, number)); err != nil {
			t.Fatal(err)
		}
		k.set(s, secret)
		send := func() *phone.Webhook {
			a := s.Accept(ctx, []*phone.NewEvent{{
				ProjectID: k.project, Type: phone.EventMessage, Channel: phone.ChannelSMS, Direction: phone.Inbound, Number: "+12025550101",
				Participant: "+12025550199", ID: phone.NewID(phone.PrefixEvent), MessageID: phone.NewID(phone.PrefixMessage), Body: "x", At: now,
				Data: func(string, string) []byte { return []byte("{}") },
			}}, noRoom{})[0]
			if a.Err != nil || a.Job == nil || a.Job.Webhook == nil {
				t.Fatalf("%+v", a)
			}
			return a.Job.Webhook
		}
		first, second := send(), send()
		if first.Secret != secret || second != first {
			t.Errorf("%+v, then %+v", first, second)
		}
		next := webhook.NewSecret()
		k.set(s, next)
		if w := send(); w.Secret != next || w.PreviousSecret != secret {
			t.Errorf("after a change: %+v", w)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

type noRoom struct{}

func (noRoom) Reserve(string) bool { return true }
func (noRoom) Release(string)      {}
