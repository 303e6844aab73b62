package voice

import (
	"compress/flate"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"switchhook.dev/switchhook/internal/phone"
)

// End says how a turn ended. The texts are those of the metrics' label.
type End string

// The ends of a turn.
const (
	Answered    End = "answered"    // a closing line, or the end of a body that said something
	Silent      End = "silent"      // a 2xx that says nothing: no object in it
	Status      End = "status"      // no 2xx
	Malformed   End = "malformed"   // a line that is no object, or too long; an unknown encoding
	TimedOut    End = "timeout"     // the first or a further line did not come in time
	CutOff      End = "cut_off"     // the connection ended within the answer
	Unreachable End = "unreachable" // no answer at all
	HungUp      End = "hung_up"     // the caller went away
	Superseded  End = "superseded"  // another turn of the call began
	Stopped     End = "stopped"     // the server was stopped
	Unasked     End = "unasked"     // there was nobody to ask
)

// Ends are all of them.
var Ends = []End{Answered, Silent, Status, Malformed, TimedOut, CutOff, Unreachable, HungUp, Superseded, Stopped, Unasked}

// Why a turn's context is canceled. A context canceled by anything else counts as
// HungUp.
var (
	ErrHungUp     = errors.New("the caller hung up before the answer was complete")
	ErrSuperseded = errors.New("superseded: another turn of the call began before the answer was complete")
	ErrStopped    = errors.New("the server was stopped before the answer was complete")

	errTimedOut = errors.New("timed out")
)

// Exchange is one question to one webhook.
type Exchange interface {
	// Do sends it, and returns the answer once its header came.
	Do(ctx context.Context) (*http.Response, error)
	// Explain says in a sentence why there is no answer, or not all of one.
	Explain(err error) string
}

// Outcome is what came of a turn.
type Outcome struct {
	End End
	// Note says what was wrong, for the log; "" for nothing. With Answered and
	// Silent it is no fault.
	Note string
	// HTTPStatus is 0 where there was no answer.
	HTTPStatus int
	// Kept is the first 4 KiB of the answer's body, decoded.
	Kept string
	// Reply is what was passed on.
	Reply Reply
	// FirstLine is how long the first line took from the question on; 0 for none.
	FirstLine time.Duration
}

// Failed says whether the turn failed: a caller is then told the Note.
func (o *Outcome) Failed() bool { return o.End != Answered && o.End != Silent }

// Delivery is the state that the turn's delivery ends in.
func (o *Outcome) Delivery() phone.DeliveryStatus {
	if o.Failed() {
		return phone.Failed
	}
	return phone.Success
}

// Fault is the Note of a turn that failed.
func (o *Outcome) Fault() string {
	if o.Failed() {
		return o.Note
	}
	return ""
}

const (
	// MaxTurn bounds a whole turn, however steadily lines come.
	MaxTurn = 10 * time.Minute
	// keptBody is how much of an answer is kept, from the contract.
	keptBody = 4 << 10
	// drained and drainTime bound what is still read of an answer after its closing
	// line, so that its connection can be used again.
	drained   = 64 << 10
	drainTime = time.Second
)

// Ask makes one exchange and passes each line to say as soon as it is complete. An
// error of say means that the caller is gone. timeout bounds the wait for the
// first line, and for each further one.
func Ask(ctx context.Context, x Exchange, timeout time.Duration, say func(Line) error) Outcome {
	t := turn{x: x, timeout: timeout, say: say, start: time.Now()}
	ctx, t.cancel = context.WithCancelCause(ctx)
	t.ctx = ctx
	t.clock = time.AfterFunc(timeout, func() { t.cancel(errTimedOut) })
	defer t.clock.Stop()
	if err := context.Cause(ctx); err != nil {
		t.interrupted(err)
		t.cancel(nil)
		return t.out
	}
	resp, err := x.Do(ctx)
	if err != nil {
		t.gone(Unreachable, err)
		t.cancel(nil)
		return t.out
	}
	t.out.HTTPStatus = resp.StatusCode
	t.read(resp)
	t.clock.Stop()
	switch t.out.End {
	case Answered, Silent, Status:
		go drain(resp.Body, t.cancel)
	default:
		t.cancel(nil)
		_ = resp.Body.Close()
	}
	return t.out
}

// drain reads what is left of an answer for a moment, and lets go of it.
func drain(body io.ReadCloser, cancel context.CancelCauseFunc) {
	over := time.AfterFunc(drainTime, func() { cancel(nil) })
	_, _ = io.CopyN(io.Discard, body, drained)
	over.Stop()
	_ = body.Close()
	cancel(nil)
}

// turn is Ask at work.
type turn struct {
	ctx     context.Context
	cancel  context.CancelCauseFunc
	x       Exchange
	timeout time.Duration
	clock   *time.Timer
	say     func(Line) error
	start   time.Time
	out     Outcome
	kept    []byte
}

