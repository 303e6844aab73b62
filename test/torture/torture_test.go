// Package torture breaks everything around real servers under load, for as long
// as it is told to, and then compares what was promised with what happened. See
// docs/reliability.md; `make torture` runs it for ten minutes.
package torture

import (
	"encoding/base64"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"switchhook.dev/switchhook/internal/store/postgres/pgtest"
	"switchhook.dev/switchhook/test/world"
)

var (
	// A clock that can be set needs a build of everything, which a short run is not worth.
	duration = flag.Duration("duration", 0, "break things for so long, the clock too; 0 is a fixed number of rounds, with a clock that goes right")
	seed     = flag.Uint64("seed", 0, "the order of the faults; 0 picks one where a duration is given, and is always the same where none is")
	database = flag.String("database", "", "the server's --database; empty for a new SQLite file, \"postgres\" for a throwaway PostgreSQL")
)

const (
	// rounds is how many faults there are where no duration is given.
	rounds = 10
	// eachRound is how many events are accepted between two faults.
	eachRound = 60
	agents    = 8
	senders   = 6
	attempts  = 6
	// secure is the one receiver of all that speaks TLS.
	secure = 4
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// run is one run of the torture.
type run struct {
	*testing.T
	rnd       *rand.Rand
	client    *world.Client
	record    *world.Record
	dns       *world.DNS
	receivers []*world.Receiver
	options   world.Options
	program   *world.Program

	sent, refused atomic.Int64
	done          chan struct{}
	work          sync.WaitGroup
}

func TestTorture(t *testing.T) {
	if *seed == 0 && *duration == 0 {
		*seed = 1
	} else if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed=%d", *seed)
	r := &run{T: t, rnd: rand.New(rand.NewPCG(*seed, 1)), client: world.NewClient(), record: world.NewRecord(), done: make(chan struct{})}
	r.setUp()
	start := time.Now()
	r.load()
	for n := 0; r.goOn(n, start); n++ {
		r.round(n)
		if t.Failed() {
			break
		}
	}
	lasted := time.Since(start)
	close(r.done)
	r.calm()
	r.work.Wait()
	calm := time.Now()
	r.settle()
	r.Logf("%s until nothing was pending", time.Since(calm).Round(time.Second))
	r.check(lasted)
}

func (r *run) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r *run) setUp() {
	dir := r.TempDir()
	clock := *duration > 0
	binary, err := world.Build(r.Context(), dir, clock)
	r.must(err)
	r.dns, err = world.StartDNS()
	r.must(err)
	r.Cleanup(r.dns.Close)
	ca, err := world.NewAuthority()
	r.must(err)
	roots := filepath.Join(dir, "roots.pem")
	r.must(os.WriteFile(roots, ca.PEM, 0o600))
	for i := range secure + 1 {
		authority := ca
		if i != secure {
			authority = nil
		}
		rec, err := world.NewReceiver(fmt.Sprintf("r%d.torture.test", i), r.record, authority)
		r.must(err)
		r.Cleanup(rec.Close)
		r.receivers = append(r.receivers, rec)
	}
	place := *database
	switch place {
	case "":
		place = "sqlite:" + filepath.Join(dir, "torture.db")
	case "postgres":
		place = pgtest.URL(r)
	}
	log, err := os.Create(filepath.Join(dir, "server.log"))
	r.must(err)
	r.Cleanup(func() {
		if b, err := os.ReadFile(log.Name()); err == nil && r.Failed() {
			b = b[max(0, len(b)-20_000):]
			r.Logf("the end of the server's log:\n%s", b)
		}
	})
	r.options = world.Options{
		Binary: binary, Database: place, Clock: clock, Log: log,
		Env:  []string{"SSL_CERT_FILE=" + roots, "SWITCHHOOK_SECRET_KEY=" + base64.StdEncoding.EncodeToString(make([]byte, 32))},
		Args: []string{"--retry-schedule=100ms,200ms,500ms,1s,2s", "--resolver=" + r.dns.Address},
	}
	r.start()
	r.Cleanup(func() { r.program.Kill() })
}

func (r *run) start() {
	r.Helper()
	p, err := world.Start(r.options)
	r.must(err)
	r.program = p
	r.client.Point(p.URL)
}

// load sets up agents and keeps everything moving until done is closed: events
// come in, and whoever can be told about them changes all the while.
func (r *run) load() {
	for i := range agents {
		a := &agent{run: r, name: fmt.Sprint("a", i), number: fmt.Sprintf("+1202555%04d", i), rnd: rand.New(rand.NewPCG(*seed, uint64(100+i)))}
		a.create()
		r.work.Go(a.live)
	}
	def := &agent{run: r, name: "default", rnd: rand.New(rand.NewPCG(*seed, 99))}
	r.work.Go(def.live)
	for i := range senders {
		rnd := rand.New(rand.NewPCG(*seed, uint64(200+i)))
		r.work.Go(func() { r.send(rnd) })
	}
}

