package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// sink is the receivers: every path is an endpoint.
type sink struct {
	url     string
	addr    string
	server  *http.Server
	got     atomic.Int64
	hanging atomic.Bool // paths that begin with /hang never answer
	first   atomic.Int64
	release chan struct{}

	mu    sync.Mutex
	waits map[string][]time.Duration // by group; nil while nobody measures
	last  map[string]int             // by conversation; nil while nobody looks at order
	wrong int                        // arrivals out of their conversation's order
}

// newSink listens on addr, "127.0.0.1:0" for any port.
func newSink(addr string) (*sink, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	s := &sink{addr: l.Addr().String(), url: "http://" + l.Addr().String(), release: make(chan struct{})}
	s.server = &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	go func() { _ = s.server.Serve(l) }()
	return s, nil
}

func (s *sink) close() {
	close(s.release)
	_ = s.server.Close()
}

// stamp is what the text of a measured message says: when its request was due,
// which group it is measured in, and which of its conversation's it is.
type stamp struct {
	at           time.Time
	group        string
	conversation string
	n            int
}

func (s stamp) String() string {
	return fmt.Sprintf("%d %s %s %d", s.at.UnixNano(), s.group, s.conversation, s.n)
}

func readStamp(body []byte) (s stamp, ok bool) {
	_, rest, ok := bytes.Cut(body, []byte(`"message":"`))
	text, _, _ := bytes.Cut(rest, []byte(`"`))
	f := strings.Fields(string(text))
	if !ok || len(f) != 4 {
		return s, false
	}
	at, _ := strconv.ParseInt(f[0], 10, 64)
	s.n, _ = strconv.Atoi(f[3])
	s.at, s.group, s.conversation = time.Unix(0, at), f[1], f[2]
	return s, true
}

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	buf := buffers.Get().(*bytes.Buffer)
	defer buffers.Put(buf)
	buf.Reset()
	if _, err := io.Copy(buf, r.Body); err != nil {
		return
	}
	if s.hanging.Load() && strings.HasPrefix(r.URL.Path, "/hang") {
		select {
		case <-r.Context().Done():
		case <-s.release:
		}
		return
	}
	s.note(buf.Bytes(), now)
	s.first.CompareAndSwap(0, now.UnixNano())
	s.got.Add(1)
}

func (s *sink) note(body []byte, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waits == nil && s.last == nil {
		return
	}
	st, ok := readStamp(body)
	if !ok {
		return
	}
	if s.waits != nil {
		s.waits[st.group] = append(s.waits[st.group], now.Sub(st.at))
	}
	if s.last != nil {
		if st.n <= s.last[st.conversation] {
			s.wrong++
		}
		s.last[st.conversation] = st.n
	}
}

// measure makes the sink keep the waits of what arrives from now on.
func (s *sink) measure() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waits = map[string][]time.Duration{}
}

// waited ends measuring, and returns the waits of a group.
func (s *sink) waited(group string) waits {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.waits[group]
	s.waits = nil
	slices.Sort(w)
	return w
}

// watchOrder makes the sink look at the order within conversations.
func (s *sink) watchOrder() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = map[string]int{}
}

// disorder is how many arrivals were out of order.
func (s *sink) disorder() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wrong
}

// waits are sorted durations.
type waits []time.Duration

func (w waits) quantile(q float64) time.Duration {
	if len(w) == 0 {
		return 0
	}
	return w[min(len(w)-1, int(q*float64(len(w))))]
}

func (w waits) String() string {
	return fmt.Sprintf("p50 %s, p99 %s", ms(w.quantile(0.5)), ms(w.quantile(0.99)))
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond)) }
