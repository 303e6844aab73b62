package browser

import (
	"crypto/sha256"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"switchhook.dev/switchhook/internal/deliver"
	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
	"switchhook.dev/switchhook/internal/store/sqlite"
	"switchhook.dev/switchhook/test/trial"
)

const (
	ourKey   = "sk_a_key_for_browser_tests"
	customer = "+12025550199"
	avas     = "+12025550101"
	bens     = "+12025550102"
)

// later is a schedule whose retries no test waits for.
var later = deliver.Schedule{time.Hour, time.Hour, time.Hour}

// endpoint is a receiver that answers with a status, which can be changed.
type endpoint struct {
	*httptest.Server
	status atomic.Int64
	came   atomic.Int64
}

func newEndpoint(t *testing.T, status int) *endpoint {
	e := &endpoint{}
	e.status.Store(int64(status))
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		e.came.Add(1)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(int(e.status.Load()))
		_, _ = fmt.Fprintf(w, `{"status": %d, "seen": true}`, e.status.Load())
	}))
	t.Cleanup(e.Close)
	return e
}

// scene is a server in which a good deal has happened.
type scene struct {
	*trial.Server
	good, bad         *endpoint
	ava, ben, cleo    string
	delivered         trial.Accepted
	pending, unrouted string
}

func newScene(t *testing.T) *scene {
	path := filepath.Join(t.TempDir(), "scene.db")
	fillHours(t, path)
	s := &scene{Server: trial.StartOn(t, path, ourKey, later), good: newEndpoint(t, 200), bad: newEndpoint(t, 503)}
	s.ava, s.ben = s.Agent("Ava", avas), s.Agent("Ben of the night shift with quite a long name", bens)
	s.cleo = s.Agent("Cleo", "+12025550103")
	s.Send(customer, "+12025550103", "Nobody will hear this")
	var list struct{ Items []struct{ ID string } }
	s.OK("GET", "/v1/webhooks/deliveries?status=unrouted", nil, &list)
	s.unrouted = list.Items[0].ID
	s.Set("", s.good.URL+"/a/rather/long/path/that/goes/on/and/on/for/longer/than/a/phone/is/wide")
	s.Set(s.ava, s.good.URL)
	s.Set(s.ben, s.bad.URL)
	s.pending = s.Send(customer, bens, "Will you call me back tonight?").DeliveryID
	s.Until(s.pending, func(d trial.Delivery) bool { return d.AttemptCount == 1 })
	for i := range 4 {
		s.delivered = s.Send(customer, avas, fmt.Sprintf("Where is my order number %d? I have been waiting for it since last Tuesday, and nobody told me anything.", i))
		s.UntilStatus(s.delivered.DeliveryID, "success")
		s.OK("POST", "/v1/events", trial.Object{"event": "agent.message", "channel": "sms", "data": trial.Object{
			"from": avas, "to": customer, "message": "It is on its way, and will be with you tomorrow.", "direction": "outbound",
		}}, nil)
	}
	return s
}

// fillHours makes the project, with some hours of counts as a server that runs has.
func fillHours(t *testing.T, path string) {
	t.Helper()
	st, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Truncate(time.Minute)
	p := phone.Project{ID: phone.NewID(phone.PrefixProject), Name: "scene", CreatedAt: now}
	err = st.CreateProject(t.Context(), p, phone.Key{
		ID: phone.NewID(phone.PrefixKey), ProjectID: p.ID, Name: "operator", Hash: sha256.Sum256([]byte(ourKey)), Hint: ourKey[:4],
		Scopes: phone.ScopeAdmin, Operator: true, CreatedAt: now,
	})
	if err != nil {
		t.Fatal(err)
	}
	var minutes []store.Minute
	for i := range 170 {
		m := store.Minute{ProjectID: p.ID, At: now.Add(-time.Duration(170-i) * time.Minute)}
		wave := 1 + math.Sin(float64(i)/18)
		m.Accepted = int(600 * (1.2 + wave))
		m.Success, m.Failed = m.Accepted-int(8*wave), int(8*wave)
		m.Attempts, m.Pending = m.Accepted, int(40*wave*wave)
		for range 200 {
			m.Latency.Observe(time.Duration(2+4*wave) * time.Millisecond)
		}
		for range 4 {
			m.Latency.Observe(time.Duration(40+60*wave) * time.Millisecond)
		}
		minutes = append(minutes, m)
	}
	if err := st.SaveMinutes(t.Context(), "before", minutes, now.Add(-24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestEveryPage opens every page in every look, keeps a picture of it, and has it
// checked for accessibility, for what the console says, and for what is cut off.
func TestEveryPage(t *testing.T) {
	s := newScene(t)
	pages := []struct{ name, path, says string }{
		{"now", "/", "Endpoints in trouble"},
		{"deliveries", "/deliveries", "Ava"},
		{"deliveries-none", "/deliveries?text=nothing+like+it", "Nothing matches"},
		{"delivery", "/deliveries/" + s.delivered.DeliveryID, "Ava's own webhook"},
		{"delivery-pending", "/deliveries/" + s.pending, "503"},
		{"delivery-unrouted", "/deliveries/" + s.unrouted, "Nowhere"},
		{"agents", "/agents", "Cleo"},
		{"agent", "/agents/" + s.ben, "If its own were removed"},
		{"agent-on-default", "/agents/" + s.cleo, "Where its events go"},
		{"default", "/agents/default", "It gets the events of every agent"},
		{"conversations", "/conversations", customer},
		{"conversation", "/conversations/" + s.delivered.ConversationID, "It is on its way"},
		{"replay", "/replay", "Count first"},
		{"keys", "/keys", "operator"},
		{"audit", "/audit", "webhook.set"},
		{"missing", "/agents/agt_none", "Not Found"},
	}
	for _, l := range looks {
		t.Run(l.name, func(t *testing.T) {
			x := newTab(t, s.URL, l)
			x.open("/login")
			x.fits()
			x.accessible()
			x.shot("login-" + l.name)
			x.signIn(s.Key)
			for _, p := range pages {
				x.open(p.path)
				x.says(p.says)
				if p.name == "now" {
					x.is(`document.querySelectorAll(".plot canvas").length === 4`)
				}
				if p.name == "missing" {
					x.expect("404")
				}
				x.fits()
				if l.axe {
					x.accessible()
				}
				x.shot(p.name + "-" + l.name)
			}
		})
	}
}

func TestNowSaysWhatIsWrongAndKeepsUpToDate(t *testing.T) {
	s := newScene(t)
	x := newTab(t, s.URL, looks[0])
	x.signIn(s.Key)
	x.says("Ben of the night shift")
	x.says("1 delivery of late failed, and will be tried again")
	x.says("had no webhook of its own when 1 event came")
	x.click(".segments button|24 h")
	x.at("/?hours=24")
	x.is(`document.querySelectorAll(".plot canvas").length === 4`)
	x.is(`document.querySelector("[data-plot=success]").getAttribute("aria-label").includes("now ")`)
	// The page renews itself.
	s.OK("PATCH", trial.HookPath(""), trial.Object{"status": "disabled"}, nil)
	x.says("is disabled: its events are kept as failed")
	x.click("#theme")
	x.is(`document.documentElement.dataset.theme === "dark"`)
	x.open("/agents")
	x.is(`document.documentElement.dataset.theme === "dark" && getComputedStyle(document.body).backgroundColor === "rgb(16, 20, 24)"`)
	x.click("#theme")
	x.is(`document.documentElement.dataset.theme === "light"`)
	x.click("footer button|Keyboard")
	x.is(`document.querySelector("#keys-help").open`)
	x.accessible()
}
