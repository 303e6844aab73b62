package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"switchhook.dev/switchhook/internal/deliver"
	"switchhook.dev/switchhook/internal/listen"
	"switchhook.dev/switchhook/internal/phone"
)

type listenerView struct {
	WebhookID string `json:"webhookId" doc:"The webhook that stands in for the agent's own meanwhile."`
	Forward   string `json:"forward" doc:"Where deliveries go in the end."`
	Connected bool   `json:"connected" doc:"false while a lost connection may still be taken up again; of who is connected to another node it is true."`
	Since     string `json:"since"`
}

func (h *handlers) registerListen(a huma.API, mux *http.ServeMux, hub *listen.Hub) {
	if hub == nil {
		return
	}
	operation(a, http.MethodGet, "/v1/agents/{agent_id}/listener", "get-agent-listener", "Webhooks", "Who listens for an agent (switchhook listen); null where nobody does", func(ctx context.Context, in *AgentPath) (*body[*listenerView], error) {
		w, err := h.board.Listener(ctx, project(ctx), in.AgentID)
		if err != nil || w == nil {
			return answer[*listenerView](nil, err)
		}
		_, forward, _ := strings.Cut(strings.TrimPrefix(w.URL, listen.Scheme+"://"), "/")
		return answer(&listenerView{w.ID, forward, hub.Connected(w.ID) || !h.board.Here(*w), deliver.FormatTime(w.CreatedAt)}, nil)
	})
	path := "/v1/agents/{agent_id}/listen"
	op := &huma.Operation{
		OperationID: "listen", Method: http.MethodGet, Path: path, Tags: []string{"Webhooks"},
		Summary:     "Take an agent's deliveries over a WebSocket, as switchhook listen does",
		Description: "Its messages are the program's own and may change with every version.",
		Parameters:  []*huma.Param{{Name: "agent_id", In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString}}},
		Responses: map[string]*huma.Response{
			"101": {Description: "Switching to a WebSocket."}, "401": {Description: "Unauthorized"}, "403": {Description: "Forbidden"}, "404": {Description: "Not Found"},
		},
	}
	describeScope(op)
	a.OpenAPI().AddOperation(op)
	mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
		k, err := h.key(r.Context(), r.Header.Get("Authorization"))
		if err == nil {
			err = checkScope(k, op)
		}
		if err == nil {
			_, err = h.store.Agent(r.Context(), k.ProjectID, r.PathValue("agent_id"))
		}
		if err == nil && !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
			err = phone.Errorf(phone.BadRequest, "this path speaks WebSocket: use switchhook listen")
		}
		if err != nil {
			h.writeFailure(w, r, "listen", err)
			return
		}
		actor := phone.Actor{KeyID: k.ID, KeyName: k.Name, Address: addressOf(r.RemoteAddr)}
		hub.Serve(w, r.WithContext(phone.WithActor(r.Context(), actor)), k.ProjectID, r.PathValue("agent_id"), func(ctx context.Context) string {
			if h.revoked(ctx, k) {
				return "the API key was revoked"
			}
			return ""
		})
	})
}

// writeFailure answers an error outside of huma, in the contract's shape.
func (h *handlers) writeFailure(w http.ResponseWriter, r *http.Request, operation string, err error) {
	f := h.failed(r.Context(), operation, err)
	for name, values := range f.GetHeaders() {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(f.status)
	_ = json.NewEncoder(w).Encode(f)
}
