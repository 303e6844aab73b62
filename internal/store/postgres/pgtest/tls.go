package pgtest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Authority issues certificates, for the length of a test.
type Authority struct {
	// File holds its own certificate, as sslrootcert wants it.
	File string

	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes an authority that nobody knows.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{dir: t.TempDir()}
	a.cert = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "an authority for tests"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	var certificate []byte
	certificate, _, a.key = issue(t, a.cert, nil)
	a.File = filepath.Join(a.dir, "ca.pem")
	write(t, a.File, certificate)
	return a
}

// Issue makes a certificate for a name (a host's, its address, or a role's) until a
// time, and returns the files of it and of its key.
func (a *Authority) Issue(t testing.TB, name string, until time.Time) (certificate, key string) {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: until.Add(-48 * time.Hour), NotAfter: until,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	c, k, _ := issue(t, template, a)
	file := filepath.Join(a.dir, template.SerialNumber.String())
	write(t, file+".pem", c)
	write(t, file+".key", k)
	return file + ".pem", file + ".key"
}

// issue signs a certificate: by itself where there is no authority yet.
func issue(t testing.TB, template *x509.Certificate, by *Authority) (certificate, key []byte, private *ecdsa.PrivateKey) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent, signer := template, private
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &private.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), private
}

func write(t testing.TB, file string, content []byte) {
	t.Helper()
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// ServeTLS has the server speak TLS too, from the next connection on, with a
// certificate of Issue; clients show theirs by the authority.
func (c *Cluster) ServeTLS(t testing.TB, a *Authority, certificate, key string) {
	t.Helper()
	for setting, file := range map[string]string{"ssl_cert_file": certificate, "ssl_key_file": key, "ssl_ca_file": a.File} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		copied := filepath.Join(c.dir, filepath.Base(file))
		write(t, copied, content)
		if c.uid != nil {
			if err := os.Chown(copied, int(c.uid.Uid), int(c.uid.Gid)); err != nil {
				t.Fatal(err)
			}
		}
		c.Exec(t, "ALTER SYSTEM SET "+setting+" = '"+copied+"'")
	}
	c.Exec(t, "ALTER SYSTEM SET ssl = 'on'")
	// A server that has not taken it up yet serves the certificate before, or none.
	want, err := os.ReadFile(certificate)
	if err != nil {
		t.Fatal(err)
	}
	c.reload(t, func() bool {
		cfg, err := pgx.ParseConfig(strings.Replace(c.URL("postgres"), "sslmode=disable", "sslmode=require", 1))
		if err != nil {
			t.Fatal(err)
		}
		serves := false
		cfg.TLSConfig.VerifyPeerCertificate = func(raw [][]byte, _ [][]*x509.Certificate) error {
			block, _ := pem.Decode(want)
			serves = string(raw[0]) == string(block.Bytes)
			return nil
		}
		conn, err := pgx.ConnectConfig(context.Background(), cfg)
		if err == nil {
			_ = conn.Close(context.Background())
		}
		return err == nil && serves
	})
}

// reload has the server read its files again, and waits until done says that it has.
func (c *Cluster) reload(t testing.TB, done func() bool) {
	t.Helper()
	c.Exec(t, "SELECT pg_reload_conf()")
	for deadline := time.Now().Add(patience); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the server does not take up what was changed: ", c.Log())
		}
	}
}
