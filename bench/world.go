package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// world is a server, its receivers, and agents with webhooks of their own.
type world struct {
	*bench
	srv      *process
	others   []*process // further nodes on the same database
	api      *client
	sink     *sink
	sent     int64 // events taken, for settle
	dbFile   string
	database string    // what the servers are started with
	profiler *profiler // nil where no profiles are taken
}

// newWorld starts a server on a new database.
func (b *bench) newWorld(name string) (*world, error) {
	s, err := newSink("127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &world{bench: b, sink: s, dbFile: filepath.Join(b.Dir, name+".db")}
	w.database = "sqlite:" + w.dbFile
	return w, w.startServer()
}

// newNodes starts n servers on one database.
func (b *bench) newNodes(database string, n int) (*world, error) {
	s, err := newSink("127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &world{bench: b, sink: s, database: database}
	if err := w.startServer(); err != nil {
		return nil, err
	}
	for len(w.others) < n-1 {
		p, err := w.start(w.Server, w.serve()...)
		if err != nil {
			return nil, err
		}
		w.others = append(w.others, p)
		w.api.urls = append(w.api.urls, p.url)
	}
	return w, nil
}

// nodes are all servers.
func (w *world) nodes() []*process { return append([]*process{w.srv}, w.others...) }

// serve are the arguments that servers are started with.
func (w *world) serve() []string {
	return []string{"serve", "--dev", "--listen", "127.0.0.1:0", "--database", w.database, "--api-key", apiKey}
}

func (w *world) startServer() (err error) {
	args := w.serve()
	if w.Profiles != "" {
		if w.profiler, err = newProfiler(w.Profiles); err != nil {
			return err
		}
		args = append(args, "--profile", w.profiler.address)
	}
	w.srv, err = w.start(w.Server, args...)
	if err == nil {
		w.api = newClient(w.srv.url)
	}
	return err
}

func (w *world) close() error {
	w.sink.close()
	errs := make([]error, 0, 1)
	for _, p := range w.nodes() {
		errs = append(errs, p.stop())
	}
	return errors.Join(errs...)
}

// agent makes the n-th agent, its number, and its webhook at a URL.
func (w *world) agent(n int, url string, settings ...any) error {
	var a struct{ ID string }
	if err := w.post("/v1/agents", map[string]any{"name": fmt.Sprint("agent ", n)}, &a); err != nil {
		return err
	}
	if err := w.post("/v1/numbers", map[string]any{"phoneNumber": number(n), "agentId": a.ID}, nil); err != nil {
		return err
	}
	hook := map[string]any{"url": url}
	for i := 0; i < len(settings); i += 2 {
		hook[settings[i].(string)] = settings[i+1]
	}
	return w.post("/v1/agents/"+a.ID+"/webhook", hook, nil)
}

// team makes agents 0 to n-1, each with an endpoint of its own in the sink.
func (w *world) team(n int) error {
	for i := range n {
		if err := w.agent(i, fmt.Sprintf("%s/hook/%d", w.sink.url, i)); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) post(path string, body, into any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return w.api.call("POST", path, b, into)
}

// counts are the project's, of all time.
type counts struct{ Total, Success, Failed int64 }

// settle waits until the log says that n deliveries succeeded.
func (w *world) settle(n int64) error {
	var last counts
	changed := time.Now()
	for {
		var c counts
		if err := w.api.call("GET", "/v1/webhooks/deliveries/all-time", nil, &c); err != nil {
			return err
		}
		switch {
		case c.Success >= n:
			return nil
		case c != last:
			last, changed = c, time.Now()
		case time.Since(changed) > 20*time.Second:
			return fmt.Errorf("%d deliveries of %d succeeded, and no more for 20 s", c.Success, n)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// delivered runs a load and waits until all of it is delivered and on record. It
// returns how many events that were, and how long it all took.
func (w *world) delivered(load func() (int64, error)) (int64, time.Duration, error) {
	start := time.Now()
	n, err := load()
	if err != nil {
		return n, 0, err
	}
	w.sent += n
	err = w.settle(w.sent)
	return n, time.Since(start), err
}
