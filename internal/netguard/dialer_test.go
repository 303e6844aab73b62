package netguard

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"syscall"
	"testing"

	"code.dny.dev/ssrf"
)

func TestCheckDial(t *testing.T) {
	tests := []struct {
		network, address string
		refused          string // the address named in the refusal
	}{
		{"tcp4", "8.8.8.8:443", ""},
		{"tcp4", "8.8.8.8:9", ""},
		{"tcp6", "[2606:4700:4700::1111]:8443", ""},
		{"tcp6", "[::ffff:8.8.8.8]:443", ""},
		{"tcp4", "127.0.0.1:443", "127.0.0.1"},
		{"tcp4", "10.0.0.1:8443", "10.0.0.1"},
		{"tcp4", "169.254.169.254:80", "169.254.169.254"},
		{"tcp4", "100.64.1.1:80", "100.64.1.1"},
		{"tcp4", "0.0.0.0:80", "0.0.0.0"},
		{"tcp6", "[::1]:443", "::1"},
		{"tcp6", "[fe80::1%eth0]:443", "fe80::1%eth0"},
		{"tcp6", "[fd00::1]:443", "fd00::1"},
		{"tcp6", "[::ffff:10.0.0.1]:443", "10.0.0.1"},
		{"tcp6", "[64:ff9b::a00:1]:443", "64:ff9b::a00:1"},
	}
	for _, tt := range tests {
		err := Policy{}.checkDial(tt.network, tt.address)
		if tt.refused == "" {
			if err != nil {
				t.Errorf("checkDial(%s, %s) = %v, want nil", tt.network, tt.address, err)
			}
			continue
		}
		var refusal *AddressError
		if !errors.As(err, &refusal) || refusal.Addr.String() != tt.refused || !errors.Is(err, ssrf.ErrProhibitedIP) {
			t.Errorf("checkDial(%s, %s) = %v, want %s refused", tt.network, tt.address, err, tt.refused)
		}
	}
	for _, bad := range [][2]string{{"udp4", "8.8.8.8:53"}, {"unix", "/tmp/socket"}, {"tcp4", "example.com:443"}, {"tcp4", ""}} {
		if (Policy{}).checkDial(bad[0], bad[1]) == nil {
			t.Errorf("checkDial(%s, %s) = nil, want an error", bad[0], bad[1])
		}
	}
}

// A client that dials a private address, by number and by a name that resolves
// to it, gets the typed error through everything that wraps it.
func TestDialerRefuses(t *testing.T) {
	var reached bool
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer srv.Close()
	_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())

	for _, host := range []string{"127.0.0.1", "localhost"} {
		_, err := get(t, Policy{AllowHTTP: true}.Dialer(nil), "http://"+net.JoinHostPort(host, port))
		var (
			wrapped *url.Error
			op      *net.OpError
			refusal *AddressError
		)
		if !errors.As(err, &wrapped) || !errors.As(err, &op) || !errors.As(err, &refusal) {
			t.Fatalf("%s: %v, want an AddressError in an OpError in a url.Error", host, err)
		}
		want := refusal.Addr.String() + " is a private address, which this server does not call: " +
			"use a public address, or start the server with --allow-networks or --allow-private-networks"
		if refusal.Error() != want || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %v, want it to end in %q", host, err, want)
		}
	}
	if reached {
		t.Error("a refused request reached the server")
	}
}

func TestDialerAllows(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	status, err := get(t, Policy{AllowPrivate: true}.Dialer(&net.Dialer{}), srv.URL)
	if err != nil || status != http.StatusNotFound {
		t.Errorf("got %d, %v; want 404", status, err)
	}
}

// The dialer handed in stays as it was, and its own hook runs, but only for
// what passed the guard.
func TestDialerKeepsControl(t *testing.T) {
	stop := errors.New("stopped by the hook")
	hook := func(string, string, syscall.RawConn) error { return stop }
	hookContext := func(context.Context, string, string, syscall.RawConn) error { return stop }
	for name, d := range map[string]*net.Dialer{"Control": {Control: hook}, "ControlContext": {ControlContext: hookContext}} {
		guarded := Policy{}.Dialer(d)
		if err := guarded.ControlContext(t.Context(), "tcp4", "8.8.8.8:443", nil); !errors.Is(err, stop) {
			t.Errorf("%s: public address: %v, want the hook's error", name, err)
		}
		if err := guarded.ControlContext(t.Context(), "tcp4", "10.0.0.1:443", nil); !errors.As(err, new(*AddressError)) {
			t.Errorf("%s: private address: %v, want an AddressError", name, err)
		}
		if (d.Control == nil) == (d.ControlContext == nil) {
			t.Errorf("%s: the dialer handed in was changed", name)
		}
	}
}

func get(t *testing.T, d *net.Dialer, rawURL string) (int, error) {
	t.Helper()
	transport := &http.Transport{DialContext: d.DialContext}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, rawURL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	return resp.StatusCode, nil
}
