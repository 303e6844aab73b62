// A receiver in Go that answers calls. Run it:
//
//	SWITCHHOOK_SECRET=whsec_… PORT=9000 go run ./examples/go/voice
//
// POST /stream answers a turn of a call line by line, POST /json with one object.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"switchhook.dev/switchhook/webhook"
)

type event struct {
	Event   string
	Channel string
	Data    json.RawMessage // its shape depends on the event
	History []struct{}      `json:"recentHistory"`
}

// turn is a question: what the person on the line said, and what was said before.
type turn struct {
	Transcript string
	before     int
}

// line is an answer, or a part of one.
type line struct {
	Text        string `json:"text"`
	Interim     bool   `json:"interim,omitempty"`
	HangUp      bool   `json:"hangup,omitempty"`
	HeardBefore int    `json:"heardBefore"`
}

func answer(t turn) line {
	time.Sleep(50 * time.Millisecond) // whatever takes its time: a model, a database
	if strings.Contains(strings.ToLower(t.Transcript), "bye") {
		return line{Text: "Goodbye!", HangUp: true}
	}
	return line{Text: "You said: " + t.Transcript, HeardBefore: t.before}
}

// turns verifies a request over its raw body, and hands turns on. What is no turn is
// told, not asked: a 2xx is all it wants.
func turns(secret string, handle func(http.ResponseWriter, turn)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
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
		fmt.Println(e.Event, e.Channel)
		if e.Event != "agent.message" || e.Channel != "voice" {
			return
		}
		t := turn{before: len(e.History)}
		if err := json.Unmarshal(e.Data, &t); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		handle(w, t)
	}
}

func main() {
	secret, port := os.Getenv("SWITCHHOOK_SECRET"), os.Getenv("PORT")
	if port == "" {
		port = "9000"
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /json", turns(secret, func(w http.ResponseWriter, t turn) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer(t))
	}))
	mux.HandleFunc("POST /stream", turns(secret, func(w http.ResponseWriter, t turn) {
		w.Header().Set("Content-Type", "application/x-ndjson")
		out := json.NewEncoder(w)
		// Something at once: silence on a line is long.
		_ = out.Encode(line{Text: "Let me see.", Interim: true})
		_ = http.NewResponseController(w).Flush()
		_ = out.Encode(answer(t)) // the first line without interim closes the turn
	}))
	l, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("listening on http://%s\n", l.Addr())
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(srv.Serve(l))
}
