package endtoend

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"switchhook.dev/switchhook/internal/store/postgres/pgtest"
)

// moveSecretKey seals the webhooks' secrets before the move and after it.
const moveSecretKey = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

// startOn runs the real program on any database, with retries a day apart, and
// waits until it answers.
func startOn(t *testing.T, database string) *program {
	t.Helper()
	return startWith(t, database, "24h,24h", "SWITCHHOOK_SECRET_KEY="+moveSecretKey)
}

// kill ends a program as a power cut would.
func (p *program) kill() {
	_ = p.Process.Kill()
	_ = p.Wait()
}

// migrateStore runs the command to its end, and returns what it printed.
func migrateStore(t *testing.T, args ...string) (string, error) {
	t.Helper()
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), bin, append([]string{"migrate-store"}, args...)...)
	cmd.Env = append(os.Environ(), "SWITCHHOOK_SECRET_KEY="+moveSecretKey)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// migrate brings a database's schema up to date.
func migrate(t *testing.T, database string, args ...string) (string, error) {
	t.Helper()
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), bin, append([]string{"migrate", "--database=" + database}, args...)...).CombinedOutput()
	return string(out), err
}

// killAt runs the command and kills it while it waits to write to a table of the
// target, which the test has locked.
func killAt(t *testing.T, target, table string, args ...string) {
	t.Helper()
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "LOCK TABLE "+table+" IN SHARE MODE"); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, append([]string{"migrate-store"}, args...)...)
	cmd.Env = append(os.Environ(), "SWITCHHOOK_SECRET_KEY="+moveSecretKey)
	var printed bytes.Buffer
	cmd.Stdout, cmd.Stderr = &printed, &printed
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waiting := func() (n int) {
		err := tx.QueryRow(t.Context(), "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = $1::regclass", table).Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for deadline := time.Now().Add(2 * time.Minute); waiting() == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			t.Fatalf("the move does not come to %s: %s", table, printed.String())
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	// Its backend still waits for the lock: a machine that went takes its connections along.
	if _, err := tx.Exec(t.Context(), "SELECT pg_terminate_backend(pid, 60000) FROM pg_locks WHERE NOT granted AND relation = $1::regclass", table); err != nil {
		t.Fatal(err)
	}
}

// snapshot is what the API shows of a project, less what time alone changes.
func (w *world) snapshot() map[string]any {
	w.t.Helper()
	seen := map[string]any{}
	get := func(path string) any {
		var v any
		w.ok("GET", path, nil, &v)
		seen[path] = v
		return v
	}
	items := func(v any, key string) (ids []string) {
		if m, ok := v.(map[string]any); ok {
			v = m[key]
		}
		list, _ := v.([]any)
		for _, x := range list {
			ids = append(ids, x.(map[string]any)["id"].(string))
		}
		return ids
	}
	for _, id := range items(get("/v1/agents?limit=100"), "data") {
		get(hookPath(id))
	}
	get("/v1/webhooks")
	for _, id := range items(get("/v1/numbers?limit=100"), "data") {
		get("/v1/numbers/" + id + "/messages?limit=100")
	}
	for _, id := range items(get("/v1/conversations?limit=100"), "data") {
		get("/v1/conversations/" + id + "?messageLimit=100")
	}
	for _, list := range []string{"/v1/webhooks/deliveries?limit=100", "/v1/webhooks/deliveries?limit=100&status=unrouted"} {
		for _, id := range items(get(list), "items") {
			get("/v1/deliveries/" + id)
		}
	}
	get("/v1/webhooks/deliveries/all-time")
	get("/v1/keys")
	get("/v1/audit?limit=100")
	for path, v := range seen {
		// Held by the dispatcher it has none; given back it is due at once.
		raw, err := json.Marshal(v)
		if err != nil {
			w.t.Fatal(err)
		}
		seen[path] = anyRetry.ReplaceAllString(string(raw), `"nextRetryAt":"any"`)
	}
	return seen
}

var anyRetry = regexp.MustCompile(`"nextRetryAt":("[^"]*"|null)`)

