// Package world holds what tests need that run real server processes and break
// things around them: the program itself, receivers with moods, a DNS server, and
// a record of what was promised and what arrived, which judges the whole at the
// end. It is for tests alone, and knows nothing of the server's insides.
package world

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Key is the API key of every server that Start starts.
const Key = "a-key-for-the-tests-only"

// Build makes the program in a folder. Where clock is true its clock can be set
// while it runs, with Program.SetClock: it is built with a time package whose Now
// adds an offset to the wall clock, and leaves the monotonic one alone, as a real
// jump does. The program's own source is the same.
func Build(ctx context.Context, dir string, clock bool) (binary string, err error) {
	_, here, _, ok := runtime.Caller(0)
	if !ok {
		return "", errors.New("the source of the tests is not to be found")
	}
	root := filepath.Join(filepath.Dir(here), "..", "..")
	binary = filepath.Join(dir, "switchhook")
	args := []string{"build", "-o", binary}
	if clock {
		overlay, err := overlayClock(ctx, dir, root)
		if err != nil {
			return "", err
		}
		// Without -race, whatever GOFLAGS says: all there is would be built anew for it.
		args = append(args, "-race=false", "-overlay", overlay)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "./cmd/switchhook")...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, out)
	}
	return binary, nil
}

const (
	skewTime = "package time\n\nimport \"sync/atomic\"\n\n// Skew is added to the wall clock, in seconds.\nvar Skew atomic.Int64\n"
	skewMain = `package main

import (
	"bufio"
	"os"
	"strconv"
	"time"
)

// File 3 says how far off the clock is: one line before the start, more later.
func init() {
	lines := bufio.NewScanner(os.NewFile(3, "clock"))
	next := func() bool {
		if !lines.Scan() {
			return false
		}
		n, _ := strconv.ParseInt(lines.Text(), 10, 64)
		time.Skew.Store(n)
		return true
	}
	next()
	go func() {
		for next() {
		}
	}()
}
`
	nowAsItIs   = "\tsec, nsec, mono := runtimeNow()\n\tif mono == 0 {\n"
	nowWithSkew = "\tsec, nsec, mono := runtimeNow()\n\tsec += Skew.Load()\n\tif mono == 0 {\n"
)

func overlayClock(ctx context.Context, dir, root string) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", err
	}
	goroot := strings.TrimSpace(string(out))
	source := filepath.Join(goroot, "src", "time", "time.go")
	b, err := os.ReadFile(source)
	if err != nil {
		return "", err
	}
	if !strings.Contains(string(b), nowAsItIs) {
		return "", fmt.Errorf("%s reads otherwise than this test expects: look at its Now", source)
	}
	replace := map[string]string{}
	for path, text := range map[string]string{
		source: strings.Replace(string(b), nowAsItIs, nowWithSkew, 1),
		filepath.Join(goroot, "src", "time", "skew.go"):     skewTime,
		filepath.Join(root, "cmd", "switchhook", "skew.go"): skewMain,
	} {
		f, err := os.CreateTemp(dir, "overlay-*.go")
		if err != nil {
			return "", err
		}
		_, err = f.WriteString(text)
		if err := errors.Join(err, f.Close()); err != nil {
			return "", err
		}
		replace[path] = f.Name()
	}
	b, err = json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, b, 0o600)
}

// Options are how a program is started.
type Options struct {
	Binary string
	// Database is the server's --database.
	Database string
	// Args are further flags of serve; Env is added to the environment.
	Args, Env []string
	// Clock says that the binary's clock can be set; Offset is how far off it is at first.
	Clock  bool
	Offset time.Duration
	// Log gets what the server writes to its log.
	Log io.Writer
}

// Program is a running server. Its methods are for one goroutine.
type Program struct {
	// URL is where its API answers.
	URL    string
	cmd    *exec.Cmd
	clock  *os.File
	exited chan error
}

// Start starts `switchhook serve` on a free port and returns once it answers.
func Start(o Options) (*Program, error) {
	args := append([]string{"serve", "--dev", "--listen=127.0.0.1:0", "--database=" + o.Database, "--api-key=" + Key}, o.Args...)
	p := &Program{cmd: exec.Command(o.Binary, args...), exited: make(chan error, 1)}
	p.cmd.Env = append(os.Environ(), o.Env...)
	p.cmd.Stderr = o.Log
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if o.Clock {
		read, write, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		defer read.Close()
		p.clock, p.cmd.ExtraFiles = write, []*os.File{read}
		if err := p.SetClock(o.Offset); err != nil {
			return nil, err
		}
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if _, rest, ok := strings.Cut(lines.Text(), "answers at "); ok {
			p.URL, _, _ = strings.Cut(rest, " ")
			break
		}
	}
	go func() {
		_, _ = io.Copy(io.Discard, out)
		p.exited <- p.cmd.Wait()
	}()
	if p.URL == "" {
		return nil, fmt.Errorf("the server ended before it answered: %v", <-p.exited)
	}
	return p, nil
}

// PID is the process.
func (p *Program) PID() int { return p.cmd.Process.Pid }

// SetClock sets how far the server's wall clock is off, from now on.
func (p *Program) SetClock(offset time.Duration) error {
	_, err := fmt.Fprintln(p.clock, int64(offset/time.Second))
	return err
}

// Signal sends a signal.
func (p *Program) Signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

// Kill ends the process at once, and returns when it is gone.
func (p *Program) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
	p.close()
}

// Term asks the server to stop and waits for it, at most so long. Where it does
// not come to an end it is killed, and killed is true.
func (p *Program) Term(wait time.Duration) (killed bool, err error) {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return false, err
	}
	defer p.close()
	select {
	case err := <-p.exited:
		return false, err
	case <-time.After(wait):
		_ = p.cmd.Process.Kill()
		<-p.exited
		return true, nil
	}
}

func (p *Program) close() {
	if p.clock != nil {
		_ = p.clock.Close()
	}
}
