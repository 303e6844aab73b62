// Package browser tests the dashboard in a real browser: every page and button,
// in light and dark, at desktop and phone width.
//
// Screenshots go to the directory that SWITCHHOOK_SCREENSHOTS names, else to a
// temporary one. chromium, and axe-core by `npm ci` in this directory, must be
// there; the tests are left out where they are not, unless SWITCHHOOK_REQUIRE_ALL
// says that nothing may be.
package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	cdpruntime "github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// patience is how long a test waits for what should happen: a loaded machine is slow.
const patience = 90 * time.Second

var (
	browser     context.Context
	axe         string
	screenshots string
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

// run starts the one browser that all tests share.
func run(m *testing.M) int {
	path, err := exec.LookPath("chromium")
	source, axeErr := os.ReadFile(filepath.Join("node_modules", "axe-core", "axe.min.js"))
	if (err != nil || axeErr != nil) && os.Getenv("SWITCHHOOK_REQUIRE_ALL") == "" {
		fmt.Println("left out: chromium or axe-core is not installed (npm ci --prefix test/browser)")
		return 0
	}
	if err != nil || axeErr != nil {
		fmt.Println("chromium or axe-core is missing:", err, axeErr)
		return 1
	}
	axe = string(source)
	dir, err := os.MkdirTemp("", "switchhook-browser-")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer os.RemoveAll(dir)
	screenshots = os.Getenv("SWITCHHOOK_SCREENSHOTS")
	if screenshots == "" {
		screenshots = filepath.Join(dir, "screenshots")
	}
	if err := os.MkdirAll(screenshots, 0o755); err != nil {
		fmt.Println(err)
		return 1
	}
	allocator, stop := chromedp.NewExecAllocator(context.Background(),
		chromedp.ExecPath(path), chromedp.UserDataDir(filepath.Join(dir, "profile")), chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck,
		chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.WSURLReadTimeout(patience),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true), chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("disable-extensions", true),
		chromedp.Flag("disable-background-timer-throttling", true), chromedp.Flag("disable-renderer-backgrounding", true),
		chromedp.Flag("disable-backgrounding-occluded-windows", true), chromedp.Flag("hide-scrollbars", true))
	defer stop()
	var cancel context.CancelFunc
	browser, cancel = chromedp.NewContext(allocator)
	defer cancel()
	if err := chromedp.Do(browser); err != nil {
		fmt.Println("chromium does not start:", err)
		return 1
	}
	return m.Run()
}

// look is how a page is looked at.
type look struct {
	name          string
	width, height int64
	phone         bool
	scheme        string
	// axe checks every page in this look: each scheme and each width once.
	axe bool
}

var looks = []look{
	{"desktop-light", 1280, 900, false, "light", true},
	{"desktop-dark", 1280, 900, false, "dark", false},
	{"phone-light", 390, 844, true, "light", false},
	{"phone-dark", 390, 844, true, "dark", true},
}

// tab is a tab with cookies of its own.
type tab struct {
	t    *testing.T
	ctx  context.Context
	base string

	mu sync.Mutex
	// complaints are what the browser's console said as errors.
	complaints []string
}

func newTab(t *testing.T, base string, l look) *tab {
	t.Helper()
	x := &tab{t: t, base: base}
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext(), chromedp.WithListener(x.listen))
	x.ctx = ctx
	// The first call opens the tab, which lives as long as its context: no timeout here.
	if _, err := chromedp.Call(ctx, log.Enable, cdp.Empty{}); err != nil {
		cancel()
		t.Fatal(err)
	}
	x.seenAs(l)
	t.Cleanup(func() {
		cancel()
		x.mu.Lock()
		defer x.mu.Unlock()
		for _, c := range x.complaints {
			t.Error("the console says:", c)
		}
	})
	return x
}

func (x *tab) seenAs(l look) {
	x.t.Helper()
	_, err := chromedp.Call(x.ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: l.width, Height: l.height, DeviceScaleFactor: 1, Mobile: l.phone})
	if err == nil {
		_, err = chromedp.Call(x.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: l.scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
		}})
	}
	if err != nil {
		x.t.Fatal(err)
	}
}

func (x *tab) listen(event any) {
	complain := func(format string, args ...any) {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.complaints = append(x.complaints, fmt.Sprintf(format, args...))
	}
	switch e := event.(type) {
	case *cdpruntime.EventExceptionThrown:
		complain("%s %+v", e.ExceptionDetails.Text, e.ExceptionDetails.Exception)
	case *cdpruntime.EventConsoleAPICalled:
		if e.Type == cdpruntime.ConsoleAPICalledTypeError {
			var parts []string
			for _, a := range e.Args {
				parts = append(parts, fmt.Sprintf("%s %s", a.Value, a.Description))
			}
			complain("%s", strings.Join(parts, " "))
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError {
			complain("%s %s", e.Entry.Text, e.Entry.URL)
		}
	}
}

// expect takes away the complaints that hold a text: they are what a test is about.
func (x *tab) expect(text string) {
	x.t.Helper()
	x.until("the console to say "+text, func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		for i, c := range x.complaints {
			if strings.Contains(c, text) {
				x.complaints = append(x.complaints[:i], x.complaints[i+1:]...)
				return true
			}
		}
		return false
	})
}

func (x *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	x.t.Helper()
	ctx, cancel := context.WithTimeout(x.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		x.t.Fatal(err)
	}
}

