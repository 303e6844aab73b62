package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
)

// profiler takes the server's profiles where --profiles asks for them. Sampling
// costs the server a little: figures are taken without.
type profiler struct{ dir, address string }

// newProfiler picks the address that the server is to serve profiles on.
func newProfiler(dir string) (*profiler, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return &profiler{dir: dir, address: l.Addr().String()}, os.MkdirAll(dir, 0o755)
}

// profiled runs a load, and takes the profiles of it where they are asked for: the
// CPU's while it runs, the others after it (those are of the server's life so far).
func (w *world) profiled(name string, load func() error) error {
	p := w.profiler
	if p == nil {
		return load()
	}
	done := make(chan error, 1)
	go func() { done <- p.fetch(fmt.Sprintf("profile?seconds=%d", max(1, int(w.Seconds))), name+".cpu") }()
	if err := load(); err != nil {
		return err
	}
	if err := <-done; err != nil {
		return err
	}
	for _, kind := range []string{"allocs", "mutex", "block"} {
		if err := p.fetch(kind, name+"."+kind); err != nil {
			return err
		}
	}
	return nil
}

func (p *profiler) fetch(path, file string) error {
	resp, err := http.Get("http://" + p.address + "/debug/pprof/" + path)
	if err != nil {
		return fmt.Errorf("taking a profile: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("taking a profile: the server answered %s", resp.Status)
	}
	f, err := os.Create(filepath.Join(p.dir, file+".pprof"))
	if err != nil {
		return err
	}
	if _, err = io.Copy(f, resp.Body); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
