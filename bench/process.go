package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a server or a ceiling, running.
type process struct {
	cmd     *exec.Cmd
	url     string
	started time.Time
	log     *bytes.Buffer
}

// secretKey is any: what is measured seals no secrets that matter.
const secretKey = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

var answersAt = regexp.MustCompile(`answers at (http://\S+)`)

// start starts a program and waits until it says where it answers.
func (b *bench) start(name string, args ...string) (*process, error) {
	p := &process{cmd: exec.CommandContext(b.ctx, name, args...), log: &bytes.Buffer{}, started: time.Now()}
	p.cmd.Stderr = p.log
	// PostgreSQL has no place beside it for a key of the secrets.
	p.cmd.Env = append(os.Environ(), "SWITCHHOOK_SECRET_KEY="+secretKey)
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if m := answersAt.FindStringSubmatch(lines.Text()); m != nil {
			p.url = m[1]
			return p, nil
		}
	}
	_ = p.cmd.Wait()
	return nil, fmt.Errorf("%s did not start: %s", name, p.log)
}

// stop ends it as an operator would, and waits for it.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return p.cmd.Wait()
}

// usage is what a process has used of the machine so far.
type usage struct {
	cpu     time.Duration
	written int64 // bytes handed to the disk
}

// usage reads /proc; on other systems it is zero, and shown as unknown.
func (p *process) usage() (u usage) {
	u.cpu, _ = procTimes(p.cmd.Process.Pid, false)
	u.written = procNumber(fmt.Sprintf("/proc/%d/io", p.cmd.Process.Pid), "write_bytes:")
	return u
}

// usage is what all servers have used.
func (w *world) usage() (u usage) {
	for _, p := range w.nodes() {
		one := p.usage()
		u.cpu, u.written = u.cpu+one.cpu, u.written+one.written
	}
	return u
}

// procTimes is the CPU time of a process, with that of its children that have
// ended where they are asked for, and its parent.
func procTimes(pid int, children bool) (cpu time.Duration, parent int) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0
	}
	// Fields of proc_pid_stat(5), counted behind the name's bracket, in ticks of
	// 1/100 s: 14 and 15 are its own, 16 and 17 its children's, 4 is its parent.
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 15 {
		return 0, 0
	}
	last := 13
	if children {
		last = 15
	}
	for _, ticks := range f[11:last] {
		n, _ := strconv.ParseInt(ticks, 10, 64)
		cpu += time.Duration(n) * 10 * time.Millisecond
	}
	parent, _ = strconv.Atoi(f[1])
	return cpu, parent
}

// resident is the resident memory in bytes.
func (p *process) resident() int64 {
	return procNumber(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid), "VmRSS:") << 10
}

// procNumber reads the number behind a name in a file of /proc; 0 where there is none.
func procNumber(file, name string) int64 {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == name {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n
		}
	}
	return 0
}
