package netguard

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"syscall"
)

// Dialer returns a copy of d (nil for the defaults) that looks at the address of
// each connection just before it is made, and refuses one that is not public with
// an *AddressError, and a port that is not allowed with a *PortError. A Control or ControlContext of d still runs, after that.
//
// An http.Transport that dials with it must have no Proxy: the address judged
// would be the proxy's.
func (p Policy) Dialer(d *net.Dialer) *net.Dialer {
	guarded := net.Dialer{}
	if d != nil {
		guarded = *d
	}
	if p.AllowPrivate && len(p.Ports) == 0 {
		return &guarded
	}
	control, controlContext := guarded.Control, guarded.ControlContext
	guarded.Control = nil
	guarded.ControlContext = func(ctx context.Context, network, address string, c syscall.RawConn) error {
		if err := p.checkDial(network, address); err != nil {
			return err
		}
		switch {
		case controlContext != nil:
			return controlContext(ctx, network, address, c)
		case control != nil:
			return control(network, address, c)
		}
		return nil
	}
	return &guarded
}

// checkDial judges a network and an address as the net package hands them to a
// Control function: the address is an IP literal and a port.
func (p Policy) checkDial(network, address string) error {
	if ap, err := netip.ParseAddrPort(address); err == nil && strings.HasPrefix(network, "tcp") {
		if err := p.checkPort(ap.Port()); err != nil {
			return err
		}
		return p.checkAddr(ap.Addr())
	}
	return guardian.Safe(network, address, nil) // no TCP or no address: its words say which
}
