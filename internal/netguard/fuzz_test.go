package netguard

import (
	"net"
	"net/netip"
	"testing"
)

// FuzzAddress: what is dialled is an address that nobody would call private, in
// whichever form an IPv4 address hides in it.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{
		"8.8.8.8:443", "127.0.0.1:80", "[::1]:443", "[::ffff:10.0.0.1]:1", "[64:ff9b::7f00:1]:443", "[2002:a00:1::]:443", "[fe80::1%eth0]:443", "[2001:0:1:2::]:9", "0.0.0.0:0", "", "x:443", "[::]:65536",
		"[2606:4700:4700::1111]:443", "169.254.169.254:80", "[fd00:ec2::254]:80",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, address string) {
		if (Policy{}).checkDial("tcp", address) != nil {
			return
		}
		ap, err := netip.ParseAddrPort(address)
		if err != nil {
			t.Fatalf("%q is dialled, and no address", address)
		}
		a := ap.Addr().Unmap()
		ip := net.IP(a.AsSlice())
		if ip.IsLoopback() || ip.IsPrivate() || ip.IsUnspecified() || ip.IsMulticast() || ip.IsLinkLocalUnicast() || !ip.IsGlobalUnicast() || a.Zone() != "" {
			t.Fatalf("%q is dialled", address)
		}
		if b := a.As16(); a.Is6() && (b[0] != 0x20 && b[0]>>4 != 2 && b[0]>>5 != 1 || b[0] == 0x20 && b[1] == 2) {
			t.Fatalf("%q is dialled: not of the global unicast addresses, or 6to4", address)
		}
	})
}

// FuzzLooseIPv4: whatever Go reads as an IPv4 address is read as the same here.
func FuzzLooseIPv4(f *testing.F) {
	for _, s := range []string{"127.0.0.1", "127.1", "0x7f.1", "0177.0.0.1", "2130706433", "", ".", "256", "0x", "08", "1.2.3.4.5", "4294967296", "00000000000000000000001"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := parseLooseIPv4(s)
		if ok && !got.Is4() {
			t.Fatalf("%q is %s", s, got)
		}
		if want, err := netip.ParseAddr(s); err == nil && want.Is4() && (!ok || got != want) {
			t.Fatalf("%q is %s, want %s", s, got, want)
		}
	})
}
