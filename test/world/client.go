package world

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// Client speaks to a server whose address may change. It is safe for concurrent use.
type Client struct {
	url  atomic.Value
	http http.Client
}

// NewClient returns a client without an address.
func NewClient() *Client {
	c := &Client{http: http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	c.url.Store("")
	return c
}

// Point says where the server answers.
func (c *Client) Point(url string) { c.url.Store(url) }

// Do makes a request with a JSON body, or none where that is nil, and reads the
// JSON of a 2xx into into, unless that is nil. key is an Idempotency-Key, or "".
func (c *Client) Do(method, path, key string, body, into any) (status int, answer []byte, err error) {
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		in = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, c.url.Load().(string)+path, in)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+Key)
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	if answer, err = io.ReadAll(resp.Body); err != nil {
		return 0, nil, err
	}
	if resp.StatusCode/100 == 2 && into != nil {
		err = json.Unmarshal(answer, into)
	}
	return resp.StatusCode, answer, err
}

// Insist is Do until the server gives an answer that is no 5xx and no 429: after
// an answer that was lost nobody knows what happened, so the request must be one
// that may be repeated.
func (c *Client) Insist(method, path, key string, body, into any) (status int, answer []byte) {
	for {
		status, answer, err := c.Do(method, path, key, body, into)
		if err == nil && status < 500 && status != http.StatusTooManyRequests {
			return status, answer
		}
		time.Sleep(20 * time.Millisecond)
	}
}