// until waits for something that a page, or the server, does in its own time.
func (x *tab) until(what string, good func() bool) {
	x.t.Helper()
	deadline := time.Now().Add(patience)
	for !good() {
		if time.Now().After(deadline) {
			x.shot("failed-" + strings.ReplaceAll(x.t.Name(), "/", "-"))
			x.t.Fatalf("waited in vain for %s; %s says:\n%s", what, x.eval("location.href"), x.eval("document.body.innerText"))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// eval is what an expression is in the page, as text; "" while a page is left for
// another. Of a promise it is what comes of it.
func (x *tab) eval(js string) string {
	ctx, cancel := context.WithTimeout(x.ctx, patience)
	defer cancel()
	out, err := chromedp.Run(ctx, chromedp.Evaluate[string]("Promise.resolve("+js+").then((v) => v == null ? \"\" : String(v))", chromedp.EvalAwaitPromise))
	if err != nil {
		return ""
	}
	return out
}

// run is eval for what is done for its effect, which must succeed.
func (x *tab) run(js string) {
	x.t.Helper()
	x.do(chromedp.Evaluate[chromedp.Void](js))
}

func (x *tab) is(js string) {
	x.t.Helper()
	x.until(js, func() bool { return x.eval("Boolean("+js+")") == "true" })
}

// open goes to a path and waits until its scripts have begun.
func (x *tab) open(path string) {
	x.t.Helper()
	x.do(chromedp.Navigate(x.base + path))
	x.ready()
}

func (x *tab) ready() {
	x.t.Helper()
	x.is(`document.readyState === "complete" && typeof htmx !== "undefined"`)
}

// at waits for a page whose path and query match.
func (x *tab) at(path string) {
	x.t.Helper()
	x.until("the address "+path, func() bool { return strings.HasPrefix(x.eval("location.pathname + location.search"), path) })
	x.ready()
}

// says waits for a text in the page.
func (x *tab) says(text string) {
	x.t.Helper()
	quoted, _ := json.Marshal(text)
	x.is("document.body.innerText.includes(" + string(quoted) + ")")
}

// silent checks that a text is not in the page.
func (x *tab) silent(text string) {
	x.t.Helper()
	quoted, _ := json.Marshal(text)
	if x.eval("document.body.innerText.includes("+string(quoted)+")") != "false" {
		x.t.Errorf("the page says %q", text)
	}
}

// element is a script that finds a visible element by selector, or, after a "|",
// by its text.
func element(selector string) string {
	css, text, _ := strings.Cut(selector, "|")
	c, _ := json.Marshal(css)
	w, _ := json.Marshal(text)
	return fmt.Sprintf(`[...document.querySelectorAll(%s)].find((e) => e.checkVisibility() && (%s === "" || e.textContent.trim() === %s))`, c, w, w)
}

// click clicks what a person would: a real mouse, where the element is.
func (x *tab) click(selector string) {
	x.t.Helper()
	x.is(element(selector))
	x.is(`(() => { const e = ` + element(selector) + `; if (!e) return false; e.scrollIntoView({ block: "center" }); const r = e.getBoundingClientRect();
		const at = document.elementFromPoint(r.x + r.width / 2, r.y + r.height / 2); return at && (e === at || e.contains(at)); })()`)
	var left, top float64
	place := x.eval(`(() => { const r = ` + element(selector) + `.getBoundingClientRect(); return (r.x + r.width / 2) + " " + (r.y + r.height / 2); })()`)
	if _, err := fmt.Sscan(place, &left, &top); err != nil {
		x.t.Fatalf("%s went away: %q", selector, place)
	}
	x.do(chromedp.MouseClickXY(left, top))
}

// fill types a value into a field, in place of what is there.
func (x *tab) fill(selector, value string) {
	x.t.Helper()
	x.is(element(selector))
	quoted, _ := json.Marshal(value)
	x.run(`(() => { const e = ` + element(selector) + `; e.focus(); e.value = ` + string(quoted) + `;
		e.dispatchEvent(new Event("input", { bubbles: true })); e.dispatchEvent(new Event("change", { bubbles: true })); })()`)
}

func (x *tab) keys(keys string) {
	x.t.Helper()
	for _, k := range keys {
		x.do(chromedp.KeyEvent(string(k)))
	}
}

// signIn signs in with a key.
func (x *tab) signIn(key string) {
	x.t.Helper()
	x.open("/login")
	x.fill("input[name=key]", key)
	x.click("main button|Sign in")
	x.is(`location.pathname !== "/login"`)
	x.ready()
}

// shot keeps a picture of the whole page.
func (x *tab) shot(name string) {
	ctx, cancel := context.WithTimeout(x.ctx, patience)
	defer cancel()
	beyond := true
	picture, err := chromedp.Call(ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{CaptureBeyondViewport: &beyond})
	if err == nil {
		err = os.WriteFile(filepath.Join(screenshots, name+".png"), picture.Data, 0o644)
	}
	if err != nil {
		x.t.Error("no screenshot:", err)
	}
}

// fits checks that nothing of the page is beyond its width.
func (x *tab) fits() {
	x.t.Helper()
	if wide := x.eval(`document.documentElement.scrollWidth > document.documentElement.clientWidth ? document.documentElement.scrollWidth : ""`); wide != "" {
		x.t.Errorf("%s is %s wide", x.eval("location.href"), wide)
	}
}

// accessible asks axe what is wrong with the page: nothing serious may be.
func (x *tab) accessible() {
	x.t.Helper()
	x.run(axe)
	found := x.eval(`axe.run(document, { resultTypes: ["violations"] }).then((r) => r.violations
		.filter((v) => v.impact === "serious" || v.impact === "critical")
		.map((v) => v.id + ": " + v.help + "\n" + v.nodes.slice(0, 5).map((n) => "  " + n.html.slice(0, 160) + " " + (n.any[0]?.message ?? "")).join("\n")).join("\n") || "nothing")`)
	if found != "nothing" {
		x.t.Errorf("axe says of %s:\n%s", x.eval("location.href"), found)
	}
}
