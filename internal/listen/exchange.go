package listen

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
)

// maxAnswer bounds the body of an answer, in bytes. Of an ordinary delivery's
// 4 KiB are kept; this is room for the lines of a turn.
const maxAnswer = 1 << 20

// errTooLong ends an answer that goes on and on.
var errTooLong = errors.New("the local server's answer is longer than 1 MiB: answer with less")

// exchange is one request on its way, at the server's end, and the answer as it
// comes in.
type exchange struct {
	id   string
	ctx  context.Context // of who waits for the answer
	gone <-chan struct{} // closed when the session ends

	mu      sync.Mutex
	status  int // 0 until the head has come
	header  http.Header
	body    []byte // came, and was not read yet
	length  int    // of all that came
	done    bool
	err     error
	changed chan struct{} // holds one signal
}

func newExchange(ctx context.Context, id string, gone <-chan struct{}) *exchange {
	return &exchange{id: id, ctx: ctx, gone: gone, changed: make(chan struct{}, 1)}
}

// take takes a frame of the answer.
func (e *exchange) take(f frame) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.done:
		return
	case f.Kind == kindHead:
		e.status, e.header = f.Status, f.Header
	case f.Kind == kindBody:
		if e.length += len(f.Body); e.length > maxAnswer {
			e.done, e.err = true, errTooLong
		} else {
			e.body = append(e.body, f.Body...)
		}
	case f.Kind == kindEnd:
		e.done = true
		if f.Error != "" {
			e.err = errors.New(f.Error)
		}
	}
	select {
	case e.changed <- struct{}{}:
	default:
	}
}

// wait waits until ready says, under mu, that there is something.
func (e *exchange) wait(ready func() bool) error {
	for {
		e.mu.Lock()
		ok := ready()
		e.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-e.changed:
		case <-e.ctx.Done():
			return e.ctx.Err()
		case <-e.gone:
			return errGone
		}
	}
}

// head waits for the status and header.
func (e *exchange) head() (int, http.Header, error) {
	if err := e.wait(func() bool { return e.status != 0 || e.done }); err != nil {
		return 0, nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.status == 0 {
		if e.err == nil {
			e.err = io.ErrUnexpectedEOF
		}
		return 0, nil, e.err
	}
	return e.status, e.header, nil
}

// Read reads the body as it comes.
func (e *exchange) Read(p []byte) (int, error) {
	if err := e.wait(func() bool { return len(e.body) > 0 || e.done }); err != nil {
		return 0, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.body) == 0 {
		if e.err != nil {
			return 0, e.err
		}
		return 0, io.EOF
	}
	n := copy(p, e.body)
	e.body = e.body[n:]
	return n, nil
}

// complete says that nothing more will come.
func (e *exchange) complete() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.done
}

// body is an exchange's answer as a response's body; closing it lets go of the rest.
type body struct {
	*exchange
	close func()
}

func (b *body) Close() error {
	b.close()
	return nil
}
