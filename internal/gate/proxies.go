package gate

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Proxies are the networks of the proxies in front of this server. What anybody
// else says of who asks is not believed.
type Proxies []netip.Prefix

// forwarded are the headers in which a proxy says what it heard.
var forwarded = []string{
	"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Proto", "X-Forwarded-Ssl", "X-Real-Ip",
}

// settle makes r.RemoteAddr the address of who asks, and takes away what is not
// believed. Of X-Forwarded-For the last address counts that is no trusted proxy's:
// what stands before it was written by who asks.
func (p Proxies) settle(r *http.Request) {
	peer, ok := addressOf(r.RemoteAddr)
	if !ok || !p.trust(peer) {
		for _, name := range forwarded {
			r.Header.Del(name)
		}
		return
	}
	// Nobody reads these two, so nobody has to know whether the proxy writes them.
	r.Header.Del("Forwarded")
	r.Header.Del("X-Real-Ip")
	if proto := r.Header.Get("X-Forwarded-Proto"); proto != "" && proto != "http" && proto != "https" {
		r.Header.Del("X-Forwarded-Proto")
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		a, ok := addressOf(strings.TrimSpace(hop))
		if !ok {
			break
		}
		peer = a
		if !p.trust(a) {
			break
		}
	}
	r.RemoteAddr = netip.AddrPortFrom(peer, 0).String()
}

func (p Proxies) trust(a netip.Addr) bool {
	return slices.ContainsFunc(p, func(n netip.Prefix) bool { return n.Contains(a) })
}

// addressOf reads an address with or without a port.
func addressOf(s string) (netip.Addr, bool) {
	if host, _, err := net.SplitHostPort(s); err == nil {
		s = host
	}
	a, err := netip.ParseAddr(strings.Trim(s, "[]"))
	return a.Unmap().WithZone(""), err == nil
}
