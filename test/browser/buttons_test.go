package browser

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"switchhook.dev/switchhook/internal/deliver"
	"switchhook.dev/switchhook/test/trial"
	"switchhook.dev/switchhook/webhook"
)

// checking is an endpoint that verifies with a secret, and tells what came.
type checking struct {
	*httptest.Server
	secret string
	came   chan error
}

func newChecking(t *testing.T) *checking {
	c := &checking{came: make(chan error, 100)}
	c.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		c.came <- webhook.Verify(r.Header, body, []string{c.secret})
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *checking) verified(t *testing.T) {
	t.Helper()
	select {
	case err := <-c.came:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("nothing came")
	}
}

func TestDeliveriesFilterAndLive(t *testing.T) {
	s := newScene(t)
	x := newTab(t, s.URL, looks[0])
	x.signIn(s.Key)
	x.open("/deliveries")
	x.says("Live")
	x.is(`document.querySelectorAll("#log tbody tr").length === 6`)

	// A new one comes by itself, and changes where it stands.
	a := s.Send(customer, avas, "What about now?")
	x.is(`document.querySelector("#log tbody tr").id === "` + a.DeliveryID + `"`)
	x.is(`document.querySelector("#log tbody tr").innerText.includes("delivered")`)

	// Filters are in the address, and the live rows follow them.
	x.fill("select[name=status]", "failed")
	x.until("an address with the filter", func() bool {
		return x.eval("location.search") != "" && strings.Contains(x.eval("location.search"), "status=failed")
	})
	x.says("Nothing matches")
	x.says("Live")
	s.bad.status.Store(410)
	gone := s.Send(customer, bens, "And me?")
	x.is(`document.querySelectorAll("#log tbody tr").length > 0`)
	x.is(`document.getElementById("` + gone.DeliveryID + `") !== null`)
	x.is(`[...document.querySelectorAll("#log tbody .status")].every((e) => e.innerText === "failed")`)
	x.fill("select[name=status]", "")
	x.fill("select[name=agent]", s.cleo)
	x.is(`document.querySelectorAll("#log tbody tr").length === 1 && document.querySelector("#log tbody").innerText.includes("Cleo")`)
	x.fill("select[name=agent]", "")

	// Text: of the message, and an id leads straight on.
	x.run("document.activeElement.blur()")
	x.keys("/")
	x.is(`document.activeElement.id === "text"`)
	x.run(`document.activeElement.value = ""`) // the protocol types "/" all the same
	x.keys("NUMBER 3?")
	x.is(`document.querySelectorAll("#log tbody tr").length === 1`)
	x.until("the text in the address", func() bool { return strings.Contains(x.eval("location.search"), "text=NUMBER") })
	x.says("Live on the newest page")
	x.fill("#text", s.pending)
	x.at("/deliveries/" + s.pending)

	// The other filters, by their addresses.
	for path, rows := range map[string]string{
		"event=agent.message&channel=sms": "8", "channel=voice": "0", "event=agent.reaction": "0",
		"since=" + url.QueryEscape(time.Now().UTC().Add(time.Hour).Format("2006-01-02T15:04")):  "0",
		"until=" + url.QueryEscape(time.Now().UTC().Add(-time.Hour).Format("2006-01-02T15:04")): "0",
		"webhook=" + s.Delivery(s.pending).WebhookID:                                            "2",
	} {
		x.open("/deliveries?" + path)
		if got := x.eval(`document.querySelectorAll("#log tbody tr").length`); got != rows {
			t.Errorf("%s: %s rows, want %s", path, got, rows)
		}
	}
	x.click("#log a|Clear the filters")
	x.at("/deliveries")

	// By the keyboard alone.
	x.is(`document.querySelectorAll("#log tbody tr").length === 8`)
	x.keys("jjk")
	x.is(`document.activeElement.closest("tr") === document.querySelector("#log tbody tr")`)
	x.keys("\r")
	x.at("/deliveries/" + gone.DeliveryID)
}

func TestOlderDeliveriesAreOnFurtherPages(t *testing.T) {
	s := trial.Start(t, later)
	good := newEndpoint(t, 200)
	s.Set(s.Agent("Ava", avas), good.URL)
	var events []trial.Object
	for range 120 {
		events = append(events, trial.Text(customer, avas, "hello"))
	}
	s.OK("POST", "/v1/events/batch", trial.Object{"events": events}, nil)
	x := newTab(t, s.URL, looks[0])
	x.signIn(s.Key)
	seen := map[string]bool{}
	x.open("/deliveries")
	for page, rows := range []string{"50", "50", "20"} {
		if page > 0 {
			x.click("nav.pages a|Older")
			x.is(`document.querySelector("#log [rel=first]") !== null`)
		}
		x.until("a page of "+rows, func() bool { return x.eval(`document.querySelectorAll("#log tbody tr").length`) == rows })
		x.until("rows that were not seen", func() bool {
			ids := strings.Fields(x.eval(`[...document.querySelectorAll("#log tbody tr")].map((r) => r.id).join(" ")`))
			for _, id := range ids {
				if seen[id] {
					return false
				}
			}
			for _, id := range ids {
				seen[id] = true
			}
			return len(ids) > 0
		})
	}
	if len(seen) != 120 || x.eval(`document.querySelector("#log [rel=next]")`) != "" {
		t.Errorf("%d deliveries on three pages", len(seen))
	}
	x.click("nav.pages a|Newest")
	x.says("Live")
}

