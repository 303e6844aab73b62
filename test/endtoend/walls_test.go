package endtoend

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// route is an operation of the OpenAPI document.
type route struct {
	method, path, id string
	scope            string
	stream           bool // it answers without end
	body             map[string]any
}

// document is as much of an OpenAPI document as it takes to ask for everything.
type document struct {
	Paths map[string]map[string]struct {
		OperationID string
		Description string
		Parameters  []struct {
			Name, In string
			Required bool
			Schema   schema
		}
		RequestBody *struct {
			Content map[string]struct{ Schema schema }
		}
		Responses map[string]struct {
			Content map[string]any
		}
	}
	Components struct{ Schemas map[string]schema }
}

type schema struct {
	Ref        string `json:"$ref"`
	Type       any
	Enum       []any
	Format     string
	Minimum    float64
	Required   []string
	Properties map[string]schema
	Items      *schema
}

// example makes a value that a schema accepts. Where it asks for an id, or for
// what is found by one, it is given one of ids.
func (d *document) example(s schema, name string, ids map[string]string) any {
	if s.Ref != "" {
		s = d.Components.Schemas[s.Ref[strings.LastIndexByte(s.Ref, '/')+1:]]
	}
	kind, _ := s.Type.(string)
	if kinds, many := s.Type.([]any); many {
		kind, _ = kinds[0].(string)
	}
	switch {
	case len(s.Enum) > 0:
		return s.Enum[0]
	case kind == "object":
		out := map[string]any{}
		for field, of := range s.Properties {
			// A field that names something of the other project is always sent.
			if _, known := ids[field]; known || slices.Contains(s.Required, field) {
				out[field] = d.example(of, field, ids)
			}
		}
		return out
	case kind == "array":
		return []any{d.example(*s.Items, name, ids)}
	case kind == "integer", kind == "number":
		return max(s.Minimum, 1)
	case kind == "boolean":
		return true
	case s.Format == "date-time":
		return "2020-01-01T00:00:00Z"
	case ids[name] != "":
		return ids[name]
	case name == "url":
		return "http://192.0.2.1/"
	}
	return "x"
}

// routes lists every operation of the document, with its paths and bodies filled
// in with ids.
func routes(t *testing.T, w *world, ids map[string]string) (all []route) {
	t.Helper()
	var doc document
	w.ok("GET", "/openapi.json", nil, &doc)
	for path, methods := range doc.Paths {
		for method, op := range methods {
			r := route{method: strings.ToUpper(method), path: path, id: op.OperationID}
			_, after, _ := strings.Cut(op.Description, "Needs the scope `")
			r.scope, _, _ = strings.Cut(after, "`")
			query := "?"
			for _, p := range op.Parameters {
				id := ids[strings.ReplaceAll(p.Name, "_id", "Id")]
				switch p.In {
				case "path":
					if id == "" {
						id = "x"
					}
					r.path = strings.ReplaceAll(r.path, "{"+p.Name+"}", id)
				case "query":
					if id != "" || p.Required {
						query += p.Name + "=" + fmt.Sprint(doc.example(p.Schema, p.Name, ids)) + "&"
					}
				}
			}
			r.path += strings.TrimRight(query, "?&")
			if op.RequestBody != nil {
				r.body, _ = doc.example(op.RequestBody.Content["application/json"].Schema, "", ids).(map[string]any)
			}
			// What an event is about is not in the schema.
			switch r.id {
			case "create-event":
				r.body = textEvent(customer, ids["phoneNumber"], "hi")
				r.body["agentId"] = ids["agentId"]
			case "create-events":
				r.body = object{"events": []any{textEvent(customer, ids["phoneNumber"], "hi")}}
			}
			r.stream = strings.Contains(r.path, "/stream")
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b route) int { return strings.Compare(a.id, b.id) })
	if len(all) < 40 {
		t.Fatalf("the document has %d operations", len(all))
	}
	return all
}

