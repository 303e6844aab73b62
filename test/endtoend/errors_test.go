package endtoend

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestEveryErrorOfTheContract checks status, shape and sentence of each, and that
// what is refused leaves nothing behind.
func TestEveryErrorOfTheContract(t *testing.T) {
	w := newWorld(t, later)
	ava := w.agent(avasNumber)
	var other struct{ APIKey string }
	w.ok("POST", "/v1/projects", object{"name": "other"}, &other)
	theirs := &world{t: t, url: w.url, key: other.APIKey}
	stranger := theirs.agent("+12025550111")
	var key struct{ Key string }
	w.ok("POST", "/v1/keys", object{"name": "second"}, &key)
	second := &world{t: t, url: w.url, key: key.Key}
	r := newReceiver(t)

	event := func(change string) string {
		return fmt.Sprintf(`{"event":"agent.message","channel":"sms","data":{"from":%q,"to":%q,"message":"hi"%s}}`, customer, avasNumber, change)
	}
	for _, c := range []struct {
		name, method, path string
		body               any
		as                 *world
		status             int
		loc                string // of 422, the faults' places
		says               string
	}{
		{name: "no key", method: "GET", path: "/v1/agents", as: &world{t: t, url: w.url}, status: 401, says: "Authorization: Bearer"},
		{name: "wrong key", method: "GET", path: "/v1/agents", as: &world{t: t, url: w.url, key: "sk_wrong"}, status: 401, says: "unknown or revoked"},
		{name: "a key that may not", method: "POST", path: "/v1/projects", body: object{"name": "x"}, as: second, status: 403, says: "cannot create projects"},
		{name: "unknown path", method: "GET", path: "/v1/nothing", status: 404, says: "/docs"},
		{name: "wrong method", method: "PUT", path: "/v1/agents", status: 405, says: "takes no PUT"},
		{name: "unknown agent", method: "GET", path: "/v1/agents/agt_x", status: 404, says: "no agent"},
		{name: "another project's agent", method: "GET", path: "/v1/agents/" + stranger, status: 404, says: "no agent"},
		{name: "another project's webhook", method: "POST", path: hookPath(stranger), body: object{"url": r.URL}, status: 404, says: "no agent"},
		{name: "no webhook to delete", method: "DELETE", path: "/v1/webhooks", status: 404, says: "none to delete"},
		{name: "no webhook to test", method: "POST", path: hookPath(ava) + "/test", status: 404, says: "set one first"},
		{name: "unknown delivery", method: "GET", path: "/v1/deliveries/del_x", status: 404, says: "no delivery"},
		{name: "unknown conversation", method: "GET", path: "/v1/conversations/conv_x", status: 404, says: "no conversation"},
		{name: "unknown number", method: "POST", path: "/v1/events", body: textEvent(customer, "+12025550123", "hi"), status: 404, says: "POST /v1/numbers"},
		{name: "another project's number", method: "POST", path: "/v1/events", body: textEvent(customer, "+12025550111", "hi"), status: 404, says: "not a number of this project"},
		{name: "the same number again", method: "POST", path: "/v1/numbers", body: object{"phoneNumber": "(202) 555-0101"}, status: 409, says: "attach it"},
		{name: "too large", method: "POST", path: "/v1/events", body: event(`,"x":"` + strings.Repeat("y", 10<<20) + `"`), status: 413, says: "1 MiB"},
		{name: "too large for an agent", method: "POST", path: "/v1/agents", body: `{"name":"` + strings.Repeat("y", 10<<20) + `"}`, status: 413, says: "too large"},
		{name: "a turn of a call to an unknown number", method: "POST", path: "/v1/events", body: `{"event":"agent.message","channel":"voice","data":{"from":"` + customer + `","to":"+12025550123","transcript":"hello"}}`, status: 404, says: "POST /v1/numbers"},
		{name: "a turn of a call, every fault", method: "POST", path: "/v1/events", body: `{"event":"agent.message","channel":"voice","data":{"callId":"a b"}}`, status: 422, loc: "body.data.to body.data.from body.data.transcript body.data.callId"},
		{name: "unknown call", method: "GET", path: "/v1/calls/call_x", status: 404, says: "no call"},
		{name: "transcript of an unknown call", method: "GET", path: "/v1/calls/call_x/transcript", status: 404, says: "no call"},

		{name: "no JSON", method: "POST", path: "/v1/events", body: `{"event":`, status: 422, loc: "body", says: "not valid JSON"},
		{name: "no JSON for huma", method: "POST", path: "/v1/webhooks", body: `{"url":`, status: 422, loc: "body", says: "not valid JSON"},
		{name: "no body", method: "POST", path: "/v1/events", body: ``, status: 422, loc: "body", says: "body is required"},
		{name: "no body for huma", method: "POST", path: "/v1/webhooks", body: ``, status: 422, loc: "body", says: "body is required"},
		{name: "a list", method: "POST", path: "/v1/events", body: `[]`, status: 422, loc: "body"},
		{name: "a list for huma", method: "POST", path: "/v1/agents", body: `[]`, status: 422, loc: "body"},
		{name: "unknown event", method: "POST", path: "/v1/events", body: `{"event":"agent.x","channel":"sms","data":{}}`, status: 422, loc: "body.event", says: "agent.message"},
		{name: "no event", method: "POST", path: "/v1/events", body: `{}`, status: 422, loc: "body.event"},
		{name: "wrong channel", method: "POST", path: "/v1/events", body: `{"event":"agent.reaction","channel":"sms","data":{}}`, status: 422, loc: "body.channel", says: "imessage"},
		{name: "no data", method: "POST", path: "/v1/events", body: `{"event":"agent.message","channel":"sms"}`, status: 422, loc: "body.data"},
		{name: "empty data, every fault", method: "POST", path: "/v1/events", body: `{"event":"agent.message","channel":"sms","data":{}}`, status: 422, loc: "body.data.to body.data.from body.data.message"},
		{name: "wrong type in data", method: "POST", path: "/v1/events", body: event(`,"mediaUrls":"x"`), status: 422, loc: "body.data.mediaUrls"},
		{name: "no phone number", method: "POST", path: "/v1/events", body: textEvent(customer, "hello", "hi"), status: 422, loc: "body.data.to", says: "+15551234567"},
		{name: "control characters", method: "POST", path: "/v1/events", body: textEvent("a\u0007b", avasNumber, "hi"), status: 422, loc: "body.data.from", says: "control characters"},
		{name: "wrong direction", method: "POST", path: "/v1/events", body: event(`,"direction":"up"`), status: 422, loc: "body.data.direction"},
		{name: "wrong time", method: "POST", path: "/v1/events", body: event(`,"receivedAt":"yesterday"`), status: 422, loc: "body.data.receivedAt"},
		{name: "no name", method: "POST", path: "/v1/agents", body: object{}, status: 422, loc: "body.name", says: "name is required"},
		{name: "name of the wrong type", method: "POST", path: "/v1/agents", body: object{"name": 7}, status: 422, loc: "body.name"},
		{name: "voice mode", method: "POST", path: "/v1/agents", body: object{"name": "x", "voiceMode": "loud"}, status: 422, loc: "body.voiceMode", says: "webhook"},
		{name: "number", method: "POST", path: "/v1/numbers", body: object{"phoneNumber": "12"}, status: 422, loc: "body.phoneNumber", says: "not a phone number"},
		{name: "webhook, every fault", method: "POST", path: "/v1/webhooks", body: object{"url": "ftp://x", "contextLimit": 51, "timeout": 4}, status: 422, loc: "body.contextLimit body.timeout body.url"},
		{name: "webhook of wrong types", method: "POST", path: "/v1/webhooks", body: object{"url": r.URL, "contextLimit": true, "timeout": "5"}, status: 422, loc: "body.contextLimit body.timeout"},
		{name: "fractions", method: "POST", path: "/v1/webhooks", body: object{"url": r.URL, "contextLimit": 1.5}, status: 422, loc: "body.contextLimit"},
		{name: "no url", method: "POST", path: "/v1/webhooks", body: object{}, status: 422, loc: "body.url"},
		{name: "credentials in the url", method: "POST", path: "/v1/webhooks", body: object{"url": "https://me:pass@example.com/"}, status: 422, loc: "body.url"},
		{name: "long url", method: "POST", path: "/v1/webhooks", body: object{"url": "https://example.com/" + strings.Repeat("x", 2048)}, status: 422, loc: "body.url", says: "2048"},
		{name: "limit of a list", method: "GET", path: "/v1/webhooks/deliveries?limit=101", status: 422, loc: "query.limit"},
		{name: "limit that is no number", method: "GET", path: "/v1/webhooks/deliveries?limit=x", status: 422, loc: "query.limit"},
		{name: "hours", method: "GET", path: "/v1/webhooks/deliveries/stats?hours=0", status: 422, loc: "query.hours"},
		{name: "retry without since", method: "POST", path: "/v1/deliveries/retry", body: object{}, status: 422, loc: "body.since"},
		{name: "metadata that is no object", method: "PATCH", path: "/v1/conversations/conv_x", body: object{"metadata": 1}, status: 422, loc: "body.metadata"},
		{name: "an empty batch", method: "POST", path: "/v1/events/batch", body: `[]`, status: 422, loc: "body.events"},
		{name: "status of a webhook", method: "PATCH", path: "/v1/webhooks", body: object{"status": "asleep"}, status: 422, loc: "body.status"},
	} {
		t.Run(c.name, func(t *testing.T) {
			as := w
			if c.as != nil {
				as = c.as
			}
			status, out := as.call(c.method, c.path, c.body)
			if status != c.status {
				t.Fatalf("%d %s", status, out)
			}
			checkShape(t, out, c.status, c.loc, c.says)
		})
	}

	var conversations struct{ Total int }
	w.ok("GET", "/v1/conversations", nil, &conversations)
	var all struct{ Total int }
	w.ok("GET", "/v1/webhooks/deliveries/all-time", nil, &all)
	if conversations.Total != 0 || all.Total != 0 {
		t.Errorf("left behind: %d conversations, %d deliveries", conversations.Total, all.Total)
	}
}

