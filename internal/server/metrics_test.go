package server_test

import (
	"bufio"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"switchhook.dev/switchhook/internal/netguard"
	"switchhook.dev/switchhook/internal/server"
)

func startServer(t *testing.T) *server.Server {
	t.Helper()
	s, err := server.Start(t.Context(), server.Config{
		Listen: "127.0.0.1:0", Database: "sqlite:" + filepath.Join(t.TempDir(), "test.db"), Version: "test",
		Policy: netguard.Policy{AllowHTTP: true, AllowPrivate: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop(t.Context()) })
	return s
}

// served reads the names, and the values of labels, that /metrics answers.
func served(t *testing.T, url string) (names, values map[string]bool) {
	t.Helper()
	resp, err := http.Get(url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	names, values = map[string]bool{}, map[string]bool{}
	label := regexp.MustCompile(`(\w+="[^"]*")`)
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if f := strings.Fields(lines.Text()); len(f) > 2 && f[1] == "TYPE" {
			names[f[2]] = true
		} else if !strings.HasPrefix(lines.Text(), "#") {
			for _, l := range label.FindAllString(lines.Text(), -1) {
				values[l] = true
			}
		}
	}
	return names, values
}

// Every metric that the dashboard and the alerts name exists, with the values of
// labels they ask for; and every metric of ours is on the dashboard and in the docs.
func TestMetricsThatAreNamedExist(t *testing.T) {
	names, values := served(t, startServer(t).URL)
	read := func(path string) string {
		b, err := os.ReadFile(filepath.Join("../..", path))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	dashboard := strings.ReplaceAll(read("deploy/grafana/switchhook.json"), `\"`, `"`)
	docs := read("docs/operations.md")
	named := map[string]bool{}
	for file, text := range map[string]string{
		"the dashboard": dashboard, "the alerts": read("deploy/prometheus/switchhook.rules.yml"), "docs/operations.md": docs,
	} {
		for _, name := range regexp.MustCompile(`\b(switchhook|process)_[a-z_]+`).FindAllString(text, -1) {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				name = strings.TrimSuffix(name, suffix)
			}
			if !names[name] && name != "process_" {
				t.Errorf("%s names %s, which /metrics does not have", file, name)
			}
			if file == "the dashboard" {
				named[name] = true
			}
		}
		for _, l := range regexp.MustCompile(`\b(status|reason|answer|state)="[^"$~]*"`).FindAllString(text, -1) {
			if !values[l] {
				t.Errorf("%s asks for %s, which /metrics does not have", file, l)
			}
		}
	}
	for name := range names {
		if !strings.HasPrefix(name, "switchhook_") {
			continue
		}
		if !named[name] {
			t.Errorf("%s is not on the dashboard", name)
		}
		if !strings.Contains(docs, "`"+name) {
			t.Errorf("%s is not in docs/operations.md", name)
		}
	}
}

func TestAlertRules(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("SWITCHHOOK_REQUIRE_ALL") != "" {
			t.Fatal(err)
		}
		t.Skip("left out: promtool is not installed (Debian package prometheus)")
	}
	for _, args := range [][]string{
		{"check", "rules", "switchhook.rules.yml"},
		{"test", "rules", "switchhook.rules.test.yml"},
	} {
		cmd := exec.Command(promtool, args...)
		cmd.Dir = "../../deploy/prometheus"
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
	// What is served is well-formed too.
	resp, err := http.Get(startServer(t).URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(promtool, "check", "metrics")
	cmd.Stdin = strings.NewReader(string(text))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}
