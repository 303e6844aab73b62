package api

import (
	"context"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"switchhook.dev/switchhook/internal/deliver"
	"switchhook.dev/switchhook/internal/phone"
)

// ProjectView is a project as the API shows it.
type ProjectView struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	CreatedAt string `json:"createdAt"`
}

func viewProject(p phone.Project) ProjectView {
	return ProjectView{p.ID, p.Name, deliver.FormatTime(p.CreatedAt)}
}

type keyView struct {
	ID        string   `json:"id"`
	Name      string   `json:"name"`
	Hint      string   `json:"hint" doc:"The first characters of the key."`
	Scopes    []string `json:"scopes" doc:"What the key may do: admin, write, ingest, read."`
	Operator  bool     `json:"operator" doc:"Whether the key may create projects."`
	CreatedAt string   `json:"createdAt"`
	RevokedAt *string  `json:"revokedAt"`
	Key       string   `json:"key,omitempty" doc:"The key itself, shown only when it is made."`
}

func viewKey(k phone.Key) keyView {
	return keyView{ID: k.ID, Name: k.Name, Hint: k.Hint, Scopes: k.Scopes.Names(), Operator: k.Operator, CreatedAt: deliver.FormatTime(k.CreatedAt), RevokedAt: timeOrNull(k.RevokedAt)}
}

func (h *handlers) registerProjects(a huma.API) {
	operation(a, http.MethodGet, "/v1/projects", "list-projects", "Projects", "The project of this key", h.listProjects)
	operation(a, http.MethodPost, "/v1/projects", "create-project", "Projects", "Create a project, with its first key", h.createProject)
	operation(a, http.MethodGet, "/v1/keys", "list-keys", "Keys", "List the project's keys", h.listKeys)
	operation(a, http.MethodPost, "/v1/keys", "create-key", "Keys", "Make a key; it is shown once", h.createKey)
	operation(a, http.MethodDelete, "/v1/keys/{key_id}", "revoke-key", "Keys", "Revoke a key", h.revokeKey)
}

func (h *handlers) listProjects(ctx context.Context, _ *struct{}) (*body[list[ProjectView]], error) {
	p, err := h.store.Project(ctx, project(ctx))
	return answer(newList([]phone.Project{p}, 1, 0, viewProject), err)
}

type named struct {
	Body struct {
		Name string `json:"name" minLength:"1" maxLength:"200"`
	}
}

type createdProject struct {
	ProjectView
	APIKey string `json:"apiKey" doc:"The project's first key, shown only this once."`
}

func (h *handlers) createProject(ctx context.Context, in *named) (*body[createdProject], error) {
	if !caller(ctx).Operator {
		return nil, phone.Errorf(phone.Forbidden, "this key cannot create projects: use the one the server was first started with")
	}
	p := phone.Project{ID: phone.NewID(phone.PrefixProject), Name: in.Body.Name, CreatedAt: now()}
	secret, k := NewKey()
	k.ProjectID, k.Name, k.CreatedAt, k.Scopes = p.ID, "first", p.CreatedAt, phone.ScopeAdmin
	return answer(createdProject{viewProject(p), secret}, h.store.CreateProject(ctx, p, k))
}

func (h *handlers) listKeys(ctx context.Context, _ *struct{}) (*body[list[keyView]], error) {
	keys, err := h.store.Keys(ctx, project(ctx))
	return answer(newList(keys, len(keys), 0, viewKey), err)
}

type createKeyInput struct {
	Body struct {
		Name   string   `json:"name" minLength:"1" maxLength:"200"`
		Scopes []string `json:"scopes,omitempty" nullable:"true" enum:"admin,write,ingest,read" minItems:"1" maxItems:"4" doc:"What the key may do. ingest: hand events in; read: read everything but secrets, keys and the audit log; write: both, and change agents, numbers and webhooks; admin: everything. Default admin."`
	}
}

func (h *handlers) createKey(ctx context.Context, in *createKeyInput) (*body[keyView], error) {
	secret, k := NewKey()
	k.ProjectID, k.Name, k.CreatedAt, k.Scopes = project(ctx), in.Body.Name, now(), phone.ScopeAdmin
	if in.Body.Scopes != nil {
		scopes, err := phone.ParseScopes(strings.Join(in.Body.Scopes, " "))
		if err != nil {
			return nil, invalid("enum", err.Error(), "scopes")
		}
		k.Scopes = scopes
	}
	v := viewKey(k)
	v.Key = secret
	return answer(v, h.store.CreateKey(ctx, k))
}

func (h *handlers) revokeKey(ctx context.Context, in *struct {
	ID string `path:"key_id"`
}) (*body[Success], error) {
	return answer(Success{true}, h.store.RevokeKey(ctx, project(ctx), in.ID, now()))
}
