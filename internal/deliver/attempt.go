package deliver

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/webhook"
)

const (
	// keptBody is how much of an answer is kept, from the contract.
	keptBody = 4 << 10
	// drainedBody is how much more is read so that the connection can be used again.
	drainedBody = 64 << 10
)

// endpoint is a webhook ready to be sent to.
type endpoint struct {
	phone.Webhook
	signer *webhook.Signer
	// previous signs too, until the webhook's PreviousUntil; it may be nil.
	previous *webhook.Signer
	target   *url.URL
}

func newEndpoint(w phone.Webhook) (*endpoint, error) {
	signer, err := webhook.NewSigner(w.Secret)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(w.URL)
	if err != nil {
		return nil, err
	}
	e := &endpoint{Webhook: w, signer: signer, target: u}
	if w.PreviousSecret != "" {
		if e.previous, err = webhook.NewSigner(w.PreviousSecret); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// sign signs an attempt. For a day after a change of the secret the Standard
// Webhooks signature is two, by the new secret and by the previous one, so that a
// receiver can change over at any moment in between.
func (e *endpoint) sign(deliveryID string, at time.Time, body []byte) webhook.Signature {
	sig := e.signer.Sign(deliveryID, at, body)
	if e.previous != nil && at.Before(e.PreviousUntil) {
		sig.Standard += " " + e.previous.Sign(deliveryID, at, body).Standard
	}
	return sig
}

// sender makes attempts: render, sign, send, judge.
type sender struct {
	store     Store
	transport http.RoundTripper
	schedule  Schedule
	userAgent string
}

// attempt makes one attempt of a job and returns what came of it. It fails only
// where the delivery could not be read: nothing was sent then. A probe is an
// attempt that spends nothing of the delivery's schedule.
func (s *sender) attempt(ctx context.Context, e *endpoint, j *phone.Job, probe bool) (*phone.Result, error) {
	content, err := s.content(ctx, j)
	if err != nil {
		return nil, err
	}
	body, err := Render(content)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, e.Timeout)
	defer cancel()
	var watch stopwatch
	ctx = watch.trace(ctx)
	a := phone.Attempt{ID: phone.NewID(phone.PrefixAttempt), DeliveryID: j.DeliveryID, URL: e.URL, SentAt: time.Now()}
	res := &phone.Result{Job: j, Probe: probe}
	header := s.send(s.request(ctx, e, j, body, &a), e, &a, res)
	a.Duration, a.Timing = time.Since(a.SentAt), watch.timing(a.SentAt)
	res.Attempt = a
	s.judge(res, header, body)
	return res, nil
}

// content reads what the body is rendered from; of a fresh delivery most of it is
// in memory still.
func (s *sender) content(ctx context.Context, j *phone.Job) (phone.Content, error) {
	if j.Event == nil {
		return s.store.Content(ctx, j.ProjectID, j.DeliveryID)
	}
	return phone.Content{Event: *j.Event, History: j.History}, nil
}

// request builds and signs the request of an attempt.
func (s *sender) request(ctx context.Context, e *endpoint, j *phone.Job, body []byte, a *phone.Attempt) *http.Request {
	sig := e.sign(j.DeliveryID, a.SentAt, body)
	a.Legacy, a.Standard = sig.Legacy, sig.Standard
	header := make(http.Header, 10)
	sig.SetHeaders(header)
	header["Content-Type"] = jsonType
	header["User-Agent"] = []string{s.userAgent}
	header[webhook.HeaderEvent] = []string{string(j.EventType)}
	req := &http.Request{
		Method: http.MethodPost, URL: e.target, Host: e.target.Host, Header: header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader(body)),
		// The transport may send it again, where a kept connection turns out to be closed.
		GetBody: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil },
	}
	return req.WithContext(ctx)
}

var jsonType = []string{"application/json"}

// send sends the request and fills in the answer. It returns the answer's header.
func (s *sender) send(req *http.Request, e *endpoint, a *phone.Attempt, res *phone.Result) http.Header {
	resp, err := s.transport.RoundTrip(req)
	if err != nil {
		a.Error = explain(err, e.target.Host, e.Timeout)
		op, ok := errors.AsType[*net.OpError](err)
		res.Unreachable = ok && op.Op == "dial"
		return nil
	}
	defer resp.Body.Close()
	a.HTTPStatus = resp.StatusCode
	if resp.ContentLength != 0 {
		kept, err := io.ReadAll(io.LimitReader(resp.Body, keptBody))
		a.ResponseBody = strings.ToValidUTF8(string(kept), "\uFFFD")
		if err != nil {
			a.Error = explain(err, e.target.Host, e.Timeout)
			return resp.Header
		}
		if len(kept) == keptBody {
			// What lies beyond is of no interest, but reading a little of it keeps the connection.
			_, _ = io.CopyN(io.Discard, resp.Body, drainedBody)
		}
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		a.Error = explainStatus(resp.StatusCode)
	}
	return resp.Header
}

// explainStatus says what an answer that is no 2xx means, and how to mend it.
func explainStatus(status int) string {
	text := http.StatusText(status)
	if text == "" {
		text = "unknown status"
	}
	text = "answered " + strconv.Itoa(status) + " " + text
	switch {
	case status == http.StatusGone:
		return text + ": the webhook was disabled; set it anew to send again"
	case status >= 300 && status < 400:
		return text + ": redirects are not followed; set the webhook to the final URL"
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return text + ": does the receiver verify with this webhook's present secret?"
	case status == http.StatusNotFound || status == http.StatusMethodNotAllowed:
		return text + ": does the receiver take POST at this path?"
	}
	return text + ": look into the receiver's log"
}

// judge decides what the attempt means for its delivery.
//
//	2xx ─▶ success    410 ─▶ failed, webhook disabled
//	else: attempts left ─▶ pending, later    none left ─▶ failed
//	      a probe ─▶ pending, as before
func (s *sender) judge(r *phone.Result, header http.Header, body []byte) {
	status := r.Attempt.HTTPStatus
	if r.Attempt.Error == "" {
		r.Status = phone.Success
		return
	}
	r.Status, r.Body = phone.Failed, body
	if status == http.StatusGone {
		r.DisableWebhook = true
		return
	}
	now := r.Attempt.SentAt.Add(r.Attempt.Duration)
	r.RetryAfter = retryAfter(status, header, now)
	if r.Probe {
		r.Status, r.NextAttemptAt = phone.Pending, r.Job.CreatedAt
		return
	}
	if wait, more := s.schedule.Next(r.Job.RoundAttempts+1, rand.Float64(), r.RetryAfter); more {
		r.Status, r.NextAttemptAt = phone.Pending, now.Add(wait)
	}
}

// errHalted is what who asks for an attempt gets while the server stops.
func errHalted() error {
	e := phone.Errorf(phone.Unavailable, "the server is stopping: try again in a few seconds")
	e.RetryAfter = 5 * time.Second
	return e
}
