package deliver

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// A first attempt looks the name up, connects and shakes hands; the next one, on
// the connection that was kept, does none of it.
func TestTheStopwatchTellsANewConnectionFromOneThatWasKept(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	defer server.Close()
	client := server.Client()
	client.Transport.(*http.Transport).TLSClientConfig.ServerName = "example.com"
	url := strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
	for _, first := range []bool{true, false} {
		var watch stopwatch
		req, err := http.NewRequestWithContext(watch.trace(t.Context()), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		got := watch.timing(start)
		if (got.DNS > 0) != first || (got.Connect > 0) != first || (got.TLS > 0) != first || got.FirstByte <= 0 {
			t.Errorf("new connection %v: %+v", first, got)
		}
		if got.DNS+got.Connect+got.TLS > got.FirstByte {
			t.Errorf("the parts are longer than the whole: %+v", got)
		}
	}
}