func checkShape(t *testing.T, out []byte, status int, loc, says string) {
	t.Helper()
	var body struct{ Detail json.RawMessage }
	if err := json.Unmarshal(out, &body); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if status != http.StatusUnprocessableEntity {
		var sentence string
		if err := json.Unmarshal(body.Detail, &sentence); err != nil || !strings.Contains(sentence, says) || says == "" {
			t.Errorf("%s does not say %q", out, says)
		}
		return
	}
	var faults []struct {
		Loc       []any
		Msg, Type string
	}
	if err := json.Unmarshal(body.Detail, &faults); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	var locs, msgs []string
	for _, f := range faults {
		locs = append(locs, strings.Trim(strings.ReplaceAll(fmt.Sprint(f.Loc), " ", "."), "[]"))
		msgs = append(msgs, f.Msg)
		if f.Msg == "" || f.Type == "" {
			t.Errorf("a fault says too little: %+v", f)
		}
	}
	if strings.Join(locs, " ") != loc || !strings.Contains(strings.Join(msgs, "; "), says) {
		t.Errorf("%s: want faults at %q that say %q", out, loc, says)
	}
}

func TestTheDocumentNamesEveryRouteOfTheContract(t *testing.T) {
	w := newWorld(t, later)
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]json.RawMessage
	}
	w.ok("GET", "/openapi.json", nil, &doc)
	if !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Errorf("OpenAPI %s", doc.OpenAPI)
	}
	for path, methods := range map[string]string{
		"/v1/agents/{agent_id}/webhook":             "post get delete patch",
		"/v1/agents/{agent_id}/webhook/deliveries":  "get",
		"/v1/agents/{agent_id}/webhook/test":        "post",
		"/v1/webhooks":                              "post get delete patch",
		"/v1/webhooks/deliveries":                   "get",
		"/v1/webhooks/deliveries/stats":             "get",
		"/v1/webhooks/deliveries/all-time":          "get",
		"/v1/webhooks/test":                         "post",
		"/v1/agents":                                "post get",
		"/v1/agents/{agent_id}":                     "get patch delete",
		"/v1/agents/{agent_id}/numbers":             "post",
		"/v1/agents/{agent_id}/numbers/{number_id}": "delete",
		"/v1/numbers":                               "post get",
		"/v1/numbers/{number_id}":                   "get delete",
		"/v1/conversations":                         "get",
		"/v1/conversations/{conversation_id}":       "get patch",
		"/v1/agents/{agent_id}/conversations":       "get",
		"/v1/numbers/{number_id}/messages":          "get",
		"/v1/events":                                "post",
		"/v1/events/batch":                          "post",
		"/v1/calls":                                 "get",
		"/v1/calls/{call_id}":                       "get",
		"/v1/calls/{call_id}/transcript":            "get",
		"/v1/deliveries/{delivery_id}":              "get",
		"/v1/deliveries/{delivery_id}/retry":        "post",
		"/v1/deliveries/retry":                      "post",
		"/v1/deliveries/stream":                     "get",
	} {
		for method := range strings.FieldsSeq(methods) {
			if doc.Paths[path][method] == nil {
				t.Errorf("%s %s is not in the document", method, path)
			}
		}
	}
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/docs"} {
		status, out := w.call("GET", path, nil)
		if status != http.StatusOK || len(out) == 0 {
			t.Errorf("%s: %d", path, status)
		}
		if path == "/docs" && (strings.Contains(string(out), `="http`) || strings.Contains(string(out), `="//`)) {
			t.Errorf("the page asks another network: %s", out)
		}
	}
}