func compareSnapshots(t *testing.T, before, after map[string]any) {
	t.Helper()
	if len(before) < 12 {
		t.Errorf("only %d answers to compare", len(before))
	}
	for path, want := range before {
		if got := after[path]; !reflect.DeepEqual(got, want) {
			t.Errorf("%s\nbefore the move %v\nafter it        %v", path, want, got)
		}
	}
}

// The whole state of a SQLite file moves to PostgreSQL, however often the move is
// killed, and what was pending or in flight is delivered from there.
func TestMoveStore(t *testing.T) {
	cluster := pgtest.Start(t, pgtest.Options{})
	target := cluster.Database(t)
	file := filepath.Join(t.TempDir(), "move.db")
	args := []string{"--from=sqlite:" + file, "--to=" + target, "--rows=3"}
	r := newReceiver(t)
	w, other, sent := fillForMove(t, file, r)

	if out, err := migrateStore(t, args...); err == nil || !strings.Contains(out, "another Switchhook is running") {
		t.Errorf("a move while the server runs: %v %s", err, out)
	}
	before, beforeOther := w.snapshot(), other.snapshot()
	sent.server.kill()

	if out, err := migrateStore(t, "--from=sqlite:"+file+".none", "--to="+target); err == nil || !strings.Contains(out, "no such file") {
		t.Errorf("a file that is not there: %v %s", err, out)
	}
	// The schema must be there for its tables to be locked.
	if out, err := migrate(t, target); err != nil {
		t.Fatal(err, out)
	}
	for _, table := range []string{"agents", "deliveries", "counts", "webhooks"} {
		killAt(t, target, table, args...)
	}
	out, err := migrateStore(t, args...)
	if err != nil {
		t.Fatal(err, out)
	}
	checkMoved(t, out)
	if out, err := migrateStore(t, args...); err == nil || !strings.Contains(out, "moved to PostgreSQL at") {
		t.Errorf("a second move: %v %s", err, out)
	}

	sent.release()
	r.respond(nil)
	for len(r.came) > 0 {
		<-r.came
	}
	p := startOn(t, target)
	w.url, other.url = p.url, p.url
	// What was in flight comes again, the same: it may have been received.
	for range sent.held {
		again := <-r.came
		if first := sent.held[again.delivery]; !bytes.Equal(first.body, again.body) || first.path != again.path {
			t.Errorf("%s came as\n%s %s\nand after the move as\n%s %s", again.delivery, first.path, first.body, again.path, again.body)
		}
	}
	for id := range sent.held {
		w.untilStatus(id, "success")
	}
	after := w.snapshot()
	for path := range before {
		// These have moved on.
		if held := strings.TrimPrefix(path, "/v1/deliveries/"); sent.held[held].delivery != "" || strings.Contains(path, "deliveries?limit=100") || strings.Contains(path, "all-time") {
			delete(before, path)
		}
	}
	compareSnapshots(t, before, after)
	compareSnapshots(t, beforeOther, other.snapshot())

	// What waited for its next attempt, and what was unrouted, can be sent.
	for _, id := range []string{sent.failing.DeliveryID, sent.failed.DeliveryID} {
		w.ok("POST", "/v1/deliveries/"+id+"/retry", nil, nil)
		if d := w.untilStatus(id, "success"); len(d.Attempts) != 2 {
			t.Errorf("%s has %d attempts", id, len(d.Attempts))
		}
	}
	// A repeat is known, and a conversation goes on where it was.
	status, raw := w.idempotent("key-1", textEvent(customer, "+12025550101", "once"))
	var repeat struct {
		DeliveryID string
		Duplicate  bool
	}
	if err := json.Unmarshal(raw, &repeat); err != nil || status != http.StatusAccepted || !repeat.Duplicate || repeat.DeliveryID != sent.once {
		t.Errorf("a repeat after the move: %d %s", status, raw)
	}
	next := w.send(customer, "+12025550101", "after the move")
	w.untilStatus(next.DeliveryID, "success")
	var body struct {
		ConversationState map[string]any
		RecentHistory     []struct{ Content string }
	}
	for _, q := range r.requests() {
		if q.delivery == next.DeliveryID {
			if err := json.Unmarshal(q.body, &body); err != nil {
				t.Fatal(err)
			}
		}
	}
	history := body.RecentHistory
	if len(history) != 5 || history[0].Content != "once" || history[4].Content != "we are on it" || body.ConversationState["orderId"] != "ORD-1" {
		t.Errorf("the next event of a conversation: %+v", body)
	}
}