// as asks for a route with a key. Of a stream it reads the beginning.
func (w *world) as(key string, r route) (int, string) {
	w.t.Helper()
	var in io.Reader
	if r.body != nil {
		b, err := json.Marshal(r.body)
		if err != nil {
			w.t.Fatal(err)
		}
		in = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(w.t.Context(), r.method, w.url+r.path, in)
	if err != nil {
		w.t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := client.Do(req)
	if err != nil {
		w.t.Fatalf("%s: %v", r.id, err)
	}
	defer resp.Body.Close()
	if r.stream && resp.StatusCode == http.StatusOK {
		b := make([]byte, 64)
		n, _ := resp.Body.Read(b)
		return resp.StatusCode, string(b[:n])
	}
	out, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatalf("%s: %v", r.id, err)
	}
	return resp.StatusCode, string(out)
}

// canary is in everything that a project keeps of its own.
const canary = "CANARY"

// furnish fills a project with one of everything and returns the ids.
func furnish(w *world, url string) map[string]string {
	w.t.Helper()
	var agent, number, hook, key struct{ ID string }
	w.ok("POST", "/v1/agents", object{"name": canary, "systemPrompt": canary}, &agent)
	w.ok("POST", "/v1/numbers", object{"phoneNumber": "+12025550101", "agentId": agent.ID, "type": canary}, &number)
	w.ok("POST", hookPath(agent.ID), object{"url": url + "/" + canary}, &hook)
	w.ok("POST", "/v1/webhooks", object{"url": url + "/" + canary}, nil)
	w.ok("POST", "/v1/keys", object{"name": canary}, &key)
	a := w.send(customer, "+12025550101", canary)
	w.ok("PATCH", "/v1/conversations/"+a.ConversationID, object{"metadata": object{"x": canary}}, nil)
	w.untilStatus(a.DeliveryID, "success")
	return map[string]string{
		"agentId": agent.ID, "numberId": number.ID, "webhookId": hook.ID, "keyId": key.ID, "conversationId": a.ConversationID,
		"deliveryId": a.DeliveryID, "eventId": a.ID, "messageId": a.MessageID, "phoneNumber": "+12025550101", "before": a.MessageID,
	}
}

// state is everything that a project's own key can read.
func state(w *world, ids map[string]string) map[string]string {
	out := map[string]string{}
	for _, r := range routes(w.t, w, ids) {
		if r.method == "GET" && !r.stream && !strings.Contains(r.id, "stats") {
			_, out[r.id] = w.as(w.key, r)
		}
	}
	return out
}

// TestProjectsAreWalls asks for every route of the document with another project's
// key and this one's ids: nothing of it is shown, and nothing of it changes.
func TestProjectsAreWalls(t *testing.T) {
	w := newWorld(t, later)
	receiver := newReceiver(t)
	ids := furnish(w, receiver.URL)
	var other struct{ APIKey string }
	w.ok("POST", "/v1/projects", object{"name": "other"}, &other)
	before, sent := state(w, ids), len(receiver.requests())

	for _, r := range routes(t, w, ids) {
		status, out := w.as(other.APIKey, r)
		if status >= 500 && status != http.StatusNotImplemented {
			t.Errorf("%s %s: %d %s", r.method, r.path, status, out)
		}
		if strings.Contains(out, canary) {
			t.Errorf("%s %s shows what is the other project's: %s", r.method, r.path, out)
		}
		named := strings.Contains(r.path, "_") // it names something of the other project
		if named && status != http.StatusNotFound && !(status == http.StatusOK && strings.Contains(r.path, "?")) {
			t.Errorf("%s %s: %d %s, want it as if absent", r.method, r.path, status, out)
		}
		if status, out := w.as("", r); status != http.StatusUnauthorized && r.scope != "" {
			t.Errorf("%s %s without a key: %d %s", r.method, r.path, status, out)
		}
		if status, out := w.as("sk_"+strings.Repeat("x", 43), r); status != http.StatusUnauthorized && r.scope != "" {
			t.Errorf("%s %s with an unknown key: %d %s", r.method, r.path, status, out)
		}
	}
	after := state(w, ids)
	for _, id := range slices.Sorted(maps.Keys(before)) {
		if before[id] != after[id] && id != "list-keys" && id != "list-changes" {
			t.Errorf("%s changed:\n%s\n%s", id, before[id], after[id])
		}
	}
	if n := len(receiver.requests()); n != sent {
		t.Errorf("%d requests reached its endpoint", n-sent)
	}
}

// TestEveryOperationNeedsItsScope asks for every route of the document with a key
// of each scope.
func TestEveryOperationNeedsItsScope(t *testing.T) {
	w := newWorld(t, later)
	receiver := newReceiver(t)
	ids := furnish(w, receiver.URL)
	keys := map[string]string{}
	for _, scope := range []string{"admin", "write", "ingest", "read"} {
		var k struct {
			Key    string
			Scopes []string
		}
		w.ok("POST", "/v1/keys", object{"name": scope, "scopes": []string{scope}}, &k)
		if !slices.Equal(k.Scopes, []string{scope}) {
			t.Errorf("made with %s: %v", scope, k.Scopes)
		}
		keys[scope] = k.Key
	}
	all := routes(t, w, ids)
	allowed := map[string]string{"read": "read write admin", "ingest": "ingest write admin", "write": "write admin", "admin": "admin"}
	count := map[string]int{}
	for _, r := range all {
		may, known := allowed[r.scope]
		if !known {
			t.Errorf("%s says no scope that it needs: %q", r.id, r.scope)
			continue
		}
		count[r.scope]++
		for scope, key := range keys {
			if slices.Contains(strings.Fields(may), scope) {
				continue // what an allowed key can do is what the other tests are about
			}
			status, out := w.as(key, r)
			if status != http.StatusForbidden || !strings.Contains(out, "needs the scope "+r.scope) {
				t.Errorf("%s with a key of scope %s: %d %s", r.id, scope, status, out)
			}
		}
		if r.method != "GET" && r.scope == "read" || r.method == "GET" && r.scope == "write" && r.id != "listen" { // a WebSocket begins as a GET
			t.Errorf("%s %s needs %s only", r.method, r.path, r.scope)
		}
	}
	if len(count) != 4 {
		t.Errorf("scopes in use: %v", count)
	}

	// A key that may do something gets to do it.
	for scope, path := range map[string]string{"read": "/v1/agents", "write": "/v1/agents", "admin": "/v1/audit"} {
		if status, out := w.as(keys[scope], route{method: "GET", path: path}); status != http.StatusOK {
			t.Errorf("%s: %d %s", scope, status, out)
		}
	}
	if status, out := w.as(keys["ingest"], route{method: "POST", path: "/v1/events", body: textEvent(customer, "+12025550101", "hi")}); status != http.StatusAccepted {
		t.Errorf("%d %s", status, out)
	}
	// Who may only read sees no secret; who may write does.
	for scope, shown := range map[string]bool{"read": false, "write": true} {
		_, out := w.as(keys[scope], route{method: "GET", path: "/v1/webhooks"})
		var h webhookView
		if err := json.Unmarshal([]byte(out), &h); err != nil || (len(h.Secret) > 40) != shown {
			t.Errorf("a key of scope %s is shown %s: %v", scope, out, err)
		}
	}
	// A key may have several.
	var both struct{ Key string }
	w.ok("POST", "/v1/keys", object{"name": "both", "scopes": []string{"ingest", "read"}}, &both)
	for want, r := range map[int]route{
		200: {method: "GET", path: "/v1/agents"}, 202: {method: "POST", path: "/v1/events", body: textEvent(customer, "+12025550101", "hi")},
		403: {method: "POST", path: "/v1/agents", body: object{"name": "x"}},
	} {
		if status, out := w.as(both.Key, r); status != want {
			t.Errorf("%s %s: %d %s", r.method, r.path, status, out)
		}
	}
}

// TestTheAuditLogSaysWho follows changes through the API into the log.
func TestTheAuditLogSaysWho(t *testing.T) {
	w := newWorld(t, later)
	var k struct{ ID, Key string }
	w.ok("POST", "/v1/keys", object{"name": "deploys", "scopes": []string{"write"}}, &k)
	_, out := w.as(k.Key, route{method: "POST", path: "/v1/agents", body: object{"name": "Ava"}})
	var agent struct{ ID string }
	if err := json.Unmarshal([]byte(out), &agent); err != nil {
		t.Fatal(err, out)
	}
	var log struct {
		Data []struct{ Action, Target, Detail, KeyID, KeyName, Address, At string }
	}
	w.ok("GET", "/v1/audit?limit=2", nil, &log)
	if len(log.Data) != 2 {
		t.Fatalf("%+v", log)
	}
	if c := log.Data[0]; c.Action != "agent.create" || c.Target != agent.ID || c.Detail != "Ava" || c.KeyID != k.ID || c.KeyName != "deploys" || c.Address != "127.0.0.1" || c.At == "" {
		t.Errorf("%+v", c)
	}
	if c := log.Data[1]; c.Action != "key.create" || c.Target != k.ID || c.KeyName != "operator" || strings.Contains(c.Detail, k.Key) {
		t.Errorf("%+v", c)
	}
}