func TestOneDelivery(t *testing.T) {
	s := trial.Start(t, later)
	c := newChecking(t)
	ava := s.Agent("Ava", avas)
	h := s.Set("", c.URL)
	c.secret = h.Secret
	a := s.Send(customer, avas, "It's \"urgent\" & <b>bold</b>")
	c.verified(t)
	s.UntilStatus(a.DeliveryID, "success")
	x := newTab(t, s.URL, looks[0])
	x.signIn(s.Key)
	x.open("/deliveries/" + a.DeliveryID)
	x.says("To the project's default webhook: when it was bound, Ava had none of its own.")
	for _, part := range []string{"1 attempt", "DNS", "Connect", "TLS", "First byte"} {
		x.says(part)
	}
	x.click("summary|Request headers")
	x.says("X-Webhook-Signature")
	x.accessible()

	// Copied as curl it arrives, and verifies.
	x.click("button|Copy as curl")
	x.is(`document.querySelector("#curl-text") !== null`)
	command := x.eval(`document.querySelector("#curl-text").textContent`)
	if out, err := exec.CommandContext(t.Context(), "bash", "-c", strings.Replace(command, "curl ", "curl -sS ", 1)).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s\n%s", err, out, command)
	}
	c.verified(t)
	x.click(`button[data-copy="#curl-text"]`)
	x.says("Copied")

	// Verified with the webhook's secret, with another, and with no secret at all.
	x.click("summary|Verify this signature")
	x.click("button|Verify")
	x.says("Both signatures of attempt 1 match the webhook's present secret")
	x.fill("input[name=secret]", webhook.NewSecret())
	x.click("button|Verify")
	x.says("They do not match the secret you gave")
	x.fill("input[name=secret]", "swordfish")
	x.click("button|Verify")
	x.says("The secret is not")
	x.fill("input[name=secret]", h.Secret)
	x.click("button|Verify")
	x.says("match the secret you gave")
	x.shot("delivery-verified")

	// Sent again.
	x.click("button|Retry")
	c.verified(t)
	x.says("2 attempts")
	x.is(`document.querySelector(".summary .status").innerText === "delivered"`)
	x.says("Attempt 2")
	s.Set(ava, c.URL)
	x.open("/deliveries/" + a.DeliveryID)
	x.says("It was retried by hand")
	x.says("Ava has one of its own now")
}

