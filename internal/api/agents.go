package api

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"switchhook.dev/switchhook/internal/deliver"
	"switchhook.dev/switchhook/internal/phone"
)

// AgentFields are those of an agent that this server knows. Whatever else one is
// created or patched with is kept and echoed.
type AgentFields struct {
	Description  *string `json:"description,omitempty" nullable:"true" maxLength:"10000"`
	VoiceMode    string  `json:"voiceMode,omitempty" enum:"webhook,hosted" doc:"Default webhook."`
	SystemPrompt *string `json:"systemPrompt,omitempty" nullable:"true"`
	BeginMessage *string `json:"beginMessage,omitempty" nullable:"true"`
	Voice        *string `json:"voice,omitempty" nullable:"true"`
}

type createAgentInput struct {
	RawBody []byte
	Body    struct {
		Name string `json:"name" minLength:"1" maxLength:"200"`
		AgentFields
	}
}

type patchAgentInput struct {
	ID      string `path:"agent_id"`
	RawBody []byte
	Body    struct {
		Name *string `json:"name,omitempty" nullable:"true" minLength:"1" maxLength:"200"`
		AgentFields
	}
}

// AgentPath names an agent. Embedded types are exported because huma reads no others.
type AgentPath struct {
	AgentID string `path:"agent_id"`
}

type agentNumberView struct {
	ID          string `json:"id"`
	PhoneNumber string `json:"phoneNumber"`
	Status      string `json:"status"`
	Type        string `json:"type"`
}

func viewAgentNumber(n phone.Number) agentNumberView {
	return agentNumberView{n.ID, n.PhoneNumber, n.Status, n.Type}
}

// agentView documents an agent; what is sent has the agent's further fields too.
type agentView struct {
	ID          string            `json:"id"`
	Name        string            `json:"name"`
	Description *string           `json:"description"`
	VoiceMode   string            `json:"voiceMode" enum:"webhook,hosted"`
	Voice       string            `json:"voice"`
	CreatedAt   string            `json:"createdAt"`
	Numbers     []agentNumberView `json:"numbers"`

	// further is kept as it was sent: a number too long for a float64 must come back whole.
	further map[string]json.RawMessage
}

// MarshalJSON adds the agent's further fields.
func (v agentView) MarshalJSON() ([]byte, error) {
	m := make(map[string]any, len(v.further)+7)
	for name, value := range v.further {
		m[name] = value
	}
	m["id"], m["name"], m["description"] = v.ID, v.Name, v.Description
	m["voiceMode"], m["voice"], m["createdAt"], m["numbers"] = v.VoiceMode, v.Voice, v.CreatedAt, v.Numbers
	return json.Marshal(m)
}

// What an agent has where nothing was said.
const (
	defaultVoiceMode = "webhook"
	defaultVoice     = "default"
)

func viewAgent(a phone.Agent) agentView {
	v := agentView{
		ID: a.ID, Name: a.Name, VoiceMode: defaultVoiceMode, Voice: defaultVoice,
		CreatedAt: deliver.FormatTime(a.CreatedAt), Numbers: []agentNumberView{},
	}
	// Settings were checked when they came; what cannot be read is not shown.
	_ = json.Unmarshal(a.Settings, &v.further)
	for name, field := range map[string]any{"description": &v.Description, "voiceMode": &v.VoiceMode, "voice": &v.Voice} {
		// null leaves a field at its default.
		_ = json.Unmarshal(v.further[name], field)
	}
	for _, n := range a.Numbers {
		v.Numbers = append(v.Numbers, viewAgentNumber(n))
	}
	return v
}

func (h *handlers) registerAgents(a huma.API) {
	operation(a, http.MethodPost, "/v1/agents", "create-agent", "Agents", "Create an agent", h.createAgent)
	operation(a, http.MethodGet, "/v1/agents", "list-agents", "Agents", "List agents, oldest first", h.listAgents)
	operation(a, http.MethodGet, "/v1/agents/{agent_id}", "get-agent", "Agents", "Read an agent", h.getAgent)
	operation(a, http.MethodPatch, "/v1/agents/{agent_id}", "update-agent", "Agents", "Change an agent", h.patchAgent)
	operation(a, http.MethodDelete, "/v1/agents/{agent_id}", "delete-agent", "Agents", "Delete an agent and its webhook; its numbers stay, unassigned", h.deleteAgent)
}

// settings merges what was sent into what is kept, less what is no setting.
func settings(kept, sent []byte) ([]byte, error) {
	m := map[string]json.RawMessage{}
	for _, b := range [][]byte{kept, sent} {
		if len(b) > 0 {
			if err := json.Unmarshal(b, &m); err != nil {
				return nil, invalid("json_invalid", "the body is not a JSON object")
			}
		}
	}
	for _, own := range []string{"id", "name", "createdAt", "numbers"} {
		delete(m, own)
	}
	return json.Marshal(m)
}

func (h *handlers) createAgent(ctx context.Context, in *createAgentInput) (*body[agentView], error) {
	s, err := settings(nil, in.RawBody)
	if err != nil {
		return nil, err
	}
	a := phone.Agent{ID: phone.NewID(phone.PrefixAgent), ProjectID: project(ctx), Name: in.Body.Name, Settings: s, CreatedAt: now()}
	return answer(viewAgent(a), h.store.CreateAgent(ctx, a))
}

func (h *handlers) listAgents(ctx context.Context, in *Page) (*body[list[agentView]], error) {
	agents, total, err := h.store.Agents(ctx, project(ctx), in.Limit, in.Offset)
	return answer(newList(agents, total, in.Offset, viewAgent), err)
}

func (h *handlers) getAgent(ctx context.Context, in *AgentPath) (*body[agentView], error) {
	a, err := h.store.Agent(ctx, project(ctx), in.AgentID)
	return answer(viewAgent(a), err)
}

func (h *handlers) patchAgent(ctx context.Context, in *patchAgentInput) (*body[agentView], error) {
	a, err := h.store.UpdateAgent(ctx, project(ctx), in.ID, func(a *phone.Agent) (err error) {
		if in.Body.Name != nil {
			a.Name = *in.Body.Name
		}
		a.Settings, err = settings(a.Settings, in.RawBody)
		return err
	})
	return answer(viewAgent(a), err)
}

type deletedAgent struct {
	Success
	ID   string `json:"id"`
	Name string `json:"name"`
}

func (h *handlers) deleteAgent(ctx context.Context, in *AgentPath) (*body[deletedAgent], error) {
	a, err := h.board.DeleteAgent(ctx, project(ctx), in.AgentID)
	return answer(deletedAgent{Success{true}, a.ID, a.Name}, err)
}
