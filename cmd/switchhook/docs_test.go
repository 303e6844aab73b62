package main

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"switchhook.dev/switchhook/docs"
	"switchhook.dev/switchhook/internal/manual"
)

var update = flag.Bool("update", false, "write docs/commands.md anew")

func newParser(t *testing.T) *kong.Kong {
	t.Helper()
	return kong.Must(&program{}, kong.Name("switchhook"), kong.Vars{"version": "test"})
}

// Every flag that --help knows is in the documents; docs/commands.md is made from it.
func TestCommandsPage(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Commands and flags\n\nMade from `switchhook --help` by `go test ./cmd/switchhook -run TestCommandsPage -update`.\n")
	for _, leaf := range newParser(t).Model.Leaves(true) {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", strings.TrimPrefix(leaf.FullPath(), "switchhook "), leaf.Help)
		fmt.Fprintf(&b, "\n```\n%s\n```\n", leaf.Summary())
		var rows [][3]string
		for _, arg := range leaf.Positional {
			rows = append(rows, [3]string{"`<" + arg.Name + ">`", "", arg.Help})
		}
		for _, group := range leaf.AllFlags(true) {
			for _, f := range group {
				if f.Name == "help" || f.Name == "version" {
					continue
				}
				name := "`--" + f.Name + "`"
				if len(f.Envs) > 0 {
					name += ", `" + strings.Join(f.Envs, "`, `") + "`"
				}
				value := f.Default
				if value != "" {
					value = "`" + value + "`"
				}
				rows = append(rows, [3]string{name, value, f.Help})
			}
		}
		if len(rows) > 0 {
			b.WriteString("\n| | default | |\n|---|---|---|\n")
			for _, r := range rows {
				fmt.Fprintf(&b, "| %s | %s | %s |\n", r[0], strings.ReplaceAll(r[1], "|", `\|`), strings.ReplaceAll(r[2], "|", `\|`))
			}
		}
	}
	const path = "../../docs/commands.md"
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// What is new may stand in another page until this one is made anew.
	all := ""
	for _, text := range documents(t) {
		all += text
	}
	for _, leaf := range newParser(t).Model.Leaves(true) {
		for _, group := range leaf.AllFlags(true) {
			for _, f := range group {
				if !regexp.MustCompile("--"+f.Name+`\b`).MatchString(all) && f.Name != "help" && f.Name != "version" {
					t.Errorf("--%s of %s is in no document: run go test ./cmd/switchhook -run TestCommandsPage -update", f.Name, leaf.FullPath())
				}
			}
		}
	}
}

// documents are the README and every page of docs, by path.
func documents(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	paths, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range append(paths, "../../README.md", "../../examples/README.md") {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		out[p] = string(b)
	}
	return out
}

