package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"switchhook.dev/switchhook/internal/api"
	"switchhook.dev/switchhook/internal/deliver"
	"switchhook.dev/switchhook/internal/netguard"
	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/server"
)

// start runs a server on an empty database and returns how to ask it.
func start(t *testing.T) func(method, path, body string, header ...string) (int, string) {
	t.Helper()
	srv, err := server.Start(t.Context(), server.Config{
		Listen: "127.0.0.1:0", Database: "sqlite:" + filepath.Join(t.TempDir(), "test.db"), Version: "test",
		Policy: netguard.Policy{AllowHTTP: true, AllowPrivate: true}, Schedule: deliver.Schedule{},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return func(method, path, body string, header ...string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, srv.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+srv.NewKey)
		for i := 0; i+1 < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		out, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(out)
	}
}

const event = `{"event":"agent.message","channel":"sms","data":{"from":"+12025550199","to":"+12025550101","message":"hi"}}`

// places lists the faults of a 422 as "loc type".
func places(t *testing.T, out string) string {
	t.Helper()
	var b struct {
		Detail []struct {
			Loc  []any
			Type string
		}
	}
	if err := json.Unmarshal([]byte(out), &b); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	var s []string
	for _, f := range b.Detail {
		s = append(s, strings.TrimSpace(fmt.Sprintln(f.Loc...))+" "+f.Type)
	}
	return strings.Join(s, ", ")
}

func TestFaultsNameTheirPlaceAndNoGoType(t *testing.T) {
	ask := start(t)
	for _, c := range []struct{ path, body, want string }{
		{"/v1/webhooks", `{"url":"https://example.com/","contextLimit":10.0}`, "body contextLimit int_type"},
		{"/v1/webhooks", `{"url":"https://example.com/","timeout":3e1}`, "body timeout int_type"},
		{"/v1/events", `{"event":5,"channel":5,"agentId":7,"data":5}`, "body event string_type, body channel string_type, body agentId string_type, body data dict_type"},
		{"/v1/events", `[]`, "body dict_type"},
		{"/v1/events/batch", `{}`, "body events missing"},
		{"/v1/events/batch", `[]`, "body events too_short"},
		{"/v1/events/batch", `[` + strings.Repeat(`{},`, 1000) + `{}]`, "body events too_long"},
		{"/v1/deliveries/retry", `{"since":"yesterday"}`, "body since datetime_parsing"},
	} {
		status, out := ask("POST", c.path, c.body)
		if status != http.StatusUnprocessableEntity || places(t, out) != c.want {
			t.Errorf("%s %.80s: %d %s", c.path, c.body, status, out)
		}
		if strings.Contains(out, "Go ") || strings.Contains(out, "json:") || strings.Contains(out, "2006-01-02") {
			t.Errorf("%s speaks of Go: %s", c.path, out)
		}
	}
	if status, out := ask("GET", "/v1/webhooks/deliveries?since=yesterday", ""); status != http.StatusUnprocessableEntity || !strings.Contains(out, "RFC 3339") {
		t.Errorf("%d %s", status, out)
	}
}

func TestAnEventThatCannotBeReadLeavesTheBatchAlone(t *testing.T) {
	ask := start(t)
	if status, out := ask("POST", "/v1/agents", `{"name":"Ava"}`); status != http.StatusOK {
		t.Fatal(out)
	}
	if status, out := ask("POST", "/v1/numbers", `{"phoneNumber":"+12025550101"}`); status != http.StatusOK {
		t.Fatal(out)
	}
	status, out := ask("POST", "/v1/events/batch", `["x",{"event":5},`+event+`]`)
	var b struct{ Results []struct{ Status int } }
	if err := json.Unmarshal([]byte(out), &b); err != nil || status != http.StatusOK || len(b.Results) != 3 {
		t.Fatalf("%d %s", status, out)
	}
	// The number has no agent, so that the last is refused by the switchboard, not by its form.
	if b.Results[0].Status != 422 || b.Results[1].Status != 422 || b.Results[2].Status == 422 {
		t.Errorf("%s", out)
	}
}

func TestFurtherFieldsOfAnAgentComeBackWhole(t *testing.T) {
	ask := start(t)
	status, out := ask("POST", "/v1/agents", `{"name":"Ava","ref":9007199254740993,"voice":null,"customTools":[{"n":1.10}]}`)
	for _, want := range []string{`"ref":9007199254740993`, `"voice":"default"`, `"voiceMode":"webhook"`, `"description":null`, `1.10`} {
		if status != http.StatusOK || !strings.Contains(out, want) {
			t.Errorf("%d, no %s in %s", status, want, out)
		}
	}
}

func TestBodiesOfOneMiBAreTakenAndLargerOnesRefused(t *testing.T) {
	ask := start(t)
	for size, want := range map[int]int{1 << 20: http.StatusNotFound, 1<<20 + 1: http.StatusRequestEntityTooLarge} {
		if status, out := ask("POST", "/v1/events", event+strings.Repeat(" ", size-len(event))); status != want {
			t.Errorf("%d bytes: %d %s", size, status, out)
		}
	}
}

func TestIdempotencyKeysAreVisibleASCII(t *testing.T) {
	ask := start(t)
	for key, want := range map[string]int{strings.Repeat("k", 255): 404, strings.Repeat("k", 256): 422, "a b": 422, "é": 422} {
		if status, out := ask("POST", "/v1/events", event, "Idempotency-Key", key); status != want {
			t.Errorf("%.8q: %d %s", key, status, out)
		}
	}
}

// broken is a store whose disk is gone, to all but the keys where they are kept.
type broken struct {
	api.Store
	keys bool
}

func (b broken) KeyByHash(_ context.Context, hash [32]byte) (phone.Key, error) {
	if b.keys {
		return phone.Key{ProjectID: "prj_x", Hash: hash, Scopes: phone.ScopeAdmin}, nil
	}
	return phone.Key{}, errors.New("disk I/O error")
}

func (broken) Agents(context.Context, string, int, int) ([]phone.Agent, int, error) {
	return nil, 0, errors.New("disk I/O error")
}

func TestAFaultOfTheServerIsLoggedAndNotShown(t *testing.T) {
	for _, keys := range []bool{true, false} {
		var log bytes.Buffer
		h := api.New(api.Config{Store: broken{keys: keys}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/v1/agents", nil)
		r.Header.Set("Authorization", "Bearer sk_x")
		h.ServeHTTP(w, r)
		if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "disk") {
			t.Errorf("keys %v: %d %s", keys, w.Code, w.Body)
		}
		if !strings.Contains(log.String(), "disk I/O error") {
			t.Errorf("keys %v: the log says nothing: %q", keys, log.String())
		}
	}
}

func TestABodyNestsOnlySoDeep(t *testing.T) {
	ask := start(t)
	for _, path := range []string{"/v1/events", "/v1/events/batch", "/v1/agents"} {
		for depth, deep := range map[int]bool{63: false, 64: true, 100_000: true} {
			_, out := ask("POST", path, `{"name":"a","events":1,"x":`+strings.Repeat("[", depth)+strings.Repeat("]", depth)+`}`)
			if strings.Contains(out, "64 levels deep") != deep || deep && places(t, out) != "body json_invalid" {
				t.Errorf("%s, %d deep: %.200s", path, depth, out)
			}
		}
		// Brackets in a text are no nesting.
		if _, out := ask("POST", path, `{"name":"\\\"`+strings.Repeat("[", 1000)+`","events":1}`); strings.Contains(out, "levels") {
			t.Errorf("%s: %.200s", path, out)
		}
	}
}
