package cli

import (
	"fmt"
	"net/netip"
	"strings"

	"switchhook.dev/switchhook/internal/netguard"
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