// What the documents name of the program exists: flags, commands, variables.
func TestDocsNameWhatExists(t *testing.T) {
	flags, envs, commands := map[string]bool{"--help": true, "--version": true}, map[string]bool{}, map[string]bool{}
	for _, leaf := range newParser(t).Model.Leaves(false) {
		words := strings.Fields(strings.TrimPrefix(leaf.FullPath(), "switchhook "))
		for i := range words {
			commands[strings.Join(words[:i+1], " ")] = true
		}
		for _, group := range leaf.AllFlags(false) {
			for _, f := range group {
				flags["--"+f.Name] = true
				for _, e := range f.Envs {
					envs[e] = true
				}
			}
		}
	}
	source := sources(t)
	code := regexp.MustCompile("(?s)```.*?```|`[^`\n]+`|(?m)^    .*$")
	// A command begins its line, perhaps after what sets variables or captures the output.
	command := regexp.MustCompile(`^(?:\w+=\S+ )*(?:\w+=\$\(|go run ./cmd/|\./)?switchhook ([a-z][a-z-]+)(?: ([a-z]+))?(.*)$`)
	flag := regexp.MustCompile(`(?:^|[\s"(])(--[a-z][a-z-]+)`)
	for path, text := range documents(t) {
		for _, span := range code.FindAllString(text, -1) {
			span = strings.ReplaceAll(strings.Trim(span, "`"), "\\\n", " ")
			for line := range strings.Lines(span) {
				line = strings.TrimSpace(line)
				if alone := regexp.MustCompile(`^--[a-z][a-z-]+`).FindString(line); alone != "" && !strings.Contains(span, "\n") && !flags[alone] {
					t.Errorf("%s names the flag %s, which no command has", path, alone)
				}
				c := command.FindStringSubmatch(line)
				if c == nil {
					continue
				}
				if !commands[c[1]] {
					t.Errorf("%s names the command switchhook %s, which there is not", path, c[1])
				} else if c[2] != "" && hasSub(commands, c[1]) && !commands[c[1]+" "+c[2]] {
					t.Errorf("%s names the command switchhook %s %s, which there is not", path, c[1], c[2])
				}
				for _, f := range flag.FindAllStringSubmatch(c[3], -1) {
					if !flags[f[1]] {
						t.Errorf("%s names the flag %s, which no command has", path, f[1])
					}
				}
			}
		}
		for _, e := range regexp.MustCompile(`\bSWITCHHOOK_[A-Z_]+\b`).FindAllString(text, -1) {
			if !envs[e] && e != "SWITCHHOOK_REQUIRE_ALL" && !strings.Contains(source, `"`+e+`"`) {
				t.Errorf("%s names the variable %s, which nothing reads", path, e)
			}
		}
	}
}

func hasSub(commands map[string]bool, c string) bool {
	for k := range commands {
		if strings.HasPrefix(k, c+" ") {
			return true
		}
	}
	return false
}

// sources is the Go source of the program, for variables that are no flags.
func sources(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir("../../internal", func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			b, readErr := os.ReadFile(path)
			all.Write(b)
			return readErr
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

// Links between the documents, as files, lead to something.
func TestLinksBetweenFiles(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for path, text := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "/") {
				continue
			}
			file := path
			if target != "" {
				file = filepath.Join(filepath.Dir(path), target)
			}
			b, err := os.ReadFile(file)
			if info, statErr := os.Stat(file); err != nil && (statErr != nil || !info.IsDir()) {
				t.Errorf("%s links to %s: %v", path, m[1], err)
			}
			if anchor != "" && !slices.Contains(anchors(string(b)), anchor) {
				t.Errorf("%s links to %s, where no such heading is", path, m[1])
			}
		}
	}
}

// anchors are the headings of a document as links name them.
func anchors(text string) (out []string) {
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		s := strings.ToLower(strings.NewReplacer("`", "").Replace(m[1]))
		s = regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(s, "")
		out = append(out, strings.ReplaceAll(s, " ", "-"))
	}
	return out
}

// The pages in the binary: every link on them leads somewhere, and nothing comes
// from another network.
func TestManual(t *testing.T) {
	srv := httptest.NewServer(manual.Handler())
	defer srv.Close()
	ids := map[string]map[string]bool{}
	get := func(path string) (string, *http.Response) {
		resp, err := http.Get(srv.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var b bytes.Buffer
		if _, err := b.ReadFrom(resp.Body); err != nil {
			t.Fatal(err)
		}
		return b.String(), resp
	}
	type reference struct{ from, to string }
	var links []reference
	entries, err := docs.Pages.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		path := "/docs/" + strings.TrimSuffix(e.Name(), ".md")
		body, resp := get(path)
		csp := resp.Header.Get("Content-Security-Policy")
		if resp.StatusCode != http.StatusOK || !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: %s, %s", path, resp.Status, csp)
		}
		if strings.Contains(body, "<script") || strings.Contains(body, " style=") || strings.Contains(body, `src="http`) {
			t.Errorf("%s holds what its policy forbids", path)
		}
		ids[path] = map[string]bool{}
		for _, m := range regexp.MustCompile(` id="([^"]+)"`).FindAllStringSubmatch(body, -1) {
			ids[path][m[1]] = true
		}
		for _, m := range regexp.MustCompile(` href="([^"]+)"`).FindAllStringSubmatch(body, -1) {
			links = append(links, reference{path, m[1]})
		}
	}
	for _, l := range links {
		target, anchor, _ := strings.Cut(l.to, "#")
		switch {
		case strings.Contains(target, "://") || target == "/docs/api" || strings.HasPrefix(target, "mailto:"):
			continue
		case target == "":
			target = l.from
		case target == "/docs":
			target = "/docs/index"
		case target == "/docs/style.css":
			if body, resp := get(target); !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/css") || !strings.Contains(body, "prefers-color-scheme: dark") {
				t.Error("the style sheet is not as it should be")
			}
			continue
		}
		if ids[target] == nil || anchor != "" && !ids[target][anchor] {
			t.Errorf("%s links to %s, which is not there", l.from, l.to)
		}
	}
	if _, resp := get("/docs/nothing"); resp.StatusCode != http.StatusNotFound {
		t.Error(resp.Status)
	}
}

