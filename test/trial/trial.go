// Package trial is a running server that tests try things on, from outside: over
// its HTTP API.
package trial

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"switchhook.dev/switchhook/internal/deliver"
	"switchhook.dev/switchhook/internal/netguard"
	"switchhook.dev/switchhook/internal/server"
	"switchhook.dev/switchhook/internal/store/postgres/pgtest"
)

// Server is a running server as somebody with a key sees it. T may be nil for
// what never fails a test.
type Server struct {
	T   testing.TB
	URL string
	Key string
	// Stop ends the server, as a signal does; nil where it is not this test's own.
	Stop func(context.Context) error
}

// Start starts a server on an empty database, which endpoints may use http and
// private addresses of; it stops with the test.
func Start(t testing.TB, schedule deliver.Schedule) *Server {
	t.Helper()
	return start(t, Database(t), "", schedule)
}

// OnPostgres is the environment variable that has servers on an empty database keep
// it in PostgreSQL.
const OnPostgres = "SWITCHHOOK_TEST_ON_POSTGRES"

// Database is the URL of an empty database. The tests' main function is to end with
// pgtest.Main where it may be in PostgreSQL.
func Database(t testing.TB) string {
	t.Helper()
	if os.Getenv(OnPostgres) != "" {
		return pgtest.URL(t)
	}
	return "sqlite:" + filepath.Join(t.TempDir(), "test.db")
}

// StartOn is Start on the SQLite file at a path, with a key ("" makes one, where
// the file is new).
func StartOn(t testing.TB, path, key string, schedule deliver.Schedule) *Server {
	t.Helper()
	return start(t, "sqlite:"+path, key, schedule)
}

func start(t testing.TB, database, key string, schedule deliver.Schedule) *Server {
	t.Helper()
	srv, err := server.Start(t.Context(), server.Config{
		Listen: "127.0.0.1:0", Database: database, APIKey: key, Version: "test",
		Doors:  server.Doors{SecretKeys: os.Getenv("SWITCHHOOK_SECRET_KEY")},
		Policy: netguard.Policy{AllowHTTP: true, AllowPrivate: true}, Schedule: schedule,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Stop(context.Background()); err != nil {
			t.Error("stop:", err)
		}
	})
	if key == "" {
		key = srv.NewKey
	}
	return &Server{T: t, URL: srv.URL, Key: key, Stop: srv.Stop}
}

// Client is what requests go out by.
var Client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}

// Do makes a request and returns its status and body.
func (s *Server) Do(method, path string, body any) (int, []byte, error) {
	var in io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		in = bytes.NewReader([]byte(b))
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			return 0, nil, err
		}
		in = bytes.NewReader(raw)
	}
	req, err := http.NewRequest(method, s.URL+path, in)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+s.Key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := Client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	return resp.StatusCode, out, err
}

// Call is Do for requests that must be answered, whatever with.
func (s *Server) Call(method, path string, body any) (int, []byte) {
	s.T.Helper()
	status, out, err := s.Do(method, path, body)
	if err != nil {
		s.T.Errorf("%s %s: %v", method, path, err)
	}
	return status, out
}

// Try is OK for requests that may fail.
func (s *Server) Try(method, path string, body, into any) error {
	status, out, err := s.Do(method, path, body)
	if err != nil {
		return err
	}
	if status < 200 || status > 299 {
		return fmt.Errorf("%d %s", status, out)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(out, into)
}

// OK is Try for requests that must succeed: the test ends where one does not.
func (s *Server) OK(method, path string, body, into any) {
	s.T.Helper()
	if err := s.Try(method, path, body, into); err != nil {
		s.T.Errorf("%s %s: %v", method, path, err)
		runtime.Goexit()
	}
}

// Object is a JSON object.
type Object map[string]any

// Agent makes an agent with a name and a number, and returns its id.
func (s *Server) Agent(name, number string) string {
	s.T.Helper()
	var a struct{ ID string }
	s.OK("POST", "/v1/agents", Object{"name": name}, &a)
	s.OK("POST", "/v1/numbers", Object{"phoneNumber": number, "agentId": a.ID}, nil)
	return a.ID
}

// Webhook is a webhook as the API shows it.
type Webhook struct{ ID, URL, Secret, Status string }

// HookPath is where the webhook of an agent, or ("") the default, is set.
func HookPath(agent string) string {
	if agent == "" {
		return "/v1/webhooks"
	}
	return "/v1/agents/" + agent + "/webhook"
}

// Set sets the webhook of an agent, or ("") the default.
func (s *Server) Set(agent, url string) Webhook {
	s.T.Helper()
	var h Webhook
	s.OK("POST", HookPath(agent), Object{"url": url}, &h)
	return h
}

// Accepted is the answer to an event.
type Accepted struct{ ID, AgentID, MessageID, ConversationID, DeliveryID, WebhookID string }

// Text is a customer's text, as POST /v1/events takes it.
func Text(from, to, text string) Object {
	return Object{"event": "agent.message", "channel": "sms", "data": Object{"from": from, "to": to, "message": text}}
}

// Send hands in a customer's text.
func (s *Server) Send(from, to, text string) Accepted {
	s.T.Helper()
	var a Accepted
	s.OK("POST", "/v1/events", Text(from, to, text), &a)
	return a
}

// Delivery is one delivery as the API shows it.
type Delivery struct {
	ID, Status, WebhookID, ErrorMessage, ResponseBody, NextRetryAt string
	AttemptCount                                                   int
	Request                                                        struct{ Body string }
	Attempts                                                       []struct {
		URL        string
		HTTPStatus int
	}
}

// Delivery reads one delivery.
func (s *Server) Delivery(id string) Delivery {
	s.T.Helper()
	var d Delivery
	s.OK("GET", "/v1/deliveries/"+id, nil, &d)
	return d
}

// Until waits for a delivery to be as it should: there is no signal over the API
// to wait on but the log itself.
func (s *Server) Until(id string, good func(Delivery) bool) Delivery {
	s.T.Helper()
	deadline := time.Now().Add(3 * time.Minute)
	for {
		d := s.Delivery(id)
		if good(d) {
			return d
		}
		if time.Now().After(deadline) {
			s.T.Fatalf("delivery %s stays %+v", id, d)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// UntilStatus waits for a delivery's status.
func (s *Server) UntilStatus(id, status string) Delivery {
	s.T.Helper()
	return s.Until(id, func(d Delivery) bool { return d.Status == status })
}
