package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

const testKey = "sk_test"

func TestMain(m *testing.M) {
	// The tests say which server and key; those of the shell must not.
	os.Unsetenv("SWITCHHOOK_URL")
	os.Unsetenv("SWITCHHOOK_API_KEY")
	os.Exit(m.Run())
}

// run parses args as main does, with another command beside the client's, and
// runs the command. It returns what was printed.
func run(ctx context.Context, t *testing.T, args ...string) (string, error) {
	t.Helper()
	var stdout bytes.Buffer
	var program struct {
		Serve struct {
			APIKey string `name:"api-key" env:"SWITCHHOOK_BOOTSTRAP_KEY"`
		} `cmd:""`
		Commands
	}
	parser, err := kong.New(&program, kong.Name("switchhook"), kong.Writers(&stdout, io.Discard),
		kong.Exit(func(code int) { t.Fatalf("exit %d", code) }))
	if err != nil {
		t.Fatal(err)
	}
	kctx, err := parser.Parse(args)
	if err != nil {
		return "", err
	}
	err = Run(ctx, kctx)
	return stdout.String(), err
}

// exchange is one request that a command must make, and the server's answer.
type exchange struct {
	want   string // method and path, with the query
	body   string // the JSON wanted; "" for no body
	header map[string]string
	status int // 200 where it is 0
	answer string
}

// serve answers the exchanges in turn, and fails the test for any other request.
func serve(t *testing.T, exchanges []exchange) string {
	t.Helper()
	next := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if next == len(exchanges) {
			t.Errorf("unexpected request %s %s", r.Method, r.URL)
			return
		}
		x := exchanges[next]
		next++
		if got := r.Method + " " + r.RequestURI; got != x.want {
			t.Errorf("request %s, want %s", got, x.want)
		}
		if got := r.Header.Get("Authorization"); got != "Bearer "+testKey {
			t.Errorf("Authorization: %q", got)
		}
		for name, want := range x.header {
			if got := r.Header.Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		checkBody(t, r, x.body)
		w.Header().Set("Content-Type", "application/json")
		if x.status != 0 {
			w.WriteHeader(x.status)
		}
		io.WriteString(w, x.answer)
	}))
	t.Cleanup(func() {
		srv.Close()
		if next != len(exchanges) {
			t.Errorf("%d requests, want %d", next, len(exchanges))
		}
	})
	return srv.URL
}

func checkBody(t *testing.T, r *http.Request, want string) {
	t.Helper()
	body, _ := io.ReadAll(r.Body)
	if want == "" {
		if len(body) > 0 {
			t.Errorf("body %s, want none", body)
		}
		return
	}
	if got := r.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type: %q", got)
	}
	var a, b any
	if json.Unmarshal(body, &a) != nil || json.Unmarshal([]byte(want), &b) != nil || !reflect.DeepEqual(a, b) {
		t.Errorf("body %s, want %s", body, want)
	}
}

const (
	agentJSON = `{"id":"agt_1","name":"Support","description":null,"voiceMode":"webhook","voice":null,"createdAt":"2025-01-15T11:00:00.5Z",
		"numbers":[{"id":"num_1","phoneNumber":"+15551234567","status":"active","type":"sms"}]}`
	numberJSON   = `{"id":"num_1","phoneNumber":"+15551234567","country":"US","status":"active","type":"sms","agentId":"agt_1","createdAt":"2025-01-15T11:00:00Z"}`
	looseJSON    = `{"id":"num_2","phoneNumber":"+15557654321","country":"US","status":"active","type":"sms","agentId":null,"createdAt":"2025-01-15T11:00:00Z"}`
	webhookJSON  = `{"id":"wh_1","url":"https://example.com/hook","secret":"whsec_AAAA","status":"active","contextLimit":10,"timeout":30,"createdAt":"2025-01-15T11:00:00Z"}`
	deliveryJSON = `"id":"del_1","messageId":"msg_1","eventType":"agent.message","channel":"sms","status":"failed","httpStatus":500,
		"errorMessage":"500 Internal\u001b[2JServer Error","responseBody":"oops","attemptCount":6,"lastAttemptAt":"2025-01-15T12:00:00Z",
		"nextRetryAt":null,"createdAt":"2025-01-15T11:00:00Z"`
	conversationJSON = `{"id":"conv_1","agentId":"agt_1","phoneNumberId":"num_1","phoneNumber":"+15551234567","participant":"+15559876543",
		"lastMessageAt":"2025-01-15T12:00:00Z","lastMessagePreview":"Hi","messageCount":2,"metadata":{"orderId": "ORD-1"},"createdAt":"2025-01-15T11:00:00Z",
		"messages":[{"id":"msg_1","body":"Hi\nthere","fromNumber":"+15559876543","toNumber":"+15551234567","direction":"inbound","channel":"sms",
		"mediaUrl":null,"mediaUrls":["https://example.com/a.png"],"receivedAt":"2025-01-15T12:00:00Z"}]}`
	detailJSON = `{` + deliveryJSON + `,"agentId":"agt_1","webhookId":"wh_1","conversationId":"conv_1","eventId":"evt_1",
		"request":{"url":"https://example.com/hook","headers":{"X-Webhook-ID":"del_1","Content-Type":"application/json"},"body":"{\"event\":\"agent.message\"}"},
		"attempts":[{"id":"att_1","number":1,"startedAt":"2025-01-15T11:00:00Z","durationMs":12,"url":"https://example.com/hook","httpStatus":500,
		"errorMessage":null,"responseBody":"oops","requestHeaders":{"X-Webhook-Timestamp":"1736938800"}}]}`
)

