package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// ceilingCmd is the least that a program between a caller and a receiver can do:
// it takes an event over HTTP, answers 202, and passes it on over HTTP. It looks
// at nothing, signs nothing and keeps nothing. How fast that goes is what the
// machine allows.
type ceilingCmd struct {
	Forward string `required:"" help:"Where events go."`
}

// forwarders is how many requests the ceiling has in flight at most.
const forwarders = 256

func (c *ceilingCmd) Run(ctx context.Context) error {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: forwarders, DisableCompression: true}}
	queue := make(chan []byte, 4096)
	var work sync.WaitGroup
	for range forwarders {
		work.Go(func() {
			for body := range queue {
				resp, err := client.Post(c.Forward, "application/json", bytes.NewReader(body))
				if err == nil {
					_, _ = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			}
		})
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("answers at http://%s\n", l.Addr())
	srv := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		queue <- body
		w.WriteHeader(http.StatusAccepted)
	})}
	context.AfterFunc(ctx, func() { _ = srv.Close() })
	_ = srv.Serve(l)
	close(queue)
	work.Wait()
	return nil
}
