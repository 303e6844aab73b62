// Package deploy tests the files of deploy/: that what they name exists in the
// program, and that the programs that are to read them can.
package deploy

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"switchhook.dev/switchhook/internal/cli"
)

const dir = "../../deploy"

// missing leaves a test out where a tool is missing; CI may not.
func missing(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("SWITCHHOOK_REQUIRE_ALL") != "" {
		t.Fatal(why)
	}
	t.Skip("left out: " + why)
}

// tool finds a program that a test needs.
func tool(t *testing.T, name, from string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		missing(t, fmt.Sprintf("%s is not installed (Debian: apt-get install %s)", name, from))
	}
	return path
}

// help is what the program says of a command.
func help(t *testing.T, bin string, command ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), bin, append(command, "--help")...).CombinedOutput()
	if err != nil {
		t.Fatalf("switchhook %v --help: %v: %s", command, err, out)
	}
	return string(out)
}

// files are the texts of deploy/ and of its manual, by path.
func files(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		// The checker's own files are read only so that a cached test knows of them.
		b, err := os.ReadFile(path)
		if filepath.Base(filepath.Dir(path)) != "check" {
			texts[path] = string(b)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"deploy.md", "operations.md", "scaling.md"} {
		if b, err := os.ReadFile("../../docs/" + name); err == nil {
			texts["docs/"+name] = string(b)
		}
	}
	return texts
}

var (
	variable = regexp.MustCompile(`\bSWITCHHOOK_[A-Z_]+\b`)
	flag     = regexp.MustCompile(`--[a-z][a-z-]+`)
	// tableRow is a line of the table of flags in docs/operations.md.
	tableRow = regexp.MustCompile("(?m)^\\| `(--[a-z-]+)` \\| `(SWITCHHOOK_[A-Z_]+)` \\|")
)

// Whatever deploy/ and its manual set must be there, and whatever serve takes
// must be in the manual.
func TestNamesAgree(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "switchhook")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "../../cmd/switchhook").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	serve := help(t, bin, "serve")
	known := map[string]bool{}
	for _, v := range variable.FindAllString(serve+help(t, bin, "healthcheck")+help(t, bin, "send"), -1) {
		known[v] = true
	}
	for path, text := range files(t) {
		for _, v := range variable.FindAllString(text, -1) {
			if !known[v] {
				t.Errorf("%s names %s, which no command takes", path, v)
			}
		}
	}
	operations, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	manual := map[string]string{}
	for _, m := range tableRow.FindAllStringSubmatch(string(operations), -1) {
		manual[m[1]] = m[2]
	}
	flags := map[string]bool{}
	for _, f := range flag.FindAllString(serve, -1) {
		flags[f] = true
	}
	for f := range flags {
		if v := "SWITCHHOOK_" + strings.ToUpper(strings.ReplaceAll(f[2:], "-", "_")); f != "--help" && f != "--version" && manual[f] != v {
			t.Errorf("serve takes %s ($%s), and the table of docs/operations.md has %q for it", f, v, manual[f])
		}
	}
	for f := range manual {
		if !flags[f] {
			t.Errorf("docs/operations.md has %s, which serve does not take", f)
		}
	}
}

// The environment file must start a server as it stands, and with every line
// that is commented out.
func TestEnvironmentFile(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(dir, "switchhook.env"))
	if err != nil {
		t.Fatal(err)
	}
	setting := regexp.MustCompile(`^#?(SWITCHHOOK_[A-Z_]+)=(\S+)$`)
	n := 0
	for line := range strings.Lines(string(b)) {
		if m := setting.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			t.Setenv(m[1], m[2])
			n++
		} else if !strings.HasPrefix(line, "#") && strings.TrimSpace(line) != "" {
			t.Errorf("systemd would not read this line: %s", line)
		}
	}
	var program struct {
		Serve cli.ServeCmd `cmd:""`
	}
	parser, err := kong.New(&program)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse([]string{"serve"}); err != nil {
		t.Error(err)
	}
	if n < 5 || !strings.HasPrefix(program.Serve.Database, "postgres://") {
		t.Errorf("%d settings, database %q", n, program.Serve.Database)
	}
}

func TestSystemdUnit(t *testing.T) {
	analyze := tool(t, "systemd-analyze", "systemd")
	unit, err := os.ReadFile(filepath.Join(dir, "switchhook.service"))
	if err != nil {
		t.Fatal(err)
	}
	// systemd looks whether the program is there: any program will do.
	const program = "/usr/local/bin/switchhook"
	if n := bytes.Count(unit, []byte("ExecStart="+program+" serve\n")); n != 1 {
		t.Fatalf("%d lines start %s", n, program)
	}
	path := filepath.Join(t.TempDir(), "switchhook.service")
	if err := os.WriteFile(path, bytes.ReplaceAll(unit, []byte(program), []byte("/bin/true")), 0o644); err != nil {
		t.Fatal(err)
	}
	// Without --man it would ask for pages that are not installed.
	out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", path).CombinedOutput()
	if text := string(out); err != nil || strings.Contains(text, "switchhook.service") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, text)
	}
	// 2.0 of 10 is systemd's bound of what is "OK".
	if out, err := exec.CommandContext(t.Context(), analyze, "security", "--offline=true", "--threshold=20", "--no-pager", path).CombinedOutput(); err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
}

func TestBalancer(t *testing.T) {
	haproxy := tool(t, "haproxy", "haproxy")
	config, err := os.ReadFile(filepath.Join(dir, "haproxy.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "haproxy.cfg")
	// The names of the nodes are known only among containers.
	local := regexp.MustCompile(` switchhook\d?:8080`).ReplaceAll(config, []byte(" 127.0.0.1:8080"))
	if err := os.WriteFile(path, local, 0o644); err != nil {
		t.Fatal(err)
	}
	// -dW takes warnings as faults.
	if out, err := exec.CommandContext(t.Context(), haproxy, "-c", "-dW", "-f", path).CombinedOutput(); err != nil {
		t.Errorf("haproxy -c: %v\n%s", err, out)
	}
}

// The parsers of Docker, Compose and Kubernetes are in a module of their own.
func TestContainersAndManifests(t *testing.T) {
	files(t)
	run := func(args ...string) ([]byte, error) {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir = filepath.Join(dir, "check")
		// Without the race detector: those libraries take minutes to build with it.
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "CGO_ENABLED=0", "GOWORK=off")
		return cmd.CombinedOutput()
	}
	if out, err := run("mod", "download"); err != nil {
		missing(t, fmt.Sprintf("the modules of deploy/check cannot be had: %v: %s", err, out))
	}
	// -count=1: what is tested lies outside of that module, where no cache looks.
	for _, args := range [][]string{{"vet", "."}, {"test", "-count=1", "-shuffle=on", "."}} {
		if out, err := run(args...); err != nil {
			t.Errorf("go %s: %v\n%s", args[0], err, out)
		}
	}
}
