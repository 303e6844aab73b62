package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"switchhook.dev/switchhook/internal/netguard"
	"switchhook.dev/switchhook/internal/server"
)

// DoorFlags are the flags of serve that say who gets in, and where the server
// goes out to. The keys of the webhooks' secrets are no flag, since others on the
// machine see those: they come from a file, or from SWITCHHOOK_SECRET_KEY.
type DoorFlags struct {
	SecretKeyFile        string    `name:"secret-key-file" env:"SWITCHHOOK_SECRET_KEY_FILE" placeholder:"FILE" help:"Holds the keys that the webhooks' secrets are sealed under: the first seals, all open. SWITCHHOOK_SECRET_KEY may hold them instead. Default: a file beside the SQLite database, made at the first start."`
	AllowHTTP            bool      `name:"allow-http" env:"SWITCHHOOK_ALLOW_HTTP" help:"Permit endpoints with http URLs."`
	AllowPrivateNetworks bool      `name:"allow-private-networks" env:"SWITCHHOOK_ALLOW_PRIVATE_NETWORKS" help:"Permit endpoints on private, loopback and other special addresses."`
	AllowNetworks        []Network `name:"allow-networks" env:"SWITCHHOOK_ALLOW_NETWORKS" placeholder:"NETWORK" help:"Permit endpoints in these networks although they are not public, such as 10.1.0.0/16."`
	AllowPorts           []uint16  `name:"allow-ports" env:"SWITCHHOOK_ALLOW_PORTS" placeholder:"PORT" help:"Permit endpoints on these ports only, such as 443,8443; any by default."`
	Proxy                Proxy     `env:"SWITCHHOOK_PROXY" placeholder:"URL" help:"Call endpoints through this HTTP proxy, which then decides what may be reached. Nothing else in the environment is looked at."`
	TLSCert              string    `name:"tls-cert" env:"SWITCHHOOK_TLS_CERT" placeholder:"FILE" help:"Serve HTTPS with this certificate and its chain, in PEM; read anew when it changes, and on SIGHUP."`
	TLSKey               string    `name:"tls-key" env:"SWITCHHOOK_TLS_KEY" placeholder:"FILE" help:"The certificate's key, in PEM."`
	TrustedProxies       []Network `name:"trusted-proxies" env:"SWITCHHOOK_TRUSTED_PROXIES" placeholder:"NETWORK" help:"Believe X-Forwarded-For and -Proto of proxies in these networks; of nobody by default."`
	MaxConnections       int       `name:"max-connections" env:"SWITCHHOOK_MAX_CONNECTIONS" default:"10000" help:"Connections of clients at a time; further ones wait."`
	RateLimitPerKey      int       `name:"rate-limit-per-key" env:"SWITCHHOOK_RATE_LIMIT_PER_KEY" default:"0" help:"Requests a second of one API key; further ones are answered with 429. 0 is no bound."`
}

// policy is which addresses endpoints may have.
func (f DoorFlags) policy(dev bool) netguard.Policy {
	return netguard.Policy{
		AllowHTTP: f.AllowHTTP || dev, AllowPrivate: f.AllowPrivateNetworks || dev,
		AllowNetworks: prefixes(f.AllowNetworks), Ports: f.AllowPorts,
	}
}

// Network is a network as a flag: 10.1.0.0/16, or one address of it.
type Network netip.Prefix

// UnmarshalText reads a network.
func (n *Network) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	if p, err := netip.ParsePrefix(s); err == nil {
		*n = Network(p.Masked())
		return nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return fmt.Errorf("%q is no network: write it as 10.1.0.0/16 or fd00:1::/32", s)
	}
	*n = Network(netip.PrefixFrom(a, a.BitLen()))
	return nil
}

func prefixes(networks []Network) (out []netip.Prefix) {
	for _, n := range networks {
		out = append(out, netip.Prefix(n))
	}
	return out
}

// Proxy is the URL of an HTTP proxy as a flag.
type Proxy struct{ *url.URL }

// UnmarshalText reads a proxy. Its error does not repeat it: there may be a
// password in it.
func (p *Proxy) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		return nil
	}
	u, err := url.Parse(string(text))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return errors.New("that is no proxy: write it as http://proxy.example.com:3128")
	}
	p.URL = u
	return nil
}

// Validate checks what single flags cannot.
func (f DoorFlags) Validate() error {
	if (f.TLSCert == "") != (f.TLSKey == "") {
		return errors.New("--tls-cert and --tls-key belong together: give both, or neither")
	}
	if f.MaxConnections < 1 || f.MaxConnections > 1_000_000 {
		return errors.New("--max-connections must be 1 to 1000000")
	}
	if f.RateLimitPerKey < 0 || f.RateLimitPerKey > 1_000_000 {
		return errors.New("--rate-limit-per-key must be 1 to 1000000, or 0 for no bound")
	}
	return nil
}

// doors is what the flags say, for the server.
func (f DoorFlags) doors() server.Doors {
	return server.Doors{
		SecretKeyFile: f.SecretKeyFile, SecretKeys: os.Getenv("SWITCHHOOK_SECRET_KEY"), Proxy: f.Proxy.URL,
		TLSCert: f.TLSCert, TLSKey: f.TLSKey, TrustedProxies: prefixes(f.TrustedProxies),
		MaxConnections: f.MaxConnections, RatePerKey: f.RateLimitPerKey,
	}
}

// onHangup reads the certificate anew on SIGHUP, until ctx ends.
func onHangup(ctx context.Context, srv *server.Server, logger *slog.Logger) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	go func() {
		defer signal.Stop(hangup)
		for {
			select {
			case <-ctx.Done():
				return
			case <-hangup:
				if err := srv.ReloadCertificate(); err != nil {
					logger.Error("the certificate cannot be read anew: going on with the one before", "error", err)
				}
			}
		}
	}()
}