func TestCommands(t *testing.T) {
	list := func(items ...string) string {
		return `{"data":[` + strings.Join(items, ",") + `],"hasMore":false,"total":` + "9" + `}`
	}
	const ok = `{"success": true}`
	tests := []struct {
		name      string
		args      string // separated by |
		exchanges []exchange
		out       []string // each printed, in this order
		fails     string   // the error, whole
	}{
		// Projects and keys.
		{"projects", "projects|list", []exchange{{want: "GET /v1/projects",
			answer: `{"data":[{"id":"prj_1","name":"Shop","createdAt":"2025-01-15T11:00:00Z"}]}`}},
			[]string{"ID     NAME  CREATED\nprj_1  Shop  2025-01-15T11:00:00Z\n"}, ""},
		{"no projects", "projects|list", []exchange{{want: "GET /v1/projects", answer: `{"data":[]}`}},
			[]string{"There are no projects: create one with"}, ""},
		{"create project", "projects|create|My shop", []exchange{{want: "POST /v1/projects", body: `{"name":"My shop"}`,
			answer: `{"id":"prj_1","name":"My shop","createdAt":"2025-01-15T11:00:00Z","apiKey":"sk_first"}`}},
			[]string{"prj_1", "sk_first", "not shown again"}, ""},
		{"keys", "keys|list", []exchange{{want: "GET /v1/keys",
			answer: `{"data":[{"id":"key_1","name":"","hint":"sk_…abcd","scopes":["read","ingest"],"createdAt":"2025-01-15T11:00:00Z","revokedAt":null}]}`}},
			[]string{"key_1  -     sk_…abcd  read ingest  2025-01-15T11:00:00Z  -\n"}, ""},
		{"create key", "keys|create|--name|ci", []exchange{{want: "POST /v1/keys", body: `{"name":"ci"}`,
			answer: `{"id":"key_2","name":"ci","hint":"x","createdAt":"2025-01-15T11:00:00Z","revokedAt":null,"key":"sk_new"}`}},
			[]string{"key_2", "sk_new", "not shown again"}, ""},
		{"create key with scopes", "keys|create|--name|ci|--scope|ingest,read", []exchange{{want: "POST /v1/keys", body: `{"name":"ci","scopes":["ingest","read"]}`,
			answer: `{"id":"key_2","name":"ci","hint":"x","scopes":["read","ingest"],"createdAt":"2025-01-15T11:00:00Z","revokedAt":null,"key":"sk_new"}`}},
			[]string{"read ingest", "sk_new"}, ""},
		{"audit", "audit|--limit|2|--before|aud_9", []exchange{{want: "GET /v1/audit?before=aud_9&limit=2",
			answer: `{"data":[{"id":"aud_2","action":"webhook.set","target":"wh_1","detail":"x\u001b[2J","keyId":"key_1","keyName":"ci","address":"192.0.2.7","at":"2025-01-15T11:00:00Z"},
				{"id":"aud_1","action":"webhook.disable","target":"wh_1","detail":"answered 410","keyId":null,"keyName":null,"address":null,"at":"2025-01-15T10:00:00Z"}],"hasMore":true}`}},
			[]string{"2025-01-15T11:00:00Z  ci (key_1)  192.0.2.7  webhook.set      wh_1    x\uFFFD[2J", "the server", "continue with --before aud_1"}, ""},
		{"revoke key", "keys|revoke|key_2", []exchange{{want: "DELETE /v1/keys/key_2", answer: ok}}, []string{"Revoked key_2.\n"}, ""},

		// Agents.
		{"agents", "agents|list|--limit|1|--offset|4", []exchange{{want: "GET /v1/agents?limit=1&offset=4",
			answer: `{"data":[` + agentJSON + `],"hasMore":true,"total":9}`}},
			[]string{"agt_1  Support  +15551234567  2025-01-15T11:00:00Z\n", "continue with --offset 5."}, ""},
		{"create agent", "agents|create|Support|--description|Helps", []exchange{{want: "POST /v1/agents",
			body: `{"name":"Support","description":"Helps"}`, answer: agentJSON}}, []string{"agent", "agt_1"}, ""},
		{"show agent", "agents|show|agt_1", []exchange{{want: "GET /v1/agents/agt_1", answer: agentJSON}}, []string{"+15551234567"}, ""},
		{"remove agent", "agents|rm|agt_1", []exchange{{want: "DELETE /v1/agents/agt_1", answer: ok}}, []string{"Removed agt_1.\n"}, ""},
		{"an id that is a path", "agents|show|a/../b?c", []exchange{{want: "GET /v1/agents/a%2F..%2Fb%3Fc", status: 404,
			answer: `{"detail":"there is no such agent: see the list"}`}}, nil, "there is no such agent: see the list"},

		// Numbers.
		{"numbers", "numbers|list", []exchange{{want: "GET /v1/numbers?limit=50", answer: list(numberJSON, looseJSON)}},
			[]string{"num_1  +15551234567  US       active  agt_1", "num_2  +15557654321  US       active  - "}, ""},
		{"add number", "numbers|add|+15551234567|--agent|agt_1|--country|US", []exchange{{want: "POST /v1/numbers",
			body: `{"phoneNumber":"+15551234567","agentId":"agt_1","country":"US"}`, answer: numberJSON}}, []string{"num_1"}, ""},
		{"add number alone", "numbers|add|+15551234567", []exchange{{want: "POST /v1/numbers",
			body: `{"phoneNumber":"+15551234567"}`, answer: looseJSON}}, []string{"num_2"}, ""},
		{"attach", "numbers|attach|num_1|--agent|agt_1", []exchange{{want: "POST /v1/agents/agt_1/numbers",
			body: `{"numberId":"num_1"}`, answer: agentJSON}}, []string{"Attached num_1 to agt_1.\n"}, ""},
		{"detach", "numbers|detach|num_1", []exchange{
			{want: "GET /v1/numbers?limit=100&offset=0", answer: `{"data":[` + looseJSON + `],"hasMore":true}`},
			{want: "GET /v1/numbers?limit=100&offset=1", answer: list(numberJSON)},
			{want: "DELETE /v1/agents/agt_1/numbers/num_1", answer: ok},
		}, []string{"Detached num_1 from agt_1.\n"}, ""},
		{"detach a loose one", "numbers|detach|num_2", []exchange{{want: "GET /v1/numbers?limit=100&offset=0", answer: list(looseJSON)}},
			nil, "number num_2 is attached to no agent: there is nothing to detach"},
		{"detach an unknown one", "numbers|detach|num_3", []exchange{{want: "GET /v1/numbers?limit=100&offset=0", answer: list(looseJSON)}},
			nil, "there is no number \"num_3\": see `switchhook numbers list` for the ids"},
		{"remove number", "numbers|rm|num_1", []exchange{{want: "DELETE /v1/numbers/num_1", answer: ok}}, []string{"Removed num_1.\n"}, ""},

		// Webhooks.
		{"default webhook", "webhook|get", []exchange{{want: "GET /v1/webhooks", answer: webhookJSON}},
			[]string{"wh_1", "https://example.com/hook", "whsec_AAAA", "10", "30 s"}, ""},
		{"no default webhook", "webhook|get", []exchange{{want: "GET /v1/webhooks", answer: "null"}},
			[]string{"The project has no default webhook: set one"}, ""},
		{"no agent webhook", "webhook|get|--agent|agt_1", []exchange{{want: "GET /v1/agents/agt_1/webhook", answer: "null"}},
			[]string{"agt_1 has no webhook of its own"}, ""},
		{"set default webhook", "webhook|set|https://example.com/hook", []exchange{{want: "POST /v1/webhooks",
			body: `{"url":"https://example.com/hook"}`, answer: webhookJSON}}, []string{"whsec_AAAA", "The secret is new"}, ""},
		{"set agent webhook", "webhook|set|https://example.com/hook|--agent|agt_1|--context-limit|0|--timeout|5",
			[]exchange{{want: "POST /v1/agents/agt_1/webhook",
				body: `{"url":"https://example.com/hook","contextLimit":0,"timeout":5}`, answer: webhookJSON}}, []string{"wh_1"}, ""},
		{"set faulty webhook", "webhook|set|nonsense|--context-limit|99", []exchange{{want: "POST /v1/webhooks", body: `{"url":"nonsense","contextLimit":99}`,
			status: 422, answer: `{"detail":[{"loc":["body","url"],"msg":"the URL is not absolute: begin it with https://","type":"url_parsing"},
				{"loc":["body","contextLimit"],"msg":"must be at most 50","type":"less_than_equal"},{"loc":["body"],"msg":"is odd"},
				{"loc":["body","list",0],"msg":"is bad"}]}`}},
			nil, "url: the URL is not absolute: begin it with https://\ncontextLimit: must be at most 50\nis odd\nlist.0: is bad"},
		{"remove webhook", "webhook|rm", []exchange{{want: "DELETE /v1/webhooks", answer: ok}}, []string{"Removed the project's default webhook.\n"}, ""},
		{"remove agent webhook", "webhook|rm|--agent|agt_1", []exchange{{want: "DELETE /v1/agents/agt_1/webhook", answer: ok}},
			[]string{"Removed the webhook of agt_1.\n"}, ""},
		{"test webhook", "webhook|test", []exchange{{want: "POST /v1/webhooks/test",
			answer: `{"success":true,"httpStatus":204,"errorMessage":null,"responseMs":12,"deliveryId":"del_1"}`}},
			[]string{"It works: the project's default webhook answered 204 in 12 ms.\n"}, ""},
		{"test fails", "webhook|test|--agent|agt_1", []exchange{{want: "POST /v1/agents/agt_1/webhook/test",
			answer: `{"success":false,"httpStatus":500,"errorMessage":null,"responseMs":12,"deliveryId":"del_1"}`}},
			nil, "the test failed: the endpoint answered 500 Internal Server Error; see `switchhook deliveries show del_1`"},
		{"test fails, as JSON", "webhook|test|--json", []exchange{{want: "POST /v1/webhooks/test",
			answer: `{"success":false,"httpStatus":null,"errorMessage":"connection refused"}`}},
			[]string{`"success": false`}, "the test failed: connection refused"},
		{"disable webhook", "webhook|disable", []exchange{{want: "PATCH /v1/webhooks", body: `{"status":"disabled"}`,
			answer: strings.Replace(webhookJSON, "active", "disabled", 1)}}, []string{"disabled"}, ""},
		{"enable agent webhook", "webhook|enable|--agent|agt_1", []exchange{{want: "PATCH /v1/agents/agt_1/webhook",
			body: `{"status":"active"}`, answer: webhookJSON}}, []string{"active"}, ""},

		// Send.
		{"send", "send|--from|+15559876543|--to|+15551234567|Hello, you", []exchange{{want: "POST /v1/events",
			body:   `{"event":"agent.message","channel":"sms","data":{"from":"+15559876543","to":"+15551234567","message":"Hello, you","direction":"inbound"}}`,
			header: map[string]string{"Idempotency-Key": ""}, status: 202,
			answer: `{"id":"evt_1","agentId":"agt_1","messageId":"msg_1","conversationId":"conv_1","deliveryId":"del_1","webhookId":"wh_1","duplicate":false}`}},
			[]string{"evt_1", "agt_1", "webhook wh_1, delivery del_1\n"}, ""},
		{"send with everything", "send|--from|+1|--to|+2|Look|--channel|mms|--agent|agt_1|--idempotency-key|k1|--media|https://e/a,b|--media|https://e/c",
			[]exchange{{want: "POST /v1/events", header: map[string]string{"Idempotency-Key": "k1"}, status: 202,
				body: `{"event":"agent.message","channel":"mms","agentId":"agt_1","data":{"from":"+1","to":"+2","message":"Look",
					"mediaUrl":"https://e/a,b","mediaUrls":["https://e/a,b","https://e/c"],"direction":"inbound"}}`,
				answer: `{"id":"evt_1","agentId":"agt_1","messageId":"msg_1","conversationId":"conv_1","deliveryId":null,"webhookId":null,"duplicate":true}`}},
			[]string{"unrouted: neither the agent nor the project has a webhook", "This is a repeat"}, ""},
		{"send outbound", "send|--from|+1|--to|+2|Hi|--outbound", []exchange{{want: "POST /v1/events", status: 202,
			body:   `{"event":"agent.message","channel":"sms","data":{"from":"+1","to":"+2","message":"Hi","direction":"outbound"}}`,
			answer: `{"id":"evt_1","agentId":"agt_1","messageId":"msg_1","conversationId":"conv_1","deliveryId":null,"webhookId":null,"duplicate":false}`}},
			[]string{"the history only"}, ""},
		{"send nothing", "send|--from|+1|--to|+2", nil, nil, "there is nothing to send: give a text, or a file with --media URL"},

		// Deliveries.
		{"deliveries", "deliveries|list|--agent|agt_1|--webhook|wh_1|--status|failed|--hours|24|--limit|1",
			[]exchange{{want: "GET /v1/webhooks/deliveries?agentId=agt_1&hours=24&limit=1&status=failed&webhookId=wh_1",
				answer: `{"items":[{` + deliveryJSON + `}],"total":3,"offset":0,"limit":1}`}},
			[]string{"del_1", "failed", "500", "6", "500 Internal�[2JServer Error", "continue with --offset 1."}, ""},
		{"no deliveries", "deliveries|list", []exchange{{want: "GET /v1/webhooks/deliveries?limit=50",
			answer: `{"items":[],"total":0,"offset":0,"limit":50}`}}, []string{"No deliveries match.\n"}, ""},
		{"show delivery", "deliveries|show|del_1", []exchange{{want: "GET /v1/deliveries/del_1", answer: detailJSON}},
			[]string{"del_1", "evt_1", "Request\n    POST https://example.com/hook\n    Content-Type: application/json\n    X-Webhook-ID: del_1\n",
				"    {\n      \"event\": \"agent.message\"\n    }\n", "Attempt 1\n", "12 ms", "X-Webhook-Timestamp: 1736938800", "    oops\n"}, ""},
		{"show a delivery never sent", "deliveries|show|del_1", []exchange{{want: "GET /v1/deliveries/del_1",
			answer: `{` + deliveryJSON + `,"agentId":null,"webhookId":null,"conversationId":null,"eventId":null,"request":null,"attempts":[]}`}},
			[]string{"del_1"}, ""},
		{"retry one", "deliveries|retry|del_1", []exchange{{want: "POST /v1/deliveries/del_1/retry", answer: `{` + deliveryJSON + `}`}},
			[]string{"del_1"}, ""},
		{"retry many", "deliveries|retry|--since|2025-01-15T12:00:00+01:00|--until|2025-01-15T12:00:00Z|--status|failed|--agent|agt_1|--webhook|wh_1",
			[]exchange{{want: "POST /v1/deliveries/retry", answer: `{"count":3}`,
				body: `{"status":"failed","agentId":"agt_1","webhookId":"wh_1","since":"2025-01-15T11:00:00Z","until":"2025-01-15T12:00:00Z"}`}},
			[]string{"Retrying 3 deliveries.\n"}, ""},
		{"retry what", "deliveries|retry", nil, nil, "it is not clear what to retry: give a delivery's id, or --since, such as --since 2h"},
		{"retry both", "deliveries|retry|del_1|--status|failed", nil, nil,
			"a delivery's id leaves nothing to choose: give either the id, or --since and the other flags"},
		{"retry backwards", "deliveries|retry|--since|1h|--until|2h", nil, nil, "--until is not after --since: swap them"},
		{"retry since when", "deliveries|retry|--since|yesterday", nil, nil,
			`--since "yesterday" is not a time: give a duration ago such as 2h or 3d, or a time such as 2025-01-15T11:00:00Z`},

		// Conversations.
		{"conversations", "conversations|list", []exchange{{want: "GET /v1/conversations?limit=50", answer: list(conversationJSON)}},
			[]string{"conv_1", "+15559876543", "+15551234567", "Hi\n"}, ""},
		{"an agent's conversations", "conversations|list|--agent|agt_1", []exchange{{want: "GET /v1/agents/agt_1/conversations?limit=50", answer: list()}},
			[]string{"There are no conversations.\n"}, ""},
		{"show conversation", "conversations|show|conv_1|--messages|5", []exchange{{want: "GET /v1/conversations/conv_1?messageLimit=5", answer: conversationJSON}},
			[]string{`{"orderId":"ORD-1"}`, "2025-01-15T12:00:00Z  inbound  sms  +15559876543\n    Hi\n    there\n    https://example.com/a.png\n"}, ""},
		{"set metadata", `conversations|set|conv_1|--metadata|{"a": 12345678901234567890}`, []exchange{{want: "PATCH /v1/conversations/conv_1",
			body: `{"metadata":{"a":12345678901234567890}}`, answer: conversationJSON}}, []string{"conv_1"}, ""},
		{"remove metadata", "conversations|set|conv_1|--metadata|null", []exchange{{want: "PATCH /v1/conversations/conv_1",
			body: `{"metadata":null}`, answer: strings.Replace(conversationJSON, `{"orderId": "ORD-1"}`, "null", 1)}}, []string{"conv_1"}, ""},
		{"metadata that is no JSON", "conversations|set|conv_1|--metadata|a: 1", nil, nil,
			`--metadata "a: 1" is not JSON: quote it for the shell, such as --metadata '{"orderId":"1"}'`},
		{"metadata that is no object", "conversations|set|conv_1|--metadata|[1]", nil, nil,
			`--metadata is not a JSON object: give one such as '{"orderId":"1"}', or null`},

		// What the server may answer to any of them.
		{"as JSON", "projects|list|--json", []exchange{{want: "GET /v1/projects", answer: `{"data":[],"more":1.0}`}},
			[]string{"{\n  \"data\": [],\n  \"more\": 1.0\n}\n"}, ""},
		{"null as JSON", "webhook|get|--json", []exchange{{want: "GET /v1/webhooks", answer: "null\n"}}, []string{"null\n"}, ""},
		{"wrong key", "projects|list", []exchange{{want: "GET /v1/projects", status: 401, answer: `{"detail":"no"}`}}, nil,
			"the server does not accept this API key: give a valid one with --api-key or SWITCHHOOK_API_KEY"},
		{"error as JSON", "agents|rm|agt_9|--json", []exchange{{want: "DELETE /v1/agents/agt_9", status: 404, answer: `{"detail":"no agent agt_9"}`}},
			nil, "no agent agt_9"},
		{"not JSON", "projects|list", []exchange{{want: "GET /v1/projects", answer: "<html>"}}, nil,
			"URL does not answer in JSON: is it a Switchhook? Check --url or SWITCHHOOK_URL"},
		{"a proxy's error", "projects|list", []exchange{{want: "GET /v1/projects", status: 502, answer: "<html>"}}, nil,
			"URL answered 502 Bad Gateway: check --url or SWITCHHOOK_URL"},
		{"another form", "projects|list", []exchange{{want: "GET /v1/projects", answer: "[]"}}, nil,
			"the answer is not of the form this version knows, use --json to see it: json: cannot unmarshal array into Go value of type cli.page[switchhook.dev/switchhook/internal/cli.Project]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			url := serve(t, tt.exchanges)
			args := append(strings.Split(tt.args, "|"), "--url", url+"/", "--api-key", testKey)
			out, err := run(t.Context(), t, args...)
			checkError(t, err, strings.ReplaceAll(tt.fails, "URL ", url+" "), tt.fails)
			rest := out
			for _, want := range tt.out {
				_, after, found := strings.Cut(rest, want)
				if !found {
					t.Fatalf("printed\n%s\nwant in it, in order, %q", out, want)
				}
				rest = after
			}
			if tt.out == nil && out != "" {
				t.Errorf("printed %q, want nothing", out)
			}
		})
	}
}

