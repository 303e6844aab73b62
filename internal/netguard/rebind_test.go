package netguard

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// nameServer answers every question for an IPv4 address with the next of a list,
// the last one from then on, and counts the questions.
type nameServer struct {
	conn      net.PacketConn
	addresses []string
	asked     atomic.Int64
}

func newNameServer(t *testing.T, addresses ...string) *nameServer {
	t.Helper()
	conn, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &nameServer{conn: conn, addresses: addresses}
	t.Cleanup(func() { _ = conn.Close() })
	go s.serve()
	return s
}

func (s *nameServer) serve() {
	b := make([]byte, 4096)
	for {
		n, from, err := s.conn.ReadFrom(b)
		if err != nil {
			return
		}
		if answer := s.answer(b[:n]); answer != nil {
			_, _ = s.conn.WriteTo(answer, from)
		}
	}
}

func (s *nameServer) answer(question []byte) []byte {
	var m dnsmessage.Message
	if err := m.Unpack(question); err != nil || len(m.Questions) != 1 {
		return nil
	}
	m.Response, m.Additionals = true, nil
	if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
		i := min(int(s.asked.Add(1)), len(s.addresses)) - 1
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class},
			Body:   &dnsmessage.AResource{A: netip.MustParseAddr(s.addresses[i]).As4()},
		}}
	}
	b, err := m.Pack()
	if err != nil {
		return nil
	}
	return b
}

// resolver asks this server and no other.
func (s *nameServer) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp4", s.conn.LocalAddr().String())
	}}
}

// TestRebinding: a name that is public whenever somebody looks, and private when it
// is dialled. The guard looks at the address of the connection itself, so there is
// nothing in between.
func TestRebinding(t *testing.T) {
	reached := atomic.Bool{}
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Store(true) }))
	defer srv.Close()
	_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	names := newNameServer(t, "8.8.8.8", "127.0.0.1")
	raw := "http://rebind.example.:" + port + "/"
	policy := Policy{AllowHTTP: true}

	if err := policy.CheckURL(raw); err != nil {
		t.Fatal("registration:", err)
	}
	// Somebody resolves it to look: it is public.
	if ips, err := names.resolver().LookupNetIP(t.Context(), "ip4", "rebind.example."); err != nil || ips[0].String() != "8.8.8.8" {
		t.Fatal(ips, err)
	}
	for range 3 {
		_, err := get(t, policy.Dialer(&net.Dialer{Resolver: names.resolver()}), raw)
		if refusal, ok := errors.AsType[*AddressError](err); !ok || refusal.Addr.String() != "127.0.0.1" {
			t.Errorf("%v, want 127.0.0.1 refused", err)
		}
	}
	if reached.Load() || names.asked.Load() < 4 {
		t.Errorf("reached: %v, names asked %d times", reached.Load(), names.asked.Load())
	}
	// The same name where the operator allows that network.
	policy.AllowNetworks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	if status, err := get(t, policy.Dialer(&net.Dialer{Resolver: names.resolver()}), raw); err != nil || status != 200 || !reached.Load() {
		t.Error(status, err)
	}
}

// TestEveryAddressOfANameIsJudged: a name with a private address among public ones
// is never reached there.
func TestEveryAddressOfANameIsJudged(t *testing.T) {
	for _, address := range []string{"10.0.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1"} {
		names := newNameServer(t, address)
		_, err := get(t, Policy{}.Dialer(&net.Dialer{Resolver: names.resolver()}), "https://inside.example./")
		if err == nil || !strings.Contains(err.Error(), address+" is a private address") {
			t.Errorf("%s: %v", address, err)
		}
	}
}
