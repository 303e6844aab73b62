package deliver

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
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
	host   string
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
	return &endpoint{Webhook: w, signer: signer, host: u.Host}, nil
}

// sender makes attempts: render, sign, send, judge.
type sender struct {
	store     Store
	transport http.RoundTripper
	schedule  Schedule
	userAgent string
}

// attempt makes one attempt of a job and returns what came of it. It fails only
// where the delivery could not be read: nothing was sent then.
func (s *sender) attempt(ctx context.Context, e *endpoint, j *phone.Job) (*phone.Result, error) {
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
	a := phone.Attempt{ID: phone.NewID(phone.PrefixAttempt), DeliveryID: j.DeliveryID, URL: e.URL, SentAt: time.Now()}
	req, err := s.request(ctx, e, j, body, &a)
	if err != nil {
		return nil, err
	}
	header := s.send(req, e, &a)
	a.Duration = time.Since(a.SentAt)
	res := &phone.Result{Job: j, Attempt: a}
	s.judge(res, header, body)
	return res, nil
}

// content reads what the body is rendered from; of a fresh delivery most of it is
// in memory still.
func (s *sender) content(ctx context.Context, j *phone.Job) (phone.Content, error) {
	if j.Event == nil {
		return s.store.Content(ctx, j.DeliveryID)
	}
	history, err := s.store.History(ctx, *j.Event, j.ContextLimit)
	return phone.Content{Event: *j.Event, History: history}, err
}

// request builds and signs the request of an attempt.
func (s *sender) request(ctx context.Context, e *endpoint, j *phone.Job, body []byte, a *phone.Attempt) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.URL, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	sig := e.signer.Sign(j.DeliveryID, a.SentAt, body)
	a.Legacy, a.Standard = sig.Legacy, sig.Standard
	sig.SetHeaders(req.Header)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", s.userAgent)
	req.Header.Set(webhook.HeaderEvent, string(j.EventType))
	return req, nil
}

// send sends the request and fills in the answer. It returns the answer's header.
func (s *sender) send(req *http.Request, e *endpoint, a *phone.Attempt) http.Header {
	resp, err := s.transport.RoundTrip(req)
	if err != nil {
		a.Error = explain(err, e.host, e.Timeout)
		return nil
	}
	defer resp.Body.Close()
	kept, err := io.ReadAll(io.LimitReader(resp.Body, keptBody))
	a.HTTPStatus = resp.StatusCode
	a.ResponseBody = strings.ToValidUTF8(string(kept), "\uFFFD")
	if err != nil {
		a.Error = explain(err, e.host, e.Timeout)
		return resp.Header
	}
	if len(kept) == keptBody {
		// What lies beyond is of no interest, but reading a little of it keeps the connection.
		_, _ = io.CopyN(io.Discard, resp.Body, drainedBody)
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
func (s *sender) judge(r *phone.Result, header http.Header, body []byte) {
	status := r.Attempt.HTTPStatus
	switch {
	case r.Attempt.Error == "":
		r.Status = phone.Success
		return
	case status == http.StatusGone:
		r.Status, r.DisableWebhook = phone.Failed, true
	default:
		r.Status = phone.Failed
		now := r.Attempt.SentAt.Add(r.Attempt.Duration)
		wait, more := s.schedule.Next(r.Job.RoundAttempts+1, rand.Float64(), retryAfter(status, header, now))
		if more {
			r.Status, r.NextAttemptAt = phone.Pending, now.Add(wait)
		}
	}
	r.Body = body
}

// errHalted is what who asks for an attempt gets while the server stops.
func errHalted() error {
	e := phone.Errorf(phone.Unavailable, "the server is stopping: try again in a few seconds")
	e.RetryAfter = 5 * time.Second
	return e
}