func (r *run) over() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// send hands in events. One whose answer is lost is handed in again under the same
// key, until there is one.
func (r *run) send(rnd *rand.Rand) {
	for !r.over() {
		text := fmt.Sprint("text-", r.sent.Add(1))
		body := map[string]any{"event": "agent.message", "channel": "sms", "data": map[string]any{
			"from": fmt.Sprintf("+1303555%04d", rnd.IntN(200)), "to": fmt.Sprintf("+1202555%04d", rnd.IntN(agents)), "message": text,
		}}
		var a struct{ ID string }
		status, answer := r.client.Insist("POST", "/v1/events", text, body, &a)
		switch status {
		case 202:
			r.record.Accepted(a.ID, text)
		case 404: // its number has no agent just now
			r.refused.Add(1)
		default:
			r.Errorf("an event was answered %d %s", status, answer)
			return
		}
		time.Sleep(time.Duration(rnd.IntN(40)) * time.Millisecond)
	}
}

// agent is an agent with a number and, mostly, a webhook; or the project's default
// webhook, where it has no number.
type agent struct {
	*run
	name, number string
	rnd          *rand.Rand
	id, numberID string
	lives        int
	webhook      string // the path of the one that is set
}

func (a *agent) create() {
	var made struct{ ID string }
	a.want(200, "POST", "/v1/agents", map[string]any{"name": a.name}, &made)
	a.id = made.ID
	if a.numberID == "" {
		a.want(200, "POST", "/v1/numbers", map[string]any{"phoneNumber": a.number, "agentId": a.id}, &made)
		a.numberID = made.ID
		return
	}
	a.want(200, "POST", "/v1/agents/"+a.id+"/numbers", map[string]any{"numberId": a.numberID}, nil)
}

func (a *agent) want(want int, method, path string, body, into any) {
	if status, answer := a.client.Insist(method, path, "", body, into); status != want && (status/100 != 2 || want/100 != 2) && status != 409 {
		a.Errorf("%s %s: %d %s", method, path, status, answer)
	}
}

func (a *agent) path() string {
	if a.number == "" {
		return "/v1/webhooks"
	}
	return "/v1/agents/" + a.id + "/webhook"
}

// live changes the webhook, and now and then the agent, until the run is over.
func (a *agent) live() {
	for n := 0; !a.over(); n++ {
		switch p := a.rnd.IntN(20); {
		case p == 0 && a.number != "":
			a.gone("/v1/agents/" + a.id)
			a.create()
		case p < 5 && a.webhook != "":
			a.gone(a.path())
		case p == 5:
			if id := a.record.Some(); id != "" {
				a.record.Replayed(id)
				a.client.Insist("POST", "/v1/deliveries/"+id+"/retry", "", nil, nil) // 409 where there is nowhere to
			}
		case p < 15:
			a.set(n)
		}
		time.Sleep(time.Duration(a.rnd.IntN(400)) * time.Millisecond)
	}
	if a.webhook == "" && a.rnd.IntN(2) == 0 {
		a.set(-1)
	}
}

func (a *agent) set(n int) {
	if a.webhook == "" {
		a.lives++
		a.webhook = fmt.Sprintf("/%s/%d", a.name, a.lives)
	}
	ordering := "relaxed"
	if a.rnd.IntN(3) == 0 {
		ordering = "strict"
	}
	to := a.receivers[a.rnd.IntN(len(a.receivers))]
	a.want(200, "POST", a.path(), map[string]any{
		"url": to.URL(fmt.Sprintf("%s?update=%d", a.webhook, n)), "timeout": world.Timeout / time.Second, "ordering": ordering, "contextLimit": a.rnd.IntN(5),
	}, nil)
}

func (a *agent) gone(path string) {
	// A repeat of a DELETE whose answer was lost finds nothing.
	if status, answer := a.client.Insist("DELETE", path, "", nil, nil); status != 200 && status != 404 {
		a.Errorf("DELETE %s: %d %s", path, status, answer)
	}
	if a.webhook != "" {
		a.record.Deleted(a.webhook)
	}
	a.webhook = ""
}

func (r *run) goOn(n int, start time.Time) bool {
	if *duration > 0 {
		return time.Since(start) < *duration
	}
	return n < rounds
}

