package server

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"runtime"
)

// How much is sampled for the mutex and block profiles: one contended unlock in
// 100, and one blocking wait for each 100 µs spent blocked, in nanoseconds.
const (
	mutexFraction = 100
	blockRate     = 100_000
)

// serveProfiles serves Go's profiles at /debug/pprof/ on an address of their own,
// never on the API's: they tell what the program holds in memory. It returns what
// stops it.
func serveProfiles(ctx context.Context, address string, logger *slog.Logger) (func() error, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("cannot serve profiles on %s: %w: choose another address with --profile", address, err)
	}
	runtime.SetMutexProfileFraction(mutexFraction)
	runtime.SetBlockProfileRate(blockRate)
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: readHeaderTimeout}
	go func() { _ = srv.Serve(listener) }()
	logger.Info("profiles are served: keep this address private", "url", "http://"+listener.Addr().String()+"/debug/pprof/")
	return srv.Close, nil
}