// checkError wants err to have one of the texts, or to be nil where they are empty.
func checkError(t *testing.T, err error, texts ...string) {
	t.Helper()
	got := ""
	if err != nil {
		got = err.Error()
	}
	for _, want := range texts {
		if got == want {
			return
		}
	}
	t.Errorf("error %q, want %q", got, texts[0])
}

func TestRetrySinceDuration(t *testing.T) {
	now := time.Date(2025, 1, 15, 12, 0, 0, 0, time.UTC)
	for in, want := range map[string]time.Time{
		"2h":                   now.Add(-2 * time.Hour),
		"1h30m":                now.Add(-90 * time.Minute),
		"3d":                   now.AddDate(0, 0, -3),
		"2025-01-01T00:00:00Z": time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		if got, err := parseWhen("--since", in, now); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "-2h", "-1d", "d", "2", "2025-01-01"} {
		if got, err := parseWhen("--since", in, now); err == nil {
			t.Errorf("%q: %v, want an error", in, got)
		}
	}
}

func TestNoKey(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, sent := r.Header["Authorization"]; sent {
			t.Error("an Authorization header was sent")
		}
		w.WriteHeader(http.StatusUnauthorized)
		io.WriteString(w, `{"detail":"missing key"}`)
	}))
	defer srv.Close()
	_, err := run(t.Context(), t, "agents", "list", "--url", srv.URL)
	checkError(t, err, "the server wants an API key: give it with --api-key or SWITCHHOOK_API_KEY")
	var fault *APIError
	if !errors.As(err, &fault) || fault.Status != http.StatusUnauthorized {
		t.Errorf("%#v, want an APIError of 401", err)
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("SWITCHHOOK_URL", serve(t, []exchange{{want: "GET /v1/projects", answer: `{"data":[]}`}}))
	t.Setenv("SWITCHHOOK_API_KEY", testKey)
	if _, err := run(t.Context(), t, "projects", "list"); err != nil {
		t.Error(err)
	}
}

