package world

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Mood is how a receiver answers.
type Mood string

// The moods of a receiver.
const (
	Well     Mood = "well"
	Refuses  Mood = "refuses"  // closes the connection before anything is said
	Hangs    Mood = "hangs"    // before the headers
	Drips    Mood = "drips"    // a byte a second
	Endless  Mood = "endless"  // 200, and a body without end
	Resets   Mood = "resets"   // in the middle of the answer
	Headers  Mood = "headers"  // 100,000 of them
	Redirect Mood = "redirect" // to itself
	BadTLS   Mood = "bad tls"
	BadCert  Mood = "wrong certificate"
	Fails    Mood = "500"
	TooMany  Mood = "429" // with Retry-After
	Gone     Mood = "410"
	TooLate  Mood = "too late" // 200 after the timeout
)

// Moods are all but Well.
var Moods = []Mood{Refuses, Hangs, Drips, Endless, Resets, Headers, Redirect, BadTLS, BadCert, Fails, TooMany, Gone, TooLate}

// Timeout is the timeout of the webhooks in such a world, the shortest there is.
const Timeout = 5 * time.Second

// Request is one that a receiver got.
type Request struct {
	// At is when it was read.
	At time.Time
	// Delivery is X-Webhook-ID, Signature X-Webhook-Signature.
	Delivery, Signature string
	// Path names the webhook: an update of it changes only the query.
	Path string
	// Text is the message's, Body all of it.
	Text, Body string
	Mood       Mood
}

// Receiver is an endpoint for any number of webhooks.
type Receiver struct {
	// Host is what a URL has between scheme and path, "r1.torture.test:1234".
	Scheme, Host string
	record       *Record
	server       *http.Server
	mood         atomic.Value // Mood
	always       atomic.Bool
}

// NewReceiver starts a receiver that puts what it gets on a record. name is the
// host name it goes by; ca is nil for http.
func NewReceiver(name string, record *Record, ca *Authority) (*Receiver, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return nil, err
	}
	r := &Receiver{Scheme: "http", Host: net.JoinHostPort(name, port), record: record}
	r.mood.Store(Well)
	r.server = &http.Server{Handler: r, ErrorLog: log.New(io.Discard, "", 0)}
	l = &moody{Listener: l, r: r}
	if ca != nil {
		r.Scheme = "https"
		good, err := ca.certificate(name)
		if err != nil {
			return nil, err
		}
		wrong, err := ca.certificate("somebody.else.test")
		if err != nil {
			return nil, err
		}
		l = tls.NewListener(l, &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			switch r.pick() {
			case BadCert:
				record.met(BadCert)
				return wrong, nil
			case BadTLS:
				record.met(BadTLS)
				return nil, fmt.Errorf("no certificate today")
			}
			return good, nil
		}})
	}
	go func() { _ = r.server.Serve(l) }()
	return r, nil
}

// Close stops it.
func (r *Receiver) Close() { _ = r.server.Close() }

// URL is where a webhook of that path is.
func (r *Receiver) URL(path string) string { return r.Scheme + "://" + r.Host + path }

// Turn changes its mood, for every request or for each with one chance in two.
func (r *Receiver) Turn(m Mood, always bool) {
	r.mood.Store(m)
	r.always.Store(always)
}

func (r *Receiver) pick() Mood {
	m := r.mood.Load().(Mood)
	if r.always.Load() || mathrand.IntN(2) == 0 {
		return m
	}
	return Well
}

// moody closes connections while its receiver refuses.
type moody struct {
	net.Listener
	r *Receiver
}

func (l *moody) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil || l.r.pick() != Refuses {
			return c, err
		}
		l.r.record.met(Refuses)
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	}
}

func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // it did not arrive whole
	}
	var said struct{ Data struct{ Message string } }
	_ = json.Unmarshal(body, &said)
	mood := r.pick()
	switch mood {
	case Refuses, BadTLS, BadCert: // too late for that
		mood = Well
	}
	r.record.Received(Request{
		At: time.Now(), Delivery: req.Header.Get("X-Webhook-ID"), Signature: req.Header.Get("X-Webhook-Signature"),
		Path: req.URL.Path, Text: said.Data.Message, Body: string(body), Mood: mood,
	})
	answer(w, req, mood)
}

func answer(w http.ResponseWriter, req *http.Request, mood Mood) {
	pause := func(d time.Duration) bool {
		select {
		case <-time.After(d):
			return true
		case <-req.Context().Done():
			return false
		}
	}
	switch mood {
	case Hangs:
		pause(2 * Timeout)
		reset(w, "")
	case Drips:
		for i := range 20 {
			_, err := fmt.Fprint(w, i%10)
			w.(http.Flusher).Flush()
			if err != nil || !pause(time.Second) {
				return
			}
		}
	case Endless:
		block := make([]byte, 32<<10)
		for {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	case Resets:
		reset(w, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of what")
	case Headers:
		for i := range 100_000 {
			w.Header().Set(fmt.Sprint("X-Header-", i), "v")
		}
	case Redirect:
		http.Redirect(w, req, req.URL.String(), http.StatusTemporaryRedirect)
	case Fails:
		w.WriteHeader(http.StatusInternalServerError)
	case TooMany:
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
	case Gone:
		w.WriteHeader(http.StatusGone)
	case TooLate:
		pause(Timeout + 500*time.Millisecond)
		fmt.Fprint(w, "ok")
	default:
		fmt.Fprint(w, "ok")
	}
}

// reset says something and breaks the connection.
func reset(w http.ResponseWriter, say string) {
	c, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	_, _ = io.WriteString(c, say)
	tcp, ok := c.(*net.TCPConn)
	if t, isTLS := c.(*tls.Conn); isTLS {
		tcp, ok = t.NetConn().(*net.TCPConn)
	}
	if ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

// Authority signs the certificates of receivers.
type Authority struct {
	// PEM is its own certificate, for SSL_CERT_FILE.
	PEM  []byte
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	last int64
	mu   sync.Mutex
}

// NewAuthority makes one. Its certificates are good whatever the clock does.
func NewAuthority() (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	a := &Authority{key: key}
	a.cert = a.template("Authority of the tests")
	a.cert.IsCA, a.cert.KeyUsage = true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, a.cert, a.cert, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	a.PEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a, nil
}

func (a *Authority) template(name string) *x509.Certificate {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last++
	return &x509.Certificate{
		SerialNumber: big.NewInt(a.last), Subject: pkix.Name{CommonName: name}, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
	}
}

func (a *Authority) certificate(name string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t := a.template(name)
	t.DNSNames, t.KeyUsage, t.ExtKeyUsage = []string{name}, x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
