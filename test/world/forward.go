package world

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
)

// Forward returns a handler that passes each request on to what to returns then, and
// what is answered back as it comes; 502 where to returns nil or nobody answers.
//
// It takes bodies whole.
func Forward(to func() *url.URL) http.Handler {
	return TakeWhole(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		target := to()
		if target == nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		(&httputil.ReverseProxy{
			FlushInterval: -1,
			Rewrite:       func(p *httputil.ProxyRequest) { p.SetURL(target) },
			ErrorHandler:  func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
		}).ServeHTTP(w, r)
	}))
}

// TakeWhole reads a request's body to its end before a proxy passes it on; 502 where it
// has none. net/http closes a body once the answer begins, and a proxy that then looks
// for its end drops the connection the answer comes on.
func TakeWhole(proxy http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		proxy.ServeHTTP(w, r)
	})
}
