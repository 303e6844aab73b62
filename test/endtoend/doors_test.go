package endtoend

import (
	"bufio"
	"bytes"
	"context"
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
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"switchhook.dev/switchhook/internal/deliver"
	"switchhook.dev/switchhook/internal/netguard"
	"switchhook.dev/switchhook/internal/server"
)

// newWorldWith is newWorld with a server that was started otherwise.
func newWorldWith(t *testing.T, change func(*server.Config)) *world {
	t.Helper()
	cfg := server.Config{
		Listen: "127.0.0.1:0", Database: "sqlite:" + filepath.Join(t.TempDir(), "test.db"), Version: "test",
		Policy: netguard.Policy{AllowHTTP: true, AllowPrivate: true}, Schedule: deliver.Schedule{},
	}
	change(&cfg)
	srv, err := server.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Stop(context.Background()); err != nil {
			t.Error("stop:", err)
		}
	})
	return &world{t: t, url: srv.URL, key: srv.NewKey}
}

// lines gathers a log that many write.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestNothingSecretLeaves does what there is to do with keys and secrets, well and
// badly, and then looks for them in the log, the metrics, the stream of events, the
// audit log, the errors, every answer that is not to show them, and the files.
func TestNothingSecretLeaves(t *testing.T) {
	log := &lines{}
	dir := t.TempDir()
	const chosen = "sk_chosen-by-the-operator"
	w := newWorldWith(t, func(c *server.Config) {
		c.Database, c.APIKey = "sqlite:"+filepath.Join(dir, "test.db"), chosen
		c.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	w.key = chosen
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	stream := w.stream(ctx)

	r := newReceiver(t)
	r.respond(func(rw http.ResponseWriter, in request) {
		if strings.Contains(string(in.body), "fail") {
			rw.WriteHeader(http.StatusInternalServerError)
		}
	})
	agent := w.agent("+12025550101")
	secrets := map[string]string{"the operator's key": chosen}
	for i := range 2 {
		secrets[fmt.Sprint("the default's secret ", i)] = w.set("", r.URL).Secret
		secrets[fmt.Sprint("the agent's secret ", i)] = w.set(agent, r.URL).Secret
	}
	var k struct{ ID, Key string }
	w.ok("POST", "/v1/keys", object{"name": "second"}, &k)
	secrets["a key"] = k.Key
	var project struct{ APIKey string }
	w.ok("POST", "/v1/projects", object{"name": "other"}, &project)
	secrets["a project's first key"] = project.APIKey
	const wrong = "sk_a-key-that-nobody-knows"
	secrets["a wrong key"] = wrong

	var seen []string
	for _, text := range []string{"good", "fail"} {
		id := w.send(customer, "+12025550101", text).DeliveryID
		w.until(id, func(d deliveryView) bool { return d.Status != "pending" })
		_, out := w.call("GET", "/v1/deliveries/"+id, nil)
		seen = append(seen, string(out))
	}
	w.ok("POST", hookPath(agent)+"/test", nil, nil)
	w.ok("DELETE", "/v1/keys/"+k.ID, nil, nil)
	for _, key := range []string{wrong, k.Key} {
		_, out := w.as(key, route{method: "GET", path: "/v1/agents?x=" + url.QueryEscape(key)})
		seen = append(seen, out)
	}
	for _, path := range []string{"/v1/keys", "/v1/audit", "/v1/webhooks/deliveries", "/metrics", "/openapi.json", "/v1/nothing/" + wrong} {
		_, out := w.call("GET", path, nil)
		seen = append(seen, string(out))
	}
	stop()
	seen = append(seen, stream())
	if !strings.Contains(seen[len(seen)-1], "event: delivery") {
		t.Errorf("the stream shows nothing: %s", seen[len(seen)-1])
	}
	if !strings.Contains(log.String(), "a delivery failed") && !strings.Contains(log.String(), "failed") {
		t.Errorf("the log says nothing: %s", log.String())
	}
	seen = append(seen, log.String())
	for name, secret := range secrets {
		if len(secret) < 20 {
			t.Fatalf("%s is %q", name, secret)
		}
		for _, text := range seen {
			if strings.Contains(text, secret) || strings.Contains(text, secret[7:]) {
				t.Errorf("%s is shown in %.300s", name, text)
			}
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		// The lock is empty; everything else is its owner's alone.
		if info, err := f.Info(); err != nil || info.Mode().Perm()&0o077 != 0 && len(b) > 0 {
			t.Errorf("%s is %s: %v", f.Name(), info.Mode(), err)
		}
		for name, secret := range secrets {
			if bytes.Contains(b, []byte(secret)) || bytes.Contains(b, []byte(secret[7:])) {
				t.Errorf("%s is in %s", name, f.Name())
			}
		}
	}
}

// stream reads the event stream until ctx ends; the function it returns waits for
// that, and returns what was read.
func (w *world) stream(ctx context.Context) func() string {
	w.t.Helper()
	req, err := http.NewRequestWithContext(ctx, "GET", w.url+"/v1/deliveries/stream", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.key)
	resp, err := client.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	first, err := bufio.NewReader(resp.Body).ReadString('\n')
	if err != nil {
		w.t.Fatal(err)
	}
	all := make(chan string, 1)
	go func() {
		rest, _ := io.ReadAll(resp.Body) // ends with an error when ctx does
		_ = resp.Body.Close()
		all <- first + string(rest)
	}()
	return func() string { return <-all }
}

func TestAKeyThatAsksTooOftenIsToldWhenToComeBack(t *testing.T) {
	w := newWorldWith(t, func(c *server.Config) { c.RatePerKey = 1 })
	for range 200 {
		req, err := http.NewRequestWithContext(t.Context(), "GET", w.url+"/v1/agents", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+w.key)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		out, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			continue
		}
		if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") != "1" || !strings.Contains(string(out), "slow down") {
			t.Errorf("%d, Retry-After %q: %s", resp.StatusCode, resp.Header.Get("Retry-After"), out)
		}
		return
	}
	t.Error("200 requests of one key, and none was too many")
}

// TestASessionOfTheDashboardCountsUnderItsKey: whoever signs in gets no second
// allowance.
func TestASessionOfTheDashboardCountsUnderItsKey(t *testing.T) {
	w := newWorldWith(t, func(c *server.Config) { c.RatePerKey = 1 })
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar}
	resp, err := browser.PostForm(w.url+"/login", url.Values{"key": {w.key}})
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	for range 200 {
		resp, err := browser.Get(w.url + "/agents")
		if err != nil {
			t.Fatal(err)
		}
		out, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		switch {
		case resp.StatusCode == http.StatusTooManyRequests && resp.Header.Get("Retry-After") != "":
			return
		case resp.StatusCode != http.StatusOK || resp.Request.URL.Path != "/agents":
			t.Fatalf("%s: %d %.300s", resp.Request.URL, resp.StatusCode, out)
		}
	}
	t.Error("200 pages of one key, and none was too many")
}

