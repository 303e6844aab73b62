package server

import (
	"net"
	"net/url"
	"path/filepath"
	"testing"

	"switchhook.dev/switchhook/internal/gate"
	"switchhook.dev/switchhook/internal/netguard"
)

// TestNoProxyUnlessItIsNamed: whatever the environment says.
func TestNoProxyUnlessItIsNamed(t *testing.T) {
	if throughProxy(newTransport(&net.Dialer{}), nil, netguard.Policy{}).Proxy != nil {
		t.Error("a transport without a proxy asks for one")
	}
	if (Doors{}).knock(&net.Dialer{}) == nil || (Doors{Proxy: &url.URL{}}).knock(&net.Dialer{}) != nil {
		t.Error("knocking goes past the proxy, or nowhere")
	}
}

// TestAServerHasTimeouts: slow clients hold nothing for long.
func TestAServerHasTimeouts(t *testing.T) {
	s, err := Start(t.Context(), Config{Listen: "127.0.0.1:0", Database: "sqlite:" + filepath.Join(t.TempDir(), "test.db")})
	if err != nil {
		t.Fatal(err)
	}
	if s.http.ReadHeaderTimeout == 0 || s.http.ReadTimeout == 0 || s.http.IdleTimeout == 0 || s.http.MaxHeaderBytes == 0 || gate.WriteTimeout == 0 {
		t.Errorf("%+v", s.http)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}