// freeAddress is an address that nothing listens at.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// The quickstart's blocks run, one after the other, each in the terminal it names.
// Those that go on are left running once they have said something.
func TestQuickstart(t *testing.T) {
	for _, tool := range []string{"bash", "node"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("SWITCHHOOK_REQUIRE_ALL") != "" {
				t.Fatal(err)
			}
			t.Skipf("left out: %s is not installed", tool)
		}
	}
	text, err := os.ReadFile("../../docs/quickstart.md")
	if err != nil {
		t.Fatal(err)
	}
	home, server, agent := t.TempDir(), freeAddress(t), freeAddress(t)
	_, agentPort, _ := net.SplitHostPort(agent)
	get := func(name string) string {
		out, err := exec.Command("go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		return name + "=" + strings.TrimSpace(string(out))
	}
	// The version control's settings are in the home that is not used here.
	env := append(os.Environ(), "HOME="+home, "GOFLAGS="+os.Getenv("GOFLAGS")+" -buildvcs=false", "GOBIN="+home+"/bin", "PATH="+home+"/bin:"+os.Getenv("PATH"),
		get("GOMODCACHE"), get("GOCACHE"), get("GOPATH"), "SWITCHHOOK_LISTEN="+server, "SWITCHHOOK_URL=http://"+server)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(blocks) < 6 {
		t.Fatalf("%d blocks", len(blocks))
	}
	all := ""
	for _, b := range blocks {
		block := strings.ReplaceAll(strings.ReplaceAll(b[1], "localhost:9000", "127.0.0.1:"+agentPort), "PORT=9000", "PORT="+agentPort)
		first, _, _ := strings.Cut(block, "\n")
		// exec, so that ending the shell ends the program.
		goesOn := strings.Contains(first, "goes on")
		if goesOn {
			lines := strings.Split(strings.TrimSpace(block), "\n")
			last := lines[len(lines)-1]
			if strings.HasPrefix(last, "PORT=") {
				last = "env " + last
			}
			lines[len(lines)-1] = "exec " + last
			block = strings.Join(lines, "\n")
		}
		cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", block)
		cmd.Dir, cmd.Env, cmd.Stderr = "../..", env, t.Output()
		if !goesOn {
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%s\n%s\n%v", block, out, err)
			}
			all += string(out)
			continue
		}
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		said := make(chan bool, 1)
		go func() {
			lines := bufio.NewScanner(stdout)
			said <- lines.Scan()
			for lines.Scan() {
			}
		}()
		defer func() { cancel(); _ = cmd.Wait() }()
		select {
		case ok := <-said:
			if !ok {
				t.Fatalf("it ended:\n%s", block)
			}
		case <-time.After(time.Minute):
			t.Fatalf("it said nothing within a minute:\n%s", block)
		}
	}
	if !strings.Contains(all, "Where is my order?") && !strings.Contains(all, "blue one") {
		t.Errorf("no message is listed in what was printed:\n%s", all)
	}
}
