package deliver

import (
	"context"
	"crypto/tls"
	"net/http/httptrace"
	"sync"
	"time"

	"switchhook.dev/switchhook/internal/phone"
)

// stopwatch notes when the steps of an attempt began and ended. The transport
// connects in a goroutine of its own, which may go on when the attempt is over:
// hence the lock.
type stopwatch struct {
	mu                      sync.Mutex
	dns, connect, handshake span
	firstByte               time.Time
}

type span struct{ began, ended time.Time }

func (s span) length() time.Duration {
	if s.ended.IsZero() {
		return 0 // it did not happen, or failed
	}
	return s.ended.Sub(s.began)
}

// trace returns a context whose request is watched. A connection to several
// addresses of a host counts from the first try to the first success.
func (w *stopwatch) trace(ctx context.Context) context.Context {
	begin := func(s *span) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if s.began.IsZero() {
			s.began = time.Now()
		}
	}
	end := func(s *span, err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if err == nil && s.ended.IsZero() {
			s.ended = time.Now()
		}
	}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		DNSStart:          func(httptrace.DNSStartInfo) { begin(&w.dns) },
		DNSDone:           func(i httptrace.DNSDoneInfo) { end(&w.dns, i.Err) },
		ConnectStart:      func(string, string) { begin(&w.connect) },
		ConnectDone:       func(_, _ string, err error) { end(&w.connect, err) },
		TLSHandshakeStart: func() { begin(&w.handshake) },
		TLSHandshakeDone:  func(_ tls.ConnectionState, err error) { end(&w.handshake, err) },
		GotFirstResponseByte: func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.firstByte = time.Now()
		},
	})
}

// timing is what was noted of an attempt that began at start.
func (w *stopwatch) timing(start time.Time) phone.Timing {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := phone.Timing{DNS: w.dns.length(), Connect: w.connect.length(), TLS: w.handshake.length()}
	if !w.firstByte.IsZero() {
		t.FirstByte = w.firstByte.Sub(start)
	}
	return t
}
