// Package netguard decides which addresses a webhook endpoint may have.
//
// Anyone with an API key chooses where this server sends requests, so without a
// guard a key would open the private network the server stands in. The decision
// is taken twice. [Policy.CheckURL] reads the URL when it is configured and gives
// an early, readable refusal; it looks nothing up. [Policy.Dialer] looks at the
// address of every connection, after DNS, and is the check that counts: a name
// may resolve to something else at every call.
//
// What is public is decided by the list of code.dny.dev/ssrf, which is generated
// from the IANA registries, in both places. The package must never keep a list
// of its own, and must never resolve a name.
package netguard

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"code.dny.dev/ssrf"
)

// Policy says what the server was started to allow. Its zero value is the
// strictest: https, public addresses only.
type Policy struct {
	// AllowHTTP accepts http URLs besides https ones.
	AllowHTTP bool
	// AllowPrivate accepts every address: loopback, private and link-local ones too.
	AllowPrivate bool
	// AllowNetworks are networks whose addresses are accepted although they are not
	// public. An IPv4 network does not open the IPv6 forms that translate to it.
	AllowNetworks []netip.Prefix
	// Ports are those that an endpoint may have; any where there is none.
	Ports []uint16
}

// guardian holds the list. Ports and the networks that an operator allows are the
// policy's.
var guardian = ssrf.New(ssrf.WithAnyPort())

// checkAddr refuses what is neither public nor allowed.
func (p Policy) checkAddr(addr netip.Addr) error {
	// ::ffff:10.0.0.1 is dialled as 10.0.0.1, so it is judged as that.
	addr = addr.Unmap()
	if p.AllowPrivate || p.allowsNetworkOf(addr) {
		return nil
	}
	if err := guardian.SafeAddr(addr); err != nil {
		return &AddressError{Addr: addr, err: err}
	}
	return nil
}

func (p Policy) allowsNetworkOf(addr netip.Addr) bool {
	return slices.ContainsFunc(p.AllowNetworks, func(n netip.Prefix) bool { return n.Contains(addr) })
}

// checkPort refuses a port that the policy does not have.
func (p Policy) checkPort(port uint16) error {
	if len(p.Ports) == 0 || slices.Contains(p.Ports, port) {
		return nil
	}
	return &PortError{Port: port, allowed: p.Ports}
}

// PortError is the refusal to connect to a port that is not allowed.
type PortError struct {
	Port uint16

	allowed []uint16
}

// Error says which port was refused and how to mend it.
func (e *PortError) Error() string {
	allowed := make([]string, len(e.allowed))
	for i, p := range e.allowed {
		allowed[i] = strconv.Itoa(int(p))
	}
	return fmt.Sprintf("port %d is not one that this server calls: use %s, or start the server with --allow-ports", e.Port, strings.Join(allowed, " or "))
}

// AddressError is the refusal to connect to an address that is not public. From
// an HTTP client it comes wrapped in *url.Error and *net.OpError; errors.As finds it.
type AddressError struct {
	// Addr is the address, as it would have been dialled.
	Addr netip.Addr

	err error
}

// Error says which address was refused and how to mend it.
func (e *AddressError) Error() string { return privateReason(e.Addr.String()) }

// Unwrap gives the reason of the list, which is an [ssrf.ErrProhibitedIP].
func (e *AddressError) Unwrap() error { return e.err }

// privateReason is one sentence for both checks, so that a user who met it once knows it.
func privateReason(host string) string {
	return host + " is a private address, which this server does not call: " +
		"use a public address, or start the server with --allow-networks or --allow-private-networks"
}
