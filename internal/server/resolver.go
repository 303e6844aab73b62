package server

import (
	"context"
	"net"
)

// resolver looks endpoints' names up at one name server, host and port, or ("")
// as the machine does.
func resolver(address string) *net.Resolver {
	if address == "" {
		return nil
	}
	var d net.Dialer
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return d.DialContext(ctx, network, address)
	}}
}