func TestRetryAfter(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, `{"detail":"the store is busy"}`)
	}))
	defer srv.Close()
	_, err := run(t.Context(), t, "agents", "list", "--url", srv.URL)
	checkError(t, err, "the store is busy (try again in 7 s)")
}

func TestRedirect(t *testing.T) {
	srv := httptest.NewServer(http.RedirectHandler("https://elsewhere.example/v1/agents", http.StatusMovedPermanently))
	defer srv.Close()
	_, err := run(t.Context(), t, "agents", "create", "A", "--url", srv.URL)
	checkError(t, err, srv.URL+" redirects to https://elsewhere.example/v1/agents: give that server's URL with --url or SWITCHHOOK_URL")
}

func TestNoServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	base := "http://" + l.Addr().String()
	l.Close()
	_, err = run(t.Context(), t, "projects", "list", "--url", base)
	checkError(t, err, "no Switchhook answers at "+base+": is `switchhook serve` running?")

	_, err = run(t.Context(), t, "projects", "list", "--url", "localhost:8080")
	checkError(t, err, `"localhost:8080" is not the URL of a server: give one such as http://127.0.0.1:8080 with --url or SWITCHHOOK_URL`)
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}))
	defer srv.Close()
	_, err := run(ctx, t, "projects", "list", "--url", srv.URL)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want it cancelled", err)
	}
}

