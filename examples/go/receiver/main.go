// A receiver in Go. Run it:
//
//	SWITCHHOOK_SECRET=whsec_… PORT=9000 go run ./examples/go/receiver
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sync"

	"switchhook.dev/switchhook/webhook"
)

func main() {
	secret := os.Getenv("SWITCHHOOK_SECRET")
	port := os.Getenv("PORT")
	if port == "" {
		port = "9000"
	}
	var seen sync.Map // keep these in your database instead

	http.HandleFunc("POST /", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			http.Error(w, "cannot read the body", http.StatusBadRequest)
			return
		}
		if err := webhook.Verify(r.Header, body, []string{secret}); err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		// A retry has the same id: it is dropped.
		if _, repeated := seen.LoadOrStore(r.Header.Get(webhook.HeaderID), true); repeated {
			return
		}
		var event struct {
			Event, Channel string
			Data           struct{ Message *string }
			RecentHistory  []json.RawMessage
		}
		if err := json.Unmarshal(body, &event); err != nil {
			http.Error(w, "cannot read the JSON", http.StatusBadRequest)
			return
		}
		message, _ := json.Marshal(event.Data.Message)
		fmt.Printf("%s %s %s history=%d\n", event.Event, event.Channel, message, len(event.RecentHistory))
	})

	l, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("listening on http://%s\n", l.Addr())
	log.Fatal(http.Serve(l, nil))
}