// idempotent hands an event in under a key.
func (w *world) idempotent(key string, event object) (int, []byte) {
	w.t.Helper()
	raw, err := json.Marshal(event)
	if err != nil {
		w.t.Fatal(err)
	}
	req, err := http.NewRequest("POST", w.url+"/v1/events", bytes.NewReader(raw))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.key)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", key)
	resp, err := client.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, out
}

// toMove is what fillForMove leaves behind.
type toMove struct {
	server  *program
	release func()
	// once is the delivery of the event under the key "key-1".
	once string
	// held are the requests in flight, by delivery.
	held            map[string]request
	failing, failed accepted
}

// fillForMove runs a server on a file until every table has rows, and deliveries
// are in every state there is.
func fillForMove(t *testing.T, file string, r *receiver) (w, other *world, sent toMove) {
	t.Helper()
	answer, release := hold()
	t.Cleanup(release)
	r.respond(func(rw http.ResponseWriter, q request) {
		switch q.path {
		case "/failing":
			rw.WriteHeader(http.StatusInternalServerError)
			fmt.Fprint(rw, "not today")
		case "/gone":
			rw.WriteHeader(http.StatusGone)
		case "/holding":
			answer(rw, q)
		}
	})
	sent = toMove{server: startOn(t, "sqlite:"+file), release: release, held: map[string]request{}}
	w = &world{t: t, url: sent.server.url, key: chosenKey}

	ava := w.agent("+12025550101")
	w.set(ava, r.URL+"/ava")
	failing := w.agent("+12025550102")
	w.set(failing, r.URL+"/failing")
	gone := w.agent("+12025550103")
	w.set(gone, r.URL+"/gone")
	w.agent("+12025550104") // the default's
	w.set("", r.URL+"/holding")
	w.ok("POST", "/v1/numbers", object{"phoneNumber": "+12025550109"}, nil)

	_, raw := w.idempotent("key-1", textEvent(customer, "+12025550101", "once"))
	var first accepted
	if err := json.Unmarshal(raw, &first); err != nil {
		t.Fatal(err)
	}
	sent.once = first.DeliveryID
	w.ok("PATCH", "/v1/conversations/"+first.ConversationID, object{"metadata": object{"orderId": "ORD-1"}}, nil)
	last := first
	for i := range 3 {
		last = w.send(customer, "+12025550101", fmt.Sprint("and then ", i, " é"))
	}
	w.ok("POST", "/v1/events", object{"event": "agent.message", "channel": "sms", "data": object{
		"from": "+12025550101", "to": customer, "message": "we are on it", "direction": "outbound"}}, nil)
	w.untilStatus(first.DeliveryID, "success")
	w.untilStatus(last.DeliveryID, "success")
	sent.failing = w.send(customer, "+12025550102", "are you there?")
	w.until(sent.failing.DeliveryID, func(d deliveryView) bool { return d.AttemptCount == 1 && d.Status == "pending" })
	sent.failed = w.send(customer, "+12025550103", "hello?")
	w.untilStatus(sent.failed.DeliveryID, "failed")
	w.set(gone, r.URL+"/ava")
	for i := range 4 {
		w.send(fmt.Sprintf("+1202555020%d", i), "+12025550104", fmt.Sprint("who answers? ", i))
	}
	for len(sent.held) < 4 {
		if q := <-r.came; q.path == "/holding" {
			sent.held[q.delivery] = q
		}
	}

	var made struct{ APIKey string }
	w.ok("POST", "/v1/projects", object{"name": "the other"}, &made)
	other = &world{t: t, url: w.url, key: made.APIKey}
	quiet := other.agent("+12025550101")
	for i := range 3 {
		other.send(customer, "+12025550101", fmt.Sprint("nobody listens ", i))
	}
	call := object{"event": "agent.call_ended", "channel": "voice", "agentId": quiet, "data": object{
		"callId": "call_1", "from": customer, "to": "+12025550101", "direction": "inbound", "status": "completed",
		"startedAt": "2026-01-02T03:04:05Z", "endedAt": "2026-01-02T03:05:05Z", "durationSeconds": 60,
		"transcript": []object{{"role": "user", "content": "hello"}}}}
	other.ok("POST", "/v1/events", call, nil)
	// A turn that nobody can be asked.
	other.ok("POST", "/v1/events", object{"event": "agent.message", "channel": "voice", "agentId": quiet, "data": object{
		"callId": "call_2", "from": customer, "to": "+12025550101", "direction": "inbound", "status": "in-progress", "transcript": "hello?"}}, nil)
	for i := range 5 {
		other.set(quiet, fmt.Sprint(r.URL, "/quiet/", i))
		other.ok("DELETE", hookPath(quiet), nil, nil)
	}
	return w, other, sent
}

