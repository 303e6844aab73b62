package deliver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"switchhook.dev/switchhook/internal/netguard"
)

// explain says in one sentence why an attempt got no answer, and how to mend it.
func explain(err error, host string, timeout time.Duration) string {
	var (
		dns      *net.DNSError
		address  *netguard.AddressError
		port     *netguard.PortError
		unknown  x509.UnknownAuthorityError
		hostname x509.HostnameError
		invalid  x509.CertificateInvalidError
		record   tls.RecordHeaderError
	)
	peer := dialled(err, host)
	switch {
	case errors.As(err, &address):
		return address.Error()
	case errors.As(err, &port):
		return port.Error()
	case errors.Is(err, context.DeadlineExceeded) || isTimeout(err):
		return fmt.Sprintf("timeout: %s gave no complete answer within %s: answer faster, or raise the webhook's timeout", host, timeout)
	case errors.Is(err, context.Canceled):
		return "canceled: the server was stopped during the attempt"
	case errors.As(err, &dns) && dns.IsNotFound:
		return fmt.Sprintf("no such host: %s has no address: check the spelling of the webhook's URL", dns.Name)
	case errors.As(err, &dns):
		return fmt.Sprintf("name lookup of %s failed: check the server's DNS", dns.Name)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("connection refused by %s: is the receiver running?", peer)
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return fmt.Sprintf("%s cannot be reached from this server: check its network", peer)
	case errors.As(err, &unknown):
		return fmt.Sprintf("the certificate of %s is signed by an unknown authority: install one from a public authority, with its chain", host)
	case errors.As(err, &hostname):
		return fmt.Sprintf("the certificate of %s is for another name: install one for this host", host)
	case errors.As(err, &invalid):
		return fmt.Sprintf("the certificate of %s is not valid (%s): renew it", host, strings.TrimPrefix(invalid.Error(), "x509: "))
	case errors.As(err, &record):
		return fmt.Sprintf("%s does not speak TLS on this port: use http in the URL, or serve TLS there", host)
	case errors.Is(err, syscall.ECONNRESET):
		return fmt.Sprintf("connection reset by %s before its answer was complete: look into the receiver's log", host)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Sprintf("%s closed the connection before its answer was complete: look into the receiver's log", host)
	}
	return "the attempt failed: " + lastPart(err)
}

func isTimeout(err error) bool {
	t, ok := errors.AsType[net.Error](err)
	return ok && t.Timeout()
}

// dialled is the address that was really dialled, where the error tells.
func dialled(err error, host string) string {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" && op.Addr != nil {
		return op.Addr.String()
	}
	return host
}

// lastPart drops the method and URL that net/http puts before an error's text.
func lastPart(err error) string {
	for u := errors.Unwrap(err); u != nil; u = errors.Unwrap(u) {
		err = u
	}
	return err.Error()
}
