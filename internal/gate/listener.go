package gate

import (
	"net"
	"time"

	"golang.org/x/net/netutil"
)

// WriteTimeout is how long a client may take to read what one write sends it. An
// answer that flows may take as long as it likes.
const WriteTimeout = 30 * time.Second

// Listen bounds the connections of a listener: at most so many at a time, further
// ones wait; and a write to one that does not read fails after WriteTimeout.
func Listen(l net.Listener, connections int) net.Listener {
	return listener{netutil.LimitListener(l, connections)}
}

type listener struct{ net.Listener }

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return conn{c}, nil
}

type conn struct{ net.Conn }

func (c conn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(WriteTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}
