package server

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"switchhook.dev/switchhook/internal/gate"
	"switchhook.dev/switchhook/internal/netguard"
)

// Doors is the part of a Config that says who gets in, and how fast.
type Doors struct {
	// SecretKeys are the keys that the webhooks' secrets are sealed under, as
	// seal.Parse reads them; "" for those in SecretKeyFile, and where that is "" too,
	// beside an embedded database in a file that the first start makes.
	SecretKeys, SecretKeyFile string
	// Proxy is what endpoints are called through; nil for no proxy.
	Proxy *url.URL
	// TLSCert and TLSKey are files in PEM; "" serves plain HTTP.
	TLSCert, TLSKey string
	// TrustedProxies are the networks of the proxies in front of the server.
	TrustedProxies []netip.Prefix
	// MaxConnections bounds the connections of clients: DefaultConnections where 0.
	MaxConnections int
	// RatePerKey bounds the requests of one key, a second; 0 is no bound.
	RatePerKey int
}

// DefaultConnections is how many connections clients may have, unless it is said
// otherwise.
const DefaultConnections = 10_000

// readCertificate reads the server's certificate, where it has one.
func (s *Server) readCertificate(cfg Config) (err error) {
	if (cfg.TLSCert == "") != (cfg.TLSKey == "") {
		return errors.New("--tls-cert and --tls-key belong together: give both, or neither")
	}
	if cfg.TLSCert != "" {
		s.certificate, err = gate.NewCertificate(cfg.TLSCert, cfg.TLSKey, cfg.Logger)
	}
	return err
}

// ReloadCertificate reads the certificate's files now; they are also looked at
// with every connection. Without TLS it does nothing.
func (s *Server) ReloadCertificate() error {
	if s.certificate == nil {
		return nil
	}
	return s.certificate.Reload()
}

// serve answers connections until the server stops.
func (s *Server) serve(l net.Listener, cfg Config) {
	connections := cfg.MaxConnections
	if connections == 0 {
		connections = DefaultConnections
	}
	scheme, serve := "http", s.http.Serve
	if s.certificate != nil {
		s.http.TLSConfig = s.certificate.Config()
		scheme, serve = "https", func(l net.Listener) error { return s.http.ServeTLS(l, "", "") }
	}
	s.URL = scheme + "://" + s.Address
	go func() { s.served <- serve(gate.Listen(l, connections)) }()
}

// throughProxy sends a transport's requests through a proxy. The proxy looks up
// names and makes the connections, so it decides what may be reached; what the URL
// itself says is still judged, at every request.
func throughProxy(t *http.Transport, proxy *url.URL, policy netguard.Policy) *http.Transport {
	if proxy == nil {
		return t
	}
	// The proxy itself is usually on a private address, and the operator's choice.
	t.DialContext = (&net.Dialer{Timeout: dialTimeout}).DialContext
	t.Proxy = func(r *http.Request) (*url.URL, error) {
		if err := policy.CheckURL(r.URL.String()); err != nil {
			return nil, err
		}
		return proxy, nil
	}
	return t
}

// knock is how an endpoint is asked for a connection; through a proxy there is no
// way to.
func (d Doors) knock(dialer *net.Dialer) func(context.Context, *url.URL) error {
	if d.Proxy != nil {
		return nil
	}
	return knock(dialer)
}

// dialTimeout is how long a connection to an endpoint may take to be made.
const dialTimeout = 10 * time.Second