func TestAWebhookFromSettingToRemoving(t *testing.T) {
	s := trial.Start(t, deliver.Schedule{time.Hour})
	c := newChecking(t)
	ava := s.Agent("Ava", avas)
	s.Set("", c.URL+"/default")
	x := newTab(t, s.URL, looks[0])
	x.signIn(s.Key)
	x.open("/agents")
	x.click("table a|Ava")
	x.at("/agents/" + ava)
	x.says("none is set")

	// A URL that is refused, then one that is not.
	x.fill("input[name=url]", "ftp://example.com/hook")
	x.click("button|Set the webhook")
	x.is(`document.querySelector("#notice").innerText.includes("http")`)
	x.expect("422")
	x.fill("input[name=url]", c.URL+"/own")
	x.fill("input[name=contextLimit]", "3")
	x.click("button|Set the webhook")
	x.says("It is set; this is its secret")
	c.secret = x.eval(`document.querySelector("#secret").innerText`)
	x.says("gets its events")
	x.says("New events of this agent would go to the default, " + c.URL + "/default")
	for _, language := range []string{"Node", "Python", "Go"} {
		x.click("summary|" + language)
		x.is(`document.querySelector("#code-` + language + `").checkVisibility()`)
		if !strings.Contains(x.eval(`document.querySelector("#code-`+language+`").innerText`), c.secret) {
			t.Errorf("the code in %s lacks the secret", language)
		}
	}
	x.accessible()
	x.shot("agent-secret")
	x.click(`button[data-copy="#secret"]`)
	x.says("Copied")
	x.open("/agents/" + ava)
	x.silent(c.secret)

	x.click("button|Test")
	c.verified(t)
	x.says("It works: the endpoint answered 200")
	x.click("a|See the delivery")
	x.says("Somebody tested this webhook")
	x.open("/agents/" + ava)

	x.click("summary|Rotate the secret")
	x.click("button|Rotate it")
	x.says("The new secret")
	old := c.secret
	c.secret = x.eval(`document.querySelector("#secret").innerText`)
	if c.secret == old || !strings.HasPrefix(c.secret, webhook.SecretPrefix) {
		t.Errorf("the secret was %q and is %q", old, c.secret)
	}
	s.Send(customer, avas, "signed with the new one")
	c.verified(t)

	x.click("button|Disable")
	x.says("It is disabled")
	kept := s.Send(customer, avas, "to nobody")
	s.UntilStatus(kept.DeliveryID, "failed")
	x.click("button|Enable")
	x.says("It is enabled")
	x.click("#agent-body a|Replay")
	x.at("/replay?webhook=wh_")
	x.click("button|Count")
	x.says("1 delivery")
	x.click("button|Replay it")
	x.says("1 of 1")
	x.says("Done")
	c.verified(t)

	x.open("/agents/" + ava)
	x.click("summary|Remove")
	x.shot("agent-remove")
	x.click("button|Remove it")
	x.says("It is removed")
	c.secret = ""
	var own *trial.Webhook
	s.OK("GET", trial.HookPath(ava), nil, &own)
	if own != nil {
		t.Errorf("it is still there: %+v", own)
	}
	// The default, on its own page.
	x.open("/agents/default")
	x.click("summary|Change it")
	x.fill("input[name=url]", c.URL+"/another")
	x.click("button|Save, with a new secret")
	x.says("It is set; this is its secret")
	x.says(c.URL + "/another")
}

func TestTalkingToAnAgent(t *testing.T) {
	s := trial.Start(t, later)
	c := newChecking(t)
	ava := s.Agent("Ava", avas)
	x := newTab(t, s.URL, looks[2])
	x.signIn(s.Key)
	x.open("/conversations")
	x.says("No conversation yet")
	c.secret = s.Set(ava, c.URL).Secret
	x.fill("input[name=message]", "Hello, are you there?")
	x.click("button|Send")
	x.at("/conversations/conv_")
	c.verified(t)
	x.says("Hello, are you there?")
	x.is(`document.querySelector(".message .status").innerText === "delivered"`)
	x.fill("input[name=message]", "I said hello.")
	x.click("button|Send")
	c.verified(t)
	x.is(`document.querySelectorAll(".message").length === 2`)
	x.is(`document.querySelector("input[name=message]").value === ""`)
	// The agent's answer comes by itself.
	s.OK("POST", "/v1/events", trial.Object{"event": "agent.message", "channel": "sms", "data": trial.Object{
		"from": avas, "to": customer, "message": "Yes, I am.", "direction": "outbound",
	}}, nil)
	x.says("Yes, I am.")
	x.is(`document.querySelectorAll(".message.outbound").length === 1`)
	x.fits()
	x.accessible()
	x.click(".message a")
	x.at("/deliveries/del_")
	x.click("a|The conversation")
	x.at("/conversations/conv_")
	x.open("/conversations?with=" + url.QueryEscape("+1 (202) 555-0199"))
	x.says("3 messages")
	x.open("/conversations?with=%2B12025550177")
	x.says("Nobody of that number or name has written")
}

func TestReplayingWithAProgressBar(t *testing.T) {
	s := trial.Start(t, deliver.Schedule{})
	bad := newEndpoint(t, 500)
	s.Set(s.Agent("Ava", avas), bad.URL)
	var events []trial.Object
	for range 20 {
		events = append(events, trial.Text(customer, avas, "hello"))
	}
	s.OK("POST", "/v1/events/batch", trial.Object{"events": events}, nil)
	x := newTab(t, s.URL, looks[0])
	x.signIn(s.Key)
	x.until("all to fail", func() bool {
		var n struct{ Failed, Pending int }
		s.OK("GET", "/v1/webhooks/deliveries/stats", nil, &n)
		return n.Failed == 20 && n.Pending == 0
	})
	bad.status.Store(200)
	x.open("/replay")
	x.fill("select[name=status]", "failed")
	x.click("button|Count")
	x.says("20 deliveries")
	x.shot("replay-count")
	x.click("button|Replay all 20")
	x.says("Done: 20 of 20 on their way again")
	x.is(`document.querySelector("progress").value === 20`)
	x.accessible()
	x.shot("replay-done")
	x.until("all to arrive", func() bool { return bad.came.Load() >= 40 })
	x.open("/replay")
	x.fill("select[name=status]", "failed")
	x.click("button|Count")
	x.says("There is nothing to replay")
	x.fill("input[name=since]", "")
	x.is(`!document.querySelector("form.filters").checkValidity()`)
}

