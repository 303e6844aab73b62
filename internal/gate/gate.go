// Package gate is what a request passes before the API looks at it: the number of
// connections and how slow they may be, the size of what a request says before its
// body, who it is from where a proxy stands in between, TLS, and how many requests
// a key may make.
//
// Past the gate r.RemoteAddr is the caller's, and an X-Forwarded-* header is true
// or absent. The package must know nothing of what the API does.
package gate

import (
	"encoding/json"
	"net/http"
)

// Limits of a request before its body.
const (
	// MaxURL is how long path and query may be together, in bytes.
	MaxURL = 8 << 10
	// MaxHeaders is how many header fields a request may have.
	MaxHeaders = 100
)

// Handler lets requests through to next that keep within the limits, with the
// address of who really asks.
func Handler(proxies Proxies, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.RequestURI) > MaxURL {
			refuse(w, http.StatusRequestURITooLong, "the URL is longer than 8 KiB: send less in its query")
			return
		}
		if tooMany(r.Header) {
			refuse(w, http.StatusRequestHeaderFieldsTooLarge, "the request has more than 100 header fields: send fewer")
			return
		}
		// No browser is to guess that an answer is a page.
		w.Header().Set("X-Content-Type-Options", "nosniff")
		proxies.settle(r)
		next.ServeHTTP(w, r)
	})
}

func tooMany(h http.Header) bool {
	n := 0
	for _, values := range h {
		n += len(values)
	}
	return n > MaxHeaders
}

// refuse answers in the contract's shape, and ends the connection: whoever sends
// such a request sends more of them.
func refuse(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Connection", "close")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"detail": detail})
}