// round lets events come in, and then breaks something.
func (r *run) round(n int) {
	for _, rec := range r.receivers {
		mood := world.Well
		if r.rnd.IntN(2) == 0 {
			mood = world.Moods[r.rnd.IntN(len(world.Moods))]
		}
		rec.Turn(mood, r.rnd.IntN(3) == 0)
	}
	fault := world.DNSWell
	if r.rnd.IntN(3) == 0 {
		fault = world.DNSFaults[r.rnd.IntN(len(world.DNSFaults))]
		r.record.Fault("DNS " + string(fault))
	}
	r.dns.Break(fault)

	want, deadline := r.record.Count()+1+r.rnd.IntN(2*eachRound), time.Now().Add(2*time.Minute)
	for r.record.Count() < want {
		if time.Now().After(deadline) {
			r.Errorf("round %d: the server takes no events any more", n)
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	switch p := r.rnd.IntN(10); {
	case p < 5 || n == 0:
		r.record.Fault("kill -9")
		r.program.Kill()
		r.record.Killed()
		r.start()
	case p == 5:
		r.record.Fault("SIGTERM")
		// It waits for attempts in flight, each of them shorter than its timeout.
		if killed, err := r.program.Term(time.Minute); killed || err != nil {
			r.Errorf("round %d: asked to stop, the server does not, or not well: killed %v, %v", n, killed, err)
			r.record.Killed()
		}
		r.start()
	case p < 8 || !r.options.Clock:
		r.record.Fault("SIGSTOP, SIGCONT")
		pause := time.Duration(r.rnd.IntN(1500)) * time.Millisecond
		start := time.Now()
		r.must(r.program.Signal(syscall.SIGSTOP))
		time.Sleep(pause)
		r.must(r.program.Signal(syscall.SIGCONT))
		r.record.Stopped(time.Since(start))
	default:
		// An hour forward, an hour back, or right again: from where it is, that is
		// up to two hours either way.
		r.options.Offset = time.Duration(r.rnd.IntN(3)-1) * time.Hour
		r.record.Fault(fmt.Sprint("clock off by ", r.options.Offset))
		r.must(r.program.SetClock(r.options.Offset))
	}
}

// calm makes everything well, with the clock so far ahead that nothing waits for it.
func (r *run) calm() {
	for _, rec := range r.receivers {
		rec.Turn(world.Well, true)
	}
	r.dns.Break(world.DNSWell)
	if r.options.Clock {
		r.options.Offset = 4 * time.Hour
		r.must(r.program.SetClock(r.options.Offset))
	}
}

// settle waits until nothing is pending.
func (r *run) settle() {
	var all struct{ Data []struct{ ID string } }
	r.client.Insist("GET", "/v1/agents?limit=100", "", nil, &all)
	hooks := []string{"/v1/webhooks"}
	for _, a := range all.Data {
		hooks = append(hooks, "/v1/agents/"+a.ID+"/webhook")
	}
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		var list struct{ Total int }
		r.client.Insist("GET", "/v1/webhooks/deliveries?limit=1&status=pending", "", nil, &list)
		if list.Total == 0 {
			return
		}
		if time.Now().After(deadline) {
			r.Fatalf("%d deliveries stay pending", list.Total)
		}
		// An endpoint that works again is found out sooner where it is tested.
		for _, h := range hooks {
			r.client.Insist("POST", h+"/test", "", nil, nil)
		}
	}
}

func (r *run) check(lasted time.Duration) {
	f, wrong := r.record.Check(attempts, func(id string) (l world.Log, known bool) {
		status, _ := r.client.Insist("GET", "/v1/deliveries/"+id, "", nil, &l)
		return l, status == 200
	})
	for i, w := range wrong {
		if i == 50 {
			r.Errorf("and %d more", len(wrong)-i)
			break
		}
		r.Error(w)
	}
	var totals struct{ Total, Success, Failed int }
	r.client.Insist("GET", "/v1/webhooks/deliveries/all-time", "", nil, &totals)
	if totals.Success < f.Statuses["success"] || totals.Failed < f.Statuses["failed"] {
		r.Errorf("the counters say %+v, the log %v", totals, f.Statuses)
	}
	r.Logf("%s, -seed=%d: %d events accepted (%d refused), %d requests received, %d of them again because a kill lost the result",
		lasted.Round(time.Second), *seed, f.Accepted, r.refused.Load(), f.Requests, f.Repeats)
	r.Logf("faults: %s", list(f.Faults))
	r.Logf("answers of receivers: %s", list(f.Moods))
	r.Logf("deliveries: %s; %d questions to the DNS", list(f.Statuses), r.dns.Asked())
}

// list says how many there were of each, in the order of the alphabet.
func list[K ~string](m map[K]int) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%s %d", k, m[k]))
	}
	return strings.Join(parts, ", ")
}
