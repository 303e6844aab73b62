// Package listen is both ends of `switchhook listen`: one outgoing connection over
// which a developer's machine, wherever it is, takes an agent's deliveries.
//
// The Hub is the server's end. Whoever connects gets a webhook row of its own,
// which counts as the agent's for as long as the connection lives, and shortly
// after, so that a lost one can be taken up again. The Hub is also the
// http.RoundTripper that the dispatcher sends such deliveries with: to everything
// else they are deliveries like any other. The Client is the other end.
//
//	dispatcher ─ RoundTrip ─▶ Hub ═ link, one WebSocket ═▶ Client ─ POST ─▶ local server
//	recorded   ◀─ response ─      ◀═ head, body, … end ═         ◀─ answer ─
//
// Invariants: within a session each frame takes effect once and in order, however
// often the connection is cut (link.go); nothing new is started while there is no
// connection; a session takes the deliveries of its own webhook row and no other.
// The package must never decide where an event goes.
package listen

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// protocol is the version both ends must speak.
const protocol = 1

// maxFrame bounds one message: the largest body of a delivery (an event of 1 MiB
// with 50 messages of history fits well), in base64, with its headers.
const maxFrame = 64 << 20

// hello is the first message of a connection, from the client.
type hello struct {
	Protocol int `json:"protocol"`
	// Session and Received take up an earlier session, after the last frame that
	// was received in it.
	Session  string `json:"session,omitempty"`
	Received uint64 `json:"received,omitempty"`
	Settings
}

// ready answers a hello. Where Error is set the server closes.
type ready struct {
	Session  string `json:"session,omitempty"`
	Received uint64 `json:"received,omitempty"`
	// Resumed says that the session asked for goes on; otherwise it is a new one.
	Resumed   bool   `json:"resumed,omitempty"`
	WebhookID string `json:"webhookId,omitempty"`
	Secret    string `json:"secret,omitempty"`
	Error     string `json:"error,omitempty"`
}

// Settings are what who listens chooses.
type Settings struct {
	// Forward is where deliveries go in the end, to be shown.
	Forward string `json:"forward"`
	// Secret signs; "" makes one.
	Secret string `json:"secret,omitempty"`
	// ContextLimit and TimeoutSeconds are those of the agent's own webhook, or the
	// defaults, where nil.
	ContextLimit   *int `json:"contextLimit,omitempty"`
	TimeoutSeconds *int `json:"timeout,omitempty"`
}

// kind says what a frame is.
type kind string

const (
	kindRequest kind = "request" // to the client: deliver this
	kindCancel  kind = "cancel"  // to the client: nobody waits for the answer any more
	kindGone    kind = "gone"    // to the client: the session has ended
	kindHead    kind = "head"    // to the server: status and header of an answer
	kindBody    kind = "body"    // to the server: a part of its body
	kindEnd     kind = "end"     // to the server: it is complete, or failed
	kindBye     kind = "bye"     // to the server: end the session
	kindAck     kind = "ack"     // either way: only what was received
)

// frame is one message after hello and ready.
type frame struct {
	Kind kind `json:"kind"`
	// Seq counts from 1 in each direction of a session; 0 is not counted.
	Seq uint64 `json:"seq,omitempty"`
	// Ack is the last Seq that was received.
	Ack uint64 `json:"ack,omitempty"`
	// Exchange says which request it belongs to.
	Exchange string      `json:"exchange,omitempty"`
	Header   http.Header `json:"header,omitempty"`
	Status   int         `json:"status,omitempty"`
	Body     []byte      `json:"body,omitempty"`
	Error    string      `json:"error,omitempty"`
}

// link carries frames both ways, each once and in order, over one connection
// after another. What was not acknowledged over one is sent again over the next.
type link struct {
	mu       sync.Mutex
	out      []frame // not acknowledged
	written  int     // of out, over the present connection
	sent     uint64  // the last number given
	received uint64  // the last number taken
	owed     bool    // an acknowledgement
	wake     chan struct{}
}

func newLink() *link { return &link{wake: make(chan struct{}, 1)} }

// send queues a frame. It never waits: whoever sends bounds how much.
func (l *link) send(f frame) {
	l.mu.Lock()
	l.sent++
	f.Seq = l.sent
	l.out = append(l.out, f)
	l.mu.Unlock()
	l.nudge()
}

func (l *link) nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// last is the number of the last frame that was received.
func (l *link) last() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.received
}

// acknowledged drops what the other end has.
func (l *link) acknowledged(seq uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for n < len(l.out) && l.out[n].Seq <= seq {
		n++
	}
	l.out = l.out[n:]
	l.written = max(0, l.written-n)
	if len(l.out) == 0 {
		l.out = nil
	}
}

// next takes what is to be written; ok is false where nothing is.
func (l *link) next() (f frame, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.written < len(l.out):
		f = l.out[l.written]
		l.written++
	case l.owed:
		f = frame{Kind: kindAck}
	default:
		return f, false
	}
	f.Ack, l.owed = l.received, false
	return f, true
}

// take notes a frame that came, and says whether it is new.
func (l *link) take(f frame) (bool, error) {
	l.acknowledged(f.Ack)
	if f.Seq == 0 {
		return false, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.owed = true
	switch {
	case f.Seq <= l.received:
		return false, nil
	case f.Seq > l.received+1:
		return false, fmt.Errorf("frame %d came after frame %d", f.Seq, l.received)
	}
	l.received++
	return true, nil
}

// run carries frames over a connection until it fails or ctx ends; peer is what
// the other end has received in earlier ones. handle is called for each new frame,
// by one goroutine, and must not wait. Only one run may be under way at a time.
func (l *link) run(ctx context.Context, conn *websocket.Conn, peer uint64, ping time.Duration, handle func(frame)) error {
	l.acknowledged(peer)
	l.mu.Lock()
	l.written = 0
	l.mu.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var parts sync.WaitGroup
	parts.Go(func() { cancel(l.write(ctx, conn)) })
	parts.Go(func() { cancel(keepAlive(ctx, conn, ping)) })
	cancel(l.read(ctx, conn, handle))
	parts.Wait()
	return context.Cause(ctx)
}

func (l *link) write(ctx context.Context, conn *websocket.Conn) error {
	for {
		f, ok := l.next()
		if !ok {
			select {
			case <-l.wake:
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err := writeJSON(ctx, conn, f); err != nil {
			return err
		}
	}
}

func (l *link) read(ctx context.Context, conn *websocket.Conn, handle func(frame)) error {
	for {
		var f frame
		if err := readJSON(ctx, conn, &f); err != nil {
			return err
		}
		fresh, err := l.take(f)
		if err != nil {
			return err
		}
		if fresh {
			handle(f)
		}
		l.nudge()
	}
}

// keepAlive finds out that the other end is gone where the network does not say so.
func keepAlive(ctx context.Context, conn *websocket.Conn, every time.Duration) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		pingCtx, cancel := context.WithTimeout(ctx, every)
		err := conn.Ping(pingCtx)
		cancel()
		if err != nil {
			return errors.New("the other end no longer answers")
		}
	}
}

func writeJSON(ctx context.Context, conn *websocket.Conn, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return conn.Write(ctx, websocket.MessageText, b)
}

func readJSON(ctx context.Context, conn *websocket.Conn, into any) error {
	_, b, err := conn.Read(ctx)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}
