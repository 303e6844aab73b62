package listen

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
)

// Forward returns a handler that posts deliveries to a local server, as they were
// signed, and streams its answers back.
func Forward(target string) func(context.Context, Delivery, *Reply) error {
	client := &http.Client{
		Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64},
		// A redirect is an answer like any other: it is never followed.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return func(ctx context.Context, d Delivery, r *Reply) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(d.Body))
		if err != nil {
			return err
		}
		req.Header = d.Header
		resp, err := client.Do(req)
		if err != nil {
			return explain(err, req.URL.Host)
		}
		defer resp.Body.Close()
		r.Head(resp.StatusCode, resp.Header)
		part := make([]byte, 16<<10)
		for length := 0; ; {
			n, err := resp.Body.Read(part)
			if n > 0 {
				r.Body(bytes.Clone(part[:n]))
			}
			if length += n; length > maxAnswer {
				return errTooLong
			}
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return explain(err, req.URL.Host)
			}
		}
	}
}

// explain says why the local server gave no answer.
func explain(err error, host string) error {
	var op *net.OpError
	switch {
	case errors.Is(err, context.Canceled):
		return errors.New("nobody waits for the answer any more")
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("connection refused by %s: is your local server running?", host)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%s closed the connection before its answer was complete: look into its log", host)
	case errors.As(err, &op) && op.Op == "dial":
		return fmt.Errorf("%s cannot be reached: %w", host, op.Err)
	}
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(next) {
		err = next
	}
	return err
}
