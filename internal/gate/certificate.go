package gate

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
)

// Certificate is a certificate and its key in two files, read anew when either
// changes. Its methods are safe for concurrent use.
type Certificate struct {
	certFile, keyFile string
	logger            *slog.Logger

	mu   sync.Mutex
	cert *tls.Certificate
	seen [2]os.FileInfo // the files as they were last read
}

// NewCertificate reads a certificate, with its chain, and its key, in PEM.
func NewCertificate(certFile, keyFile string, logger *slog.Logger) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile, logger: logger}
	return c, c.Reload()
}

// Config is a TLS configuration that serves the certificate: TLS 1.2 at least.
func (c *Certificate) Config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.get(), nil }}
}

// Reload reads the files now. Where that fails the certificate stays as it was.
func (c *Certificate) Reload() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.load()
}

// get returns the certificate of a handshake.
func (c *Certificate) get() *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.stat(); c.changed(now) {
		if err := c.load(); err != nil {
			c.seen = now // one word for each change
			c.logger.Error("the changed certificate cannot be used: going on with the one before", "error", err)
		}
	}
	return c.cert
}

func (c *Certificate) stat() (now [2]os.FileInfo) {
	for i, path := range []string{c.certFile, c.keyFile} {
		now[i], _ = os.Stat(path)
	}
	return now
}

func (c *Certificate) changed(now [2]os.FileInfo) bool {
	for i, is := range now {
		was := c.seen[i]
		switch {
		case is == nil: // it is being replaced, or gone: nothing to read
			return false
		case was == nil || !os.SameFile(was, is) || !was.ModTime().Equal(is.ModTime()) || was.Size() != is.Size():
			return true
		}
	}
	return false
}

func (c *Certificate) load() error {
	seen := c.stat()
	cert, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
			return fmt.Errorf("--tls-cert and --tls-key: %w", err)
		}
		return fmt.Errorf("--tls-cert %s and --tls-key %s are no certificate and its key, in PEM: %w", c.certFile, c.keyFile, err)
	}
	if c.cert != nil {
		c.logger.Info("the certificate was read anew", "file", c.certFile, "until", cert.Leaf.NotAfter)
	}
	c.cert, c.seen = &cert, seen
	return nil
}
