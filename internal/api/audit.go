package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"switchhook.dev/switchhook/internal/deliver"
	"switchhook.dev/switchhook/internal/phone"
)

// changeView is an entry of the audit log as the API shows it.
type changeView struct {
	ID      string  `json:"id"`
	Action  string  `json:"action" doc:"What was done to what, like webhook.set."`
	Target  string  `json:"target" doc:"The id of what was changed."`
	Detail  string  `json:"detail" doc:"More, in plain words; never a secret."`
	KeyID   *string `json:"keyId" doc:"Whose key it was; null for the server itself."`
	KeyName *string `json:"keyName"`
	Address *string `json:"address" doc:"Where the request came from."`
	At      string  `json:"at"`
}

func viewChange(c phone.Change) changeView {
	return changeView{c.ID, string(c.Action), c.Target, c.Detail, orNull(c.KeyID), orNull(c.KeyName), orNull(c.Address), deliver.FormatTime(c.At)}
}

type changeList struct {
	Data    []changeView `json:"data"`
	HasMore bool         `json:"hasMore"`
}

func (h *handlers) registerAudit(a huma.API) {
	operation(a, http.MethodGet, "/v1/audit", "list-changes", "Keys", "Who changed what, when and from where, newest first", h.listChanges)
}

func (h *handlers) listChanges(ctx context.Context, in *struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
	Before string `query:"before" maxLength:"64" doc:"Only entries older than this id."`
}) (*body[changeList], error) {
	changes, more, err := h.store.Changes(ctx, project(ctx), in.Before, in.Limit)
	out := changeList{Data: make([]changeView, 0, len(changes)), HasMore: more}
	for _, c := range changes {
		out.Data = append(out.Data, viewChange(c))
	}
	return answer(out, err)
}
