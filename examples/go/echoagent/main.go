// An agent without a model, in Go. It keeps nothing itself: what it remembers is
// the recentHistory of each delivery. Run it:
//
//	SWITCHHOOK_SECRET=whsec_… SWITCHHOOK_API_KEY=sk_… PORT=9000 go run ./examples/go/echoagent
package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"

	"switchhook.dev/switchhook/webhook"
)

type event struct {
	Event, Channel, AgentID string
	Data                    struct{ MessageID, From, To, Message, Transcript string }
	RecentHistory           []struct{ Content, Direction string }
}

// reply says what the person said now, and what they said before.
func reply(e event) string {
	text := "You said: " + cmp.Or(e.Data.Message, e.Data.Transcript)
	var before []string
	for _, m := range e.RecentHistory {
		if m.Direction == "inbound" {
			before = append(before, m.Content)
		}
	}
	if len(before) > 0 {
		text += ". Before that: " + strings.Join(before, ", ")
	}
	return text
}

// send hands the reply in as a text of the agent's: the next delivery has it in its history.
func send(ctx context.Context, url, key string, e event, text string) error {
	body, err := json.Marshal(map[string]any{
		"event": "agent.message", "channel": e.Channel, "agentId": e.AgentID,
		"data": map[string]string{"from": e.Data.To, "to": e.Data.From, "message": text, "direction": "outbound"},
	})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/events", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+key)
	// Delivered again after a fault, the same event is answered once.
	req.Header.Set("Idempotency-Key", "reply-"+e.Data.MessageID)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		return fmt.Errorf("the reply was answered with %s", resp.Status)
	}
	return nil
}

func main() {
	secret, key := os.Getenv("SWITCHHOOK_SECRET"), os.Getenv("SWITCHHOOK_API_KEY")
	url, port := cmp.Or(os.Getenv("SWITCHHOOK_URL"), "http://127.0.0.1:8080"), cmp.Or(os.Getenv("PORT"), "9000")

	http.HandleFunc("POST /", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 2<<20))
		if err == nil {
			err = webhook.Verify(r.Header, body, []string{secret})
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		var e event
		if err := json.Unmarshal(body, &e); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if e.Event != "agent.message" {
			_, _ = io.WriteString(w, "{}")
			return
		}
		text := reply(e)
		if e.Channel != "voice" && key != "" {
			if err := send(r.Context(), url, key, e, text); err != nil {
				http.Error(w, err.Error(), http.StatusBadGateway)
				return
			}
		}
		// On a call this is what the caller hears.
		_ = json.NewEncoder(w).Encode(map[string]string{"text": text})
	})

	l, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("listening on http://%s\n", l.Addr())
	log.Fatal(http.Serve(l, nil))
}