// checkMoved reads the last lines of a move: every table has rows, and is the
// same in both databases.
func checkMoved(t *testing.T, out string) {
	t.Helper()
	line := regexp.MustCompile(`(?m)^(\w+) +(\d+) rows  [0-9a-f]{32}  the same in both$`)
	var names []string
	for _, m := range line.FindAllStringSubmatch(out, -1) {
		names = append(names, m[1])
		// What nobody looked at has neither; the tests of internal/move fill them.
		if m[2] == "0" && m[1] != "minutes" && m[1] != "sessions" {
			t.Errorf("%s is empty: this test proves nothing of it", m[1])
		}
	}
	if len(names) < 14 || !slices.Contains(names, "attempts") {
		t.Errorf("what moved: %v\n%s", names, out)
	}
}

// A whole project moves out of a file, and the others stay.
func TestMoveOneProject(t *testing.T) {
	cluster := pgtest.Start(t, pgtest.Options{})
	target := cluster.Database(t)
	file := filepath.Join(t.TempDir(), "move.db")
	r := newReceiver(t)
	w, other, sent := fillForMove(t, file, r)
	var projects struct {
		Data []struct{ ID, Name string }
	}
	other.ok("GET", "/v1/projects", nil, &projects)
	before := other.snapshot()
	sent.server.kill()
	sent.release()
	if len(projects.Data) != 1 {
		t.Fatal(projects)
	}
	id := projects.Data[0].ID
	if out, err := migrateStore(t, "--from=sqlite:"+file, "--to="+target, "--project=prj_none"); err == nil || !strings.Contains(out, `no project "prj_none"`) {
		t.Errorf("%v %s", err, out)
	}
	args := []string{"--from=sqlite:" + file, "--to=" + target, "--project=" + id}
	if out, err := migrate(t, target, "--citus"); err == nil || !strings.Contains(out, "CREATE EXTENSION citus") {
		t.Errorf("%v %s", err, out)
	}
	killAt(t, target, "attempts", args...)
	// A server on the file makes what has moved stale.
	startOn(t, "sqlite:"+file).kill()
	if out, err := migrateStore(t, args...); err == nil || !strings.Contains(out, "--restart") {
		t.Errorf("%v %s", err, out)
	}
	if out, err := migrateStore(t, append(args, "--restart")...); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	old := startOn(t, "sqlite:"+file)
	stale := &world{t: t, url: old.url, key: other.key}
	if status, _ := stale.call("GET", "/v1/agents", nil); status != http.StatusUnauthorized {
		t.Errorf("the project that moved answers %d in the file", status)
	}
	w.url = old.url
	w.ok("GET", "/v1/agents", nil, nil)
	other.url = startOn(t, target).url
	// The server's own key is made for the first project there.
	delete(before, "/v1/keys")
	delete(before, "/v1/audit?limit=100")
	compareSnapshots(t, before, other.snapshot())
	if out, err := migrateStore(t, args...); err == nil || !strings.Contains(out, "another Switchhook is running") {
		t.Errorf("%v %s", err, out)
	}
}
