package gate

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestHandlerRefusesWhatIsTooLarge(t *testing.T) {
	h := Handler(nil, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	for _, c := range []struct{ url, headers, status int }{
		{100, 10, 204}, {MaxURL, 10, 204}, {MaxURL + 1, 10, 414}, {100, MaxHeaders, 204}, {100, MaxHeaders + 1, 431},
	} {
		r := httptest.NewRequest("GET", "/"+strings.Repeat("x", c.url-1), nil)
		for i := range c.headers {
			r.Header.Add(fmt.Sprint("X-", i/2), "v") // two of each name
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.status || c.status != 204 && (!strings.Contains(w.Body.String(), `{"detail":"the `) || w.Header().Get("Connection") != "close") {
			t.Errorf("%d bytes, %d fields: %d %s", c.url, c.headers, w.Code, w.Body)
		}
	}
}

func TestWhoAsks(t *testing.T) {
	proxies := Proxies{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, c := range []struct {
		name, peer string
		forwarded  []string
		proto      string
		want       string
		wantProto  string
	}{
		{"nobody in between", "192.0.2.1:5", nil, "", "192.0.2.1:5", ""},
		{"a stranger who says he is somebody else", "192.0.2.1:5", []string{"198.51.100.1"}, "https", "192.0.2.1:5", ""},
		{"a proxy", "10.0.0.1:5", []string{"192.0.2.1"}, "https", "192.0.2.1:0", "https"},
		{"a proxy that says nothing", "10.0.0.1:5", nil, "", "10.0.0.1:0", ""},
		{"two proxies", "10.0.0.1:5", []string{"192.0.2.1, 10.0.0.2"}, "http", "192.0.2.1:0", "http"},
		{"what was there before is not believed", "10.0.0.1:5", []string{"127.0.0.1, 192.0.2.1"}, "", "192.0.2.1:0", ""},
		{"several fields are one list", "10.0.0.1:5", []string{"127.0.0.1", "192.0.2.1", "10.0.0.2"}, "", "192.0.2.1:0", ""},
		{"all of them proxies", "10.0.0.1:5", []string{"10.0.0.3, 10.0.0.2"}, "", "10.0.0.3:0", ""},
		{"garbage ends it", "10.0.0.1:5", []string{"192.0.2.1, unknown, 10.0.0.2"}, "", "10.0.0.2:0", ""},
		{"IPv6", "[fd00::1]:5", []string{"2001:db8::7"}, "", "[2001:db8::7]:0", ""},
		{"with a port", "10.0.0.1:5", []string{"[2001:db8::7]:99"}, "", "[2001:db8::7]:0", ""},
		{"mapped", "[::ffff:10.0.0.1]:5", []string{"::ffff:192.0.2.1"}, "", "192.0.2.1:0", ""},
		{"no scheme of the web", "10.0.0.1:5", []string{"192.0.2.1"}, "javascript", "192.0.2.1:0", ""},
		{"not even an address", "pipe", []string{"192.0.2.1"}, "https", "pipe", ""},
	} {
		var got *http.Request
		h := Handler(proxies, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r }))
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = c.peer
		for _, f := range c.forwarded {
			r.Header.Add("X-Forwarded-For", f)
		}
		if c.proto != "" {
			r.Header.Set("X-Forwarded-Proto", c.proto)
		}
		r.Header.Set("X-Real-Ip", "198.51.100.9")
		r.Header.Set("Forwarded", "for=198.51.100.9")
		h.ServeHTTP(httptest.NewRecorder(), r)
		if got.RemoteAddr != c.want || got.Header.Get("X-Forwarded-Proto") != c.wantProto {
			t.Errorf("%s: %s %q, want %s %q", c.name, got.RemoteAddr, got.Header.Get("X-Forwarded-Proto"), c.want, c.wantProto)
		}
		if got.Header.Get("X-Real-Ip") != "" || got.Header.Get("Forwarded") != "" {
			t.Errorf("%s: %v", c.name, got.Header)
		}
	}
}

func FuzzWhoAsks(f *testing.F) {
	f.Add("10.0.0.1:5", "192.0.2.1, 10.0.0.2")
	f.Add("192.0.2.1:5", "x")
	f.Add("[::1%lo]:1", "[fe80::1%25eth0]:80,,::ffff:10.0.0.1")
	f.Add("", ",")
	proxies := Proxies{netip.MustParsePrefix("10.0.0.0/8")}
	f.Fuzz(func(t *testing.T, peer, forwarded string) {
		r := &http.Request{RemoteAddr: peer, Header: http.Header{"X-Forwarded-For": {forwarded}}}
		proxies.settle(r)
		if a, ok := addressOf(peer); !ok || !proxies.trust(a) {
			if r.RemoteAddr != peer || len(r.Header) != 0 {
				t.Fatalf("%q is believed to be %q", peer, r.RemoteAddr)
			}
			return
		}
		if _, err := netip.ParseAddrPort(r.RemoteAddr); err != nil {
			t.Fatalf("%q, %q: %v", peer, forwarded, err)
		}
	})
}

// pipe is a connection that notes its deadline.
type pipe struct {
	net.Conn
	deadline time.Time
}

func (p *pipe) SetWriteDeadline(at time.Time) error { p.deadline = at; return nil }
func (p *pipe) Write(b []byte) (int, error)         { return len(b), nil }

func TestEveryWriteHasADeadline(t *testing.T) {
	p := &pipe{}
	before := time.Now()
	if n, err := (conn{p}).Write([]byte("x")); n != 1 || err != nil || p.deadline.Before(before.Add(WriteTimeout)) {
		t.Error(n, err, p.deadline)
	}
}

func TestListenBoundsConnections(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	bounded := Listen(l, 1)
	accepted := make(chan net.Conn, 2)
	go func() {
		for {
			c, err := bounded.Accept()
			if err != nil {
				close(accepted)
				return
			}
			accepted <- c
		}
	}()
	for range 2 {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	first := <-accepted
	if len(accepted) != 0 {
		t.Error("a second connection was taken")
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	_ = (<-accepted).Close()
	if err := bounded.Close(); err != nil {
		t.Error(err)
	}
	if _, open := <-accepted; open {
		t.Error("accepted after the end")
	}
}

func TestRates(t *testing.T) {
	if wait := NewRates(0).Take("k", time.Now()); wait != 0 {
		t.Error("unbounded, and yet", wait)
	}
	r, now := NewRates(10), time.Unix(1_800_000_000, 0)
	for i := range 10 {
		if wait := r.Take("a", now); wait != 0 {
			t.Fatal(i, wait)
		}
	}
	if wait := r.Take("a", now); wait != 100*time.Millisecond {
		t.Error("the eleventh waits", wait)
	}
	if wait := r.Take("a", now); wait != 100*time.Millisecond {
		t.Error("a refusal took something:", wait)
	}
	if wait := r.Take("b", now); wait != 0 {
		t.Error("another key waits", wait)
	}
	if wait := r.Take("a", now.Add(100*time.Millisecond)); wait != 0 {
		t.Error("after the wait:", wait)
	}
	if wait := r.Take("a", now.Add(time.Hour)); wait != 0 {
		t.Error("much later:", wait)
	}
}

// write makes a certificate for a name in the files.
func write(t *testing.T, certFile, keyFile, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: serial, DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		// As tools do that renew certificates: a new file takes the place of the old.
		if err := os.WriteFile(path+".new", pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestACertificateIsReadAnew(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	if _, err := NewCertificate(certFile, keyFile, logger); err == nil || !strings.Contains(err.Error(), "--tls-cert") {
		t.Error("no file:", err)
	}
	write(t, certFile, keyFile, "one.example")
	c, err := NewCertificate(certFile, keyFile, logger)
	if err != nil {
		t.Fatal(err)
	}
	serves := func(want string) {
		t.Helper()
		cert, err := c.Config().GetCertificate(&tls.ClientHelloInfo{})
		if err != nil || cert.Leaf.DNSNames[0] != want {
			t.Errorf("%v %v, want %s", cert.Leaf.DNSNames, err, want)
		}
	}
	serves("one.example")
	write(t, certFile, keyFile, "two.example")
	serves("two.example")

	if err := os.WriteFile(certFile, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	serves("two.example")
	serves("two.example")
	if n := strings.Count(log.String(), "going on with the one before"); n != 1 {
		t.Errorf("said %d times: %s", n, log.String())
	}
	if err := c.Reload(); err == nil {
		t.Error("read what is no certificate")
	}
	if err := os.Remove(certFile); err != nil {
		t.Fatal(err)
	}
	serves("two.example")
	write(t, certFile, keyFile, "three.example")
	if err := c.Reload(); err != nil {
		t.Error(err)
	}
	serves("three.example")
	if strings.Contains(log.String(), "PRIVATE") {
		t.Error("the log has a key:", log.String())
	}
}

func TestTLSIsOneDotTwoAtLeast(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	write(t, certFile, keyFile, "localhost")
	c, err := NewCertificate(certFile, keyFile, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) }))
	srv.TLS = c.Config()
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	srv.StartTLS()
	defer srv.Close()
	for version, ok := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version}}}
		resp, err := client.Get(srv.URL)
		if (err == nil) != ok {
			t.Errorf("TLS %x: %v", version, err)
		}
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
		client.CloseIdleConnections()
	}
}
