package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// row is a line of the table.
type row struct{ what, goal, measured, verdict string }

const none = ""

func met(ok bool) string {
	if ok {
		return "met"
	}
	return "not met"
}

// add adds a line to the table, and prints it.
func (b *bench) add(what, goal, measured, verdict string) {
	b.rows = append(b.rows, row{what, goal, strings.TrimSpace(measured), verdict})
	fmt.Printf("%-80s %-34s %-40s %s\n", what, goal, measured, verdict)
}

// previous is what an event cost before the hot path was made lean, measured by
// this program on the revision before it, on the machine of docs/benchmarks.md.
var previous = map[string]struct{ single, batch float64 }{
	"CPU per event":           {251, 186},
	"allocations per event":   {339, 293},
	"bytes written per event": {29_818, 18_222},
}

// mallocs is how many allocations the servers have made, from their metrics.
func (w *world) mallocs() (n float64) {
	for _, p := range w.nodes() {
		n += p.mallocs()
	}
	return n
}

func (p *process) mallocs() float64 {
	resp, err := http.Get(p.url + "/metrics")
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if v, ok := strings.CutPrefix(lines.Text(), "go_memstats_mallocs_total "); ok {
			n, _ := strconv.ParseFloat(v, 64)
			return n
		}
	}
	return 0
}

// report writes the Markdown file, where one was asked for.
func (b *bench) report() error {
	if b.Out == "" {
		return nil
	}
	var out bytes.Buffer
	fmt.Fprint(&out, "# Benchmarks\n\n`make bench` measures and writes this page. Every figure is of one run, with the server, the load\n"+
		"generator and the receivers on the same machine; what counts are the ratios to the ceiling, a\n"+
		"program that takes events over HTTP and passes them on, keeping nothing, measured in the same minute.\n\n")
	fmt.Fprintf(&out, "Measured %s at revision %s, on %s.\n\n", time.Now().UTC().Format(time.DateOnly), revision(), machine())
	fmt.Fprint(&out, "| measured | goal | seen | |\n|---|---|---|---|\n")
	for _, r := range b.rows {
		fmt.Fprintf(&out, "| %s | %s | %s | %s |\n", r.what, r.goal, r.measured, r.verdict)
	}
	if notes, err := os.ReadFile("bench/notes.md"); err == nil {
		out.WriteByte('\n')
		out.Write(notes)
	}
	return os.WriteFile(b.Out, out.Bytes(), 0o644)
}

func revision() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// machine says what this is run on.
func machine() string {
	cpu := "an unknown processor"
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		defer f.Close()
		cpu = field(f, "model name", cpu)
	}
	memory := "unknown"
	if kb := procNumber("/proc/meminfo", "MemTotal:"); kb > 0 {
		memory = fmt.Sprintf("%d GiB", kb>>20)
	}
	return fmt.Sprintf("%s with %d cores, %s of memory, %s/%s, %s", cpu, runtime.NumCPU(), memory, runtime.GOOS, runtime.GOARCH, runtime.Version())
}

func field(r io.Reader, name, otherwise string) string {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		if k, v, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return otherwise
}
