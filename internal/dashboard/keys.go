package dashboard

import (
	"net/http"
	"strings"
	"time"

	"switchhook.dev/switchhook/internal/phone"
)

// auditLength is how many changes a page shows.
const auditLength = 50

func (d *Dashboard) registerKeys() {
	d.on("GET /keys", phone.ScopeAdmin, d.showKeys)
	d.on("POST /keys", phone.ScopeAdmin, d.createKey)
	d.on("POST /keys/{id}/revoke", phone.ScopeAdmin, d.revokeKey)
	d.on("GET /audit", phone.ScopeAdmin, d.showAudit)
}

type keysPage struct {
	Keys []phone.Key
	// Mine is the key of this visit.
	Mine string
	// Secret is a key that was just made, shown once.
	Secret string
	Notice *notice
	Now    time.Time
}

func (d *Dashboard) keysPage(v *visit) (p keysPage, err error) {
	p.Mine, p.Now = v.key.ID, v.now
	p.Keys, err = d.store.Keys(v.Context(), v.project())
	return p, err
}

func (d *Dashboard) showKeys(v *visit) error {
	p, err := d.keysPage(v)
	if err == nil {
		d.page(v, http.StatusOK, "keys", "Keys", p)
	}
	return err
}

func (d *Dashboard) createKey(v *visit) error {
	if err := v.ParseForm(); err != nil {
		return phone.Errorf(phone.BadRequest, "this form cannot be read: load the page again")
	}
	name := strings.TrimSpace(v.PostFormValue("name"))
	if name == "" || len(name) > 200 {
		return phone.Errorf(phone.BadRequest, "a key has a name of 1 to 200 characters: it tells keys apart")
	}
	scopes, err := phone.ParseScopes(strings.Join(v.PostForm["scope"], " "))
	if err == nil && scopes == 0 {
		err = phone.Errorf(phone.BadRequest, "choose at least one scope for the key")
	}
	if err != nil {
		return err
	}
	secret, k := d.cfg.NewKey()
	k.ProjectID, k.Name, k.CreatedAt, k.Scopes = v.project(), name, v.now.UTC().Truncate(time.Millisecond), scopes
	if err := d.store.CreateKey(v.Context(), k); err != nil {
		return err
	}
	p, err := d.keysPage(v)
	if err != nil {
		return err
	}
	p.Secret = secret
	d.fragment(v, http.StatusOK, "keys-body", p)
	return nil
}

// revokeKey ends a key, and with it whoever signed in with it.
func (d *Dashboard) revokeKey(v *visit) error {
	id := v.PathValue("id")
	if err := d.store.RevokeKey(v.Context(), v.project(), id, v.now.UTC().Truncate(time.Millisecond)); err != nil {
		return err
	}
	if id == v.key.ID {
		return d.redirect(v, "/login")
	}
	p, err := d.keysPage(v)
	if err != nil {
		return err
	}
	p.Notice = &notice{Text: "It is revoked: nothing is taken from it any more, and whoever signed in with it is signed out."}
	d.fragment(v, http.StatusOK, "keys-body", p)
	return nil
}

type auditPage struct {
	Changes []phone.Change
	Older   string
	First   bool
	Now     time.Time
}

func (d *Dashboard) showAudit(v *visit) error {
	before := v.FormValue("before")
	changes, more, err := d.store.Changes(v.Context(), v.project(), before, auditLength)
	if err != nil {
		return err
	}
	p := auditPage{Changes: changes, First: before == "", Now: v.now}
	if more {
		p.Older = "/audit?before=" + changes[len(changes)-1].ID
	}
	d.page(v, http.StatusOK, "audit", "Audit log", p)
	return nil
}