func TestKeysAndTheAuditLog(t *testing.T) {
	s := trial.Start(t, later)
	x := newTab(t, s.URL, looks[0])
	x.signIn(s.Key)
	x.open("/keys")
	x.click("summary|Make a key")
	x.fill("input[name=name]", "the night shift")
	x.click(`input[value=write]`)
	x.click("button|Make it")
	x.says("It is shown here once")
	key := x.eval(`document.querySelector("#secret").innerText`)
	x.shot("keys-made")
	x.accessible()
	if status, body := (&trial.Server{T: t, URL: s.URL, Key: key}).Call("GET", "/v1/agents", nil); status != http.StatusOK {
		t.Errorf("the key is not taken: %d %s", status, body)
	}
	x.open("/keys")
	x.silent(key)
	x.is(`[...document.querySelectorAll("tbody tr")].some((r) => r.innerText.includes("the night shift") && r.innerText.includes("read write"))`)
	x.click(`tbody tr:last-child summary`)
	x.click(`tbody tr:last-child button|Revoke it`)
	x.says("It is revoked")
	if status, _ := (&trial.Server{T: t, URL: s.URL, Key: key}).Call("GET", "/v1/agents", nil); status != http.StatusUnauthorized {
		t.Errorf("the revoked key is answered %d", status)
	}
	x.open("/audit")
	x.says("key.revoke")
	x.says("the night shift")
	// One's own key: signed out at once.
	x.open("/keys")
	x.click("tbody tr:first-child summary")
	x.says("That is you.")
	x.click("tbody tr:first-child button|Revoke it")
	x.at("/login")
}

// The code that is shown beside a secret is whole: it runs, takes what verifies
// and nothing else.
func TestTheCodeShownBesideASecretRuns(t *testing.T) {
	s := trial.Start(t, later)
	x := newTab(t, s.URL, looks[0])
	x.signIn(s.Key)
	x.open("/agents/default")
	x.fill("input[name=url]", "http://127.0.0.1:9/hook")
	x.click("button|Set the webhook")
	x.says("this is its secret")
	secret := x.eval(`document.querySelector("#secret").innerText`)
	for _, c := range []struct {
		language, file string
		run            []string
	}{
		{"Node", "hook.mjs", []string{"node", "hook.mjs"}},
		{"Python", "hook.py", []string{"python3", "hook.py"}},
		{"Go", "hook.go", []string{"./hook"}},
	} {
		t.Run(c.language, func(t *testing.T) {
			dir := t.TempDir()
			code := x.eval(`document.querySelector("#code-` + c.language + `").textContent`)
			if err := os.WriteFile(filepath.Join(dir, c.file), []byte(code), 0o600); err != nil {
				t.Fatal(err)
			}
			if c.language == "Go" {
				build := exec.CommandContext(t.Context(), "go", "build", "-o", "hook", "hook.go")
				build.Dir = dir
				if out, err := build.CombinedOutput(); err != nil {
					t.Fatalf("%v: %s\n%s", err, out, code)
				}
			}
			verifies(t, dir, c.run, secret)
		})
	}
}

// verifies runs a receiver, and sends it what verifies and what does not.
func verifies(t *testing.T, dir string, command []string, secret string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	_ = l.Close()
	run := exec.Command(command[0], command[1:]...)
	run.Dir, run.Env = dir, append(os.Environ(), "PORT="+port)
	var out bytes.Buffer
	run.Stdout, run.Stderr = &out, &out
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = run.Process.Kill(); _ = run.Wait() }()
	send := func(secret string, at time.Time) int {
		body := []byte(`{"event":"agent.message","data":{"message":"hi"}}`)
		sig, err := webhook.Sign(secret, "del_1", at, body)
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequest(http.MethodPost, "http://127.0.0.1:"+port+"/hook", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		sig.SetHeaders(req.Header)
		for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
			resp, err := trial.Client.Do(req)
			if err == nil {
				_ = resp.Body.Close()
				return resp.StatusCode
			}
			if time.Now().After(deadline) {
				t.Fatalf("%v: it never listens: %v", command, err)
			}
			req.Body, _ = req.GetBody()
		}
	}
	now := time.Now()
	for what, got := range map[string][2]int{
		"what verifies":   {send(secret, now), 200},
		"another secret":  {send(webhook.NewSecret(), now), 401},
		"an old delivery": {send(secret, now.Add(-time.Hour)), 401},
	} {
		if got[0] != got[1] {
			t.Errorf("%v answers %d to %s", command, got[0], what)
		}
	}
}