// read reads the answer until it has ended, one way or another.
func (t *turn) read(resp *http.Response) {
	defer func() { t.out.Kept = strings.ToValidUTF8(string(t.kept), "\uFFFD") }()
	ok := resp.StatusCode >= 200 && resp.StatusCode <= 299
	body, err := decoded(resp)
	if err != nil {
		t.out.End, t.out.Note = Malformed, err.Error()
		if !ok {
			t.out.End, t.out.Note = Status, ""
		}
		return
	}
	answer := NewAnswer(resp.Header.Get("Content-Type"))
	buf := make([]byte, keptBody)
	for {
		n, err := body.Read(buf)
		t.keep(buf[:n])
		var lines []Line
		if ok {
			lines = answer.Feed(buf[:n])
			if err == io.EOF {
				lines = append(lines, answer.End()...)
			}
		}
		if !t.pass(lines) {
			return
		}
		switch {
		case !ok && (err != nil || len(t.kept) == keptBody):
			t.out.End = Status
			return
		case ok && answer.Ended():
			t.end(answer)
			return
		case err != nil:
			t.gone(CutOff, err)
			return
		}
	}
}

func (t *turn) keep(p []byte) {
	t.kept = append(t.kept, p[:min(len(p), keptBody-len(t.kept))]...)
}

// pass passes lines on, and says whether the turn goes on. The clock stands still
// meanwhile: it is the webhook's.
func (t *turn) pass(lines []Line) bool {
	if len(lines) == 0 {
		return true
	}
	if !t.clock.Stop() {
		if err := context.Cause(t.ctx); err != nil {
			t.interrupted(err)
			return false
		}
	}
	for _, l := range lines {
		// What came too late goes nowhere, even if it came whole.
		if err := context.Cause(t.ctx); err != nil {
			t.interrupted(err)
			return false
		}
		if t.out.FirstLine == 0 {
			t.out.FirstLine = max(1, time.Since(t.start))
		}
		if err := t.say(l); err != nil {
			t.interrupted(ErrHungUp)
			return false
		}
		t.out.Reply.Add(l)
	}
	if time.Since(t.start) > MaxTurn {
		t.out.End, t.out.Note = Malformed, fmt.Sprintf("the answer went on for more than %s: close it with a line without interim", MaxTurn)
		return false
	}
	t.clock.Reset(t.timeout)
	return true
}

// end takes over how an answer ended.
func (t *turn) end(a *Answer) {
	t.out.Note = a.note
	switch {
	case a.broken:
		t.out.End = Malformed
	case a.lines == 0:
		t.out.End = Silent
	default:
		t.out.End = Answered
	}
}

// gone ends the turn by an error: ours, where we canceled it, else the webhook's.
func (t *turn) gone(end End, err error) {
	if cause := context.Cause(t.ctx); cause != nil {
		t.interrupted(cause)
		return
	}
	var corrupt flate.CorruptInputError
	if errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) || errors.As(err, &corrupt) {
		t.out.End, t.out.Note = Malformed, "the answer says that it is gzip, and is not: send it without Content-Encoding"
		return
	}
	t.out.End, t.out.Note = end, t.x.Explain(err)
}

// interrupted ends the turn by why its context was canceled.
func (t *turn) interrupted(cause error) {
	switch {
	case errors.Is(cause, errTimedOut) && t.out.Reply.chunks == 0:
		t.out.End, t.out.Note = TimedOut, fmt.Sprintf("timeout: no line came within %s: answer faster, or raise the webhook's timeout", t.timeout)
	case errors.Is(cause, errTimedOut):
		t.out.End, t.out.Note = TimedOut, fmt.Sprintf("timeout: line %d did not come within %s of the one before it: answer faster, or raise the webhook's timeout", t.out.Reply.chunks+1, t.timeout)
	case errors.Is(cause, ErrSuperseded):
		t.out.End, t.out.Note = Superseded, ErrSuperseded.Error()
	case errors.Is(cause, ErrStopped):
		t.out.End, t.out.Note = Stopped, ErrStopped.Error()
	default:
		t.out.End, t.out.Note = HungUp, ErrHungUp.Error()
	}
}

// decoded is the body as it was before it was compressed. We ask for no encoding;
// gzip is what some servers use all the same.
func decoded(resp *http.Response) (io.Reader, error) {
	switch encoding := strings.ToLower(strings.TrimSpace(resp.Header.Get("Content-Encoding"))); encoding {
	case "", "identity":
		return resp.Body, nil
	case "gzip", "x-gzip":
		return &unzipper{body: resp.Body}, nil
	default:
		return nil, fmt.Errorf("the answer has the Content-Encoding %q: send it without one, or with gzip", clip(encoding))
	}
}

func clip(s string) string {
	if len(s) > 32 {
		s = s[:32] + "…"
	}
	return s
}

// unzipper begins to read only when it is read: the header of the stream may be
// long in coming.
type unzipper struct {
	body io.Reader
	zip  *gzip.Reader
}

func (u *unzipper) Read(p []byte) (n int, err error) {
	if u.zip == nil {
		if u.zip, err = gzip.NewReader(u.body); err != nil {
			u.zip = nil
			return 0, err
		}
	}
	return u.zip.Read(p)
}
