package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// clientTimeout is longer than the longest answer: a webhook test may wait
	// 120 seconds for the endpoint.
	clientTimeout = 150 * time.Second
	// maxAnswer bounds what is read of an answer, which may come from anything
	// that listens at the URL.
	maxAnswer = 64 << 20
)

// Client speaks to the HTTP API of one server, as one project.
type Client struct {
	base string
	key  string
	http *http.Client
}

// NewClient returns a client of the server at baseURL. The key may be empty; the
// server then answers 401 where it needs one.
func NewClient(baseURL, apiKey string) *Client {
	return &Client{
		base: strings.TrimRight(baseURL, "/"),
		key:  apiKey,
		http: &http.Client{
			Timeout: clientTimeout,
			// A followed redirect would turn a POST into a GET without a word.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// Request is one call of the API.
type Request struct {
	Method string
	// Path is absolute, its variable segments escaped; see [Path].
	Path string
	// Query holds the parameters; those with an empty value are left out.
	Query map[string]string
	// Body is sent as JSON, unless it is nil.
	Body any
	// IdempotencyKey is sent as the header of that name, unless it is empty.
	IdempotencyKey string
}

// Path joins segments to an absolute path, each escaped, so that an id given by
// the user cannot reach another part of the API.
func Path(segments ...string) string {
	var b strings.Builder
	for _, s := range segments {
		// PathEscape leaves dots alone, and ".." would be resolved by a proxy.
		if s == "." || s == ".." {
			s = strings.ReplaceAll(s, ".", "%2E")
		} else {
			s = url.PathEscape(s)
		}
		b.WriteString("/" + s)
	}
	return b.String()
}

// APIError is an answer of the server that is not a success.
type APIError struct {
	// Status is the HTTP status.
	Status int
	// Faults are sentences for the user: one, or for a 422 one for each fault.
	Faults []string
}

// Error returns the faults, one a line.
func (e *APIError) Error() string { return strings.Join(e.Faults, "\n") }

// Do makes one call and returns the JSON of a successful answer. Any other answer
// is an *APIError.
func (c *Client) Do(ctx context.Context, r Request) (json.RawMessage, error) {
	req, err := c.newRequest(ctx, r)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.connectionError(ctx, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, c.connectionError(ctx, err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, c.apiError(resp, body)
	}
	if len(body) > maxAnswer {
		return nil, fmt.Errorf("the answer of %s is larger than %d MiB: ask for less with --limit", c.base, maxAnswer>>20)
	}
	if !json.Valid(body) {
		return nil, fmt.Errorf("%s does not answer in JSON: is it a Switchhook? Check --url or SWITCHHOOK_URL", c.base)
	}
	return body, nil
}

// Stream makes one call whose answer comes line by line, as NDJSON, and returns it
// open. An answer that is no success is an *APIError.
func (c *Client) Stream(ctx context.Context, r Request) (io.ReadCloser, error) {
	req, err := c.newRequest(ctx, r)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/x-ndjson")
	patient := *c.http
	patient.Timeout = 0 // the server bounds how long lines may take
	resp, err := patient.Do(req)
	if err != nil {
		return nil, c.connectionError(ctx, err)
	}
	if resp.StatusCode >= 200 && resp.StatusCode <= 299 {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, c.connectionError(ctx, err)
	}
	return nil, c.apiError(resp, body)
}

func (c *Client) newRequest(ctx context.Context, r Request) (*http.Request, error) {
	base, err := url.Parse(c.base)
	if err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https") {
		return nil, fmt.Errorf("%q is not the URL of a server: give one such as http://127.0.0.1:8080 with --url or SWITCHHOOK_URL", c.base)
	}
	query := url.Values{}
	for name, value := range r.Query {
		if value != "" {
			query.Set(name, value)
		}
	}
	target := c.base + r.Path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	var body io.Reader
	if r.Body != nil {
		b, err := json.Marshal(r.Body)
		if err != nil {
			return nil, fmt.Errorf("the request cannot be written as JSON: %w", err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, target, body)
	if err != nil {
		return nil, fmt.Errorf("the request cannot be made, check --url or SWITCHHOOK_URL: %w", err)
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "Switchhook-CLI")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	if r.IdempotencyKey != "" {
		req.Header.Set("Idempotency-Key", r.IdempotencyKey)
	}
	return req, nil
}

// connectionError says why there is no answer.
func (c *Client) connectionError(ctx context.Context, err error) error {
	var (
		dns     *net.DNSError
		op      *net.OpError
		timeout net.Error
		wrapped *url.Error
	)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("stopped before %s answered: %w", c.base, ctx.Err())
	case errors.As(err, &dns):
		return fmt.Errorf("there is no host %q: check --url or SWITCHHOOK_URL", dns.Name)
	case errors.As(err, &op) && op.Op == "dial":
		return fmt.Errorf("no Switchhook answers at %s: is `switchhook serve` running?", c.base)
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("%s did not answer within %s: is the server overloaded?", c.base, clientTimeout)
	case errors.As(err, &wrapped):
		err = wrapped.Err // without the method and the whole URL
	}
	return fmt.Errorf("the connection to %s failed, try again: %w", c.base, err)
}

// apiError turns an answer that is not a success into sentences.
func (c *Client) apiError(resp *http.Response, body []byte) *APIError {
	e := &APIError{Status: resp.StatusCode, Faults: faults(body)}
	if len(e.Faults) == 0 {
		// Not our error shape: something between us and the server spoke.
		e.Faults = []string{fmt.Sprintf("%s answered %s: check --url or SWITCHHOOK_URL", c.base, statusText(resp.StatusCode))}
	}
	last := &e.Faults[len(e.Faults)-1]
	switch {
	case resp.StatusCode == http.StatusUnauthorized && c.key == "":
		*last = "the server wants an API key: give it with --api-key or SWITCHHOOK_API_KEY"
	case resp.StatusCode == http.StatusUnauthorized:
		*last = "the server does not accept this API key: give a valid one with --api-key or SWITCHHOOK_API_KEY"
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		*last = fmt.Sprintf("%s redirects to %s: give that server's URL with --url or SWITCHHOOK_URL", c.base, clean(resp.Header.Get("Location")))
	}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		*last += fmt.Sprintf(" (try again in %d s)", s)
	}
	return e
}

// faults reads {"detail": "…"} and {"detail": [{"loc", "msg"}]}. It returns
// nothing where the body is neither.
func faults(body []byte) []string {
	var envelope struct {
		Detail json.RawMessage `json:"detail"`
	}
	if json.Unmarshal(body, &envelope) != nil {
		return nil
	}
	var sentence string
	if json.Unmarshal(envelope.Detail, &sentence) == nil && sentence != "" {
		return []string{clean(sentence)}
	}
	var list []struct {
		Loc []any  `json:"loc"`
		Msg string `json:"msg"`
	}
	if json.Unmarshal(envelope.Detail, &list) != nil {
		return nil
	}
	var out []string
	for _, f := range list {
		sentence := clean(f.Msg)
		if where := location(f.Loc); where != "" {
			sentence = where + ": " + sentence
		}
		out = append(out, sentence)
	}
	return out
}

// location writes ["body", "data", "mediaUrls", 0] as data.mediaUrls.0: where the
// value stood in the request says nothing to someone who typed a command.
func location(loc []any) string {
	if len(loc) > 0 {
		loc = loc[1:]
	}
	var names []string
	for _, part := range loc {
		names = append(names, clean(fmt.Sprint(part)))
	}
	return strings.Join(names, ".")
}

func statusText(code int) string {
	return strings.TrimSpace(strconv.Itoa(code) + " " + http.StatusText(code))
}