// What kong itself refuses never reaches a server.
func TestUsage(t *testing.T) {
	for _, args := range []string{
		"send|Hi", "send|--from|+1|--to|+2|Hi|--channel|fax", "numbers|attach|num_1", "webhook|set", "conversations|set|conv_1",
		"agents|show", "deliveries|list|--hours|many", "webhook|set|https://e|--timeout|soon",
	} {
		if out, err := run(t.Context(), t, strings.Split(args, "|")...); err == nil {
			t.Errorf("%s: printed %q, want an error", args, out)
		}
	}
}

// Every command and flag explains itself, and help can be printed for each.
func TestHelp(t *testing.T) {
	var program struct{ Commands }
	parser := kong.Must(&program)
	for _, leaf := range parser.Model.Leaves(false) {
		if leaf.Help == "" {
			t.Errorf("%s has no help", leaf.FullPath())
		}
		for _, group := range leaf.AllFlags(false) {
			for _, flag := range group {
				if flag.Help == "" {
					t.Errorf("%s --%s has no help", leaf.FullPath(), flag.Name)
				}
			}
		}
		for _, arg := range leaf.Positional {
			if arg.Help == "" {
				t.Errorf("%s <%s> has no help", leaf.FullPath(), arg.Name)
			}
		}
	}
}