func TestLimitsOfARequest(t *testing.T) {
	w := newWorld(t, later)
	if status, out := w.call("GET", "/v1/agents?x="+strings.Repeat("y", 9<<10), nil); status != http.StatusRequestURITooLong {
		t.Errorf("a long URL: %d %s", status, out)
	}
	for _, c := range []struct {
		fields, size, status int
	}{{50, 10, 200}, {200, 10, 431}, {2, 80 << 10, 431}} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", w.url+"/v1/agents", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+w.key)
		for i := range c.fields {
			req.Header.Set(fmt.Sprint("X-", i), strings.Repeat("v", c.size))
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != c.status {
			t.Errorf("%d fields of %d bytes: %d", c.fields, c.size, resp.StatusCode)
		}
	}
}

func TestWhoIsBelievedAboutWhoAsks(t *testing.T) {
	for name, c := range map[string]struct {
		trusted []netip.Prefix
		want    string
	}{
		"nobody":    {nil, "127.0.0.1"},
		"the proxy": {[]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, "192.0.2.7"},
	} {
		w := newWorldWith(t, func(cfg *server.Config) { cfg.TrustedProxies = c.trusted })
		req, err := http.NewRequestWithContext(t.Context(), "POST", w.url+"/v1/agents", strings.NewReader(`{"name":"Ava"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+w.key)
		req.Header.Set("X-Forwarded-For", "10.0.0.9, 192.0.2.7")
		resp, err := client.Do(req)
		if err != nil || resp.StatusCode != 200 {
			t.Fatal(resp, err)
		}
		_ = resp.Body.Close()
		var log struct {
			Data []struct{ Action, Address string }
		}
		w.ok("GET", "/v1/audit?limit=1", nil, &log)
		if log.Data[0].Action != "agent.create" || log.Data[0].Address != c.want {
			t.Errorf("%s is believed: %+v", name, log)
		}
	}
}

// TestThroughAProxy: requests go through the proxy that was named; what the URL
// itself says is judged still.
func TestThroughAProxy(t *testing.T) {
	asked := make(chan string, 10)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Method + " " + r.RequestURI
		if r.Method == http.MethodConnect {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		fmt.Fprint(w, "ok") // in the endpoint's place
	}))
	t.Cleanup(proxy.Close)
	at, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorldWith(t, func(c *server.Config) { c.Proxy, c.Policy = at, netguard.Policy{AllowHTTP: true} })
	w.agent("+12025550101")
	for endpoint, want := range map[string]struct{ request, status string }{
		"http://hooks.example/in":  {"POST http://hooks.example/in", "success"},
		"https://hooks.example/in": {"CONNECT hooks.example:443", "failed"},
	} {
		w.set("", endpoint)
		w.untilStatus(w.send(customer, "+12025550101", "hi").DeliveryID, want.status)
		if got := <-asked; got != want.request {
			t.Errorf("the proxy was asked for %q, want %q", got, want.request)
		}
	}
	if status, out := w.call("POST", "/v1/webhooks", object{"url": "http://169.254.169.254/"}); status != http.StatusUnprocessableEntity {
		t.Errorf("%d %s", status, out)
	}
}

// certificate writes a new certificate for 127.0.0.1 and its key.
func certificate(t *testing.T, certFile, keyFile string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for path, b := range map[string]*pem.Block{keyFile: {Type: "PRIVATE KEY", Bytes: keyDER}, certFile: {Type: "CERTIFICATE", Bytes: der}} {
		if err := os.WriteFile(path+".new", pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return pool
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	pool := certificate(t, certFile, keyFile)
	w := newWorldWith(t, func(c *server.Config) { c.TLSCert, c.TLSKey = certFile, keyFile })
	ask := func(pool *x509.CertPool) (string, error) {
		c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}}
		defer c.CloseIdleConnections()
		resp, err := c.Get(w.url + "/readyz")
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		return resp.Proto + " " + strconv.Itoa(resp.StatusCode), nil
	}
	if got, err := ask(pool); err != nil || got != "HTTP/2.0 200" || !strings.HasPrefix(w.url, "https://") {
		t.Error(w.url, got, err)
	}
	renewed := certificate(t, certFile, keyFile)
	if got, err := ask(renewed); err != nil || got != "HTTP/2.0 200" {
		t.Error("renewed:", got, err)
	}
	if _, err := ask(pool); err == nil {
		t.Error("the old certificate is served still")
	}
	if _, err := server.Start(t.Context(), server.Config{
		Listen: "127.0.0.1:0", Database: "sqlite:" + filepath.Join(dir, "x.db"), Doors: server.Doors{TLSCert: certFile},
	}); err == nil || !strings.Contains(err.Error(), "belong together") {
		t.Error(err)
	}
}
