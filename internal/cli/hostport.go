package cli

import (
	"fmt"
	"net"
)

// HostPort is an address as net.Dial takes it: "10.0.0.53:53".
type HostPort string

// UnmarshalText reads an address.
func (h *HostPort) UnmarshalText(text []byte) error {
	if _, _, err := net.SplitHostPort(string(text)); err != nil {
		return fmt.Errorf("%q is no host and port: write it as 10.0.0.53:53", text)
	}
	*h = HostPort(text)
	return nil
}
