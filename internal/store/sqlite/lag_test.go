package sqlite

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
)

// lagging is a store whose conversations and logs are compared with what went in.
type lagging struct {
	*rapid.T
	store    *Store
	dir      string
	opened   int
	now      time.Time
	agents   []string
	number   phone.Number
	texts    map[string][]string // by conversation's participant, oldest first
	id       map[string]string   // conversations, by participant
	metadata map[string]string
	log      map[string][]string // deliveries of agents, oldest first
}

const laggingProject = "prj_1"

func (l *lagging) must(err error) {
	if err != nil {
		l.Fatalf("%+v", err)
	}
}

func (l *lagging) path() string { return filepath.Join(l.dir, fmt.Sprint(l.opened), "lag.db") }

func (l *lagging) open() {
	var err error
	l.store, err = Open(context.Background(), l.path())
	l.must(err)
}

// crash goes on with a copy of the files as they are: what a killed process leaves.
func (l *lagging) crash() {
	old, left := l.store, filepath.Dir(l.path())
	l.opened++
	l.must(os.MkdirAll(filepath.Dir(l.path()), 0o700))
	for _, name := range []string{"lag.db", "lag.db-wal"} {
		b, err := os.ReadFile(filepath.Join(left, name))
		l.must(err)
		l.must(os.WriteFile(filepath.Join(filepath.Dir(l.path()), name), b, 0o600))
	}
	l.must(old.Close())
	l.open()
}

func (l *lagging) accept() {
	ctx := context.Background()
	var events []*phone.NewEvent
	for range rapid.IntRange(1, 5).Draw(l.T, "events") {
		// Most are later than those before, some are of a clock that was set back.
		l.now = l.now.Add(time.Duration(rapid.IntRange(-5, 20).Draw(l.T, "ms")) * time.Millisecond)
		e := &phone.NewEvent{
			ProjectID: laggingProject, Type: phone.EventMessage, Channel: phone.ChannelSMS, Direction: phone.Inbound,
			Number: l.number.PhoneNumber, Participant: fmt.Sprintf("+1202555010%d", rapid.IntRange(0, 4).Draw(l.T, "participant")),
			ID: phone.NewID(phone.PrefixEvent), MessageID: phone.NewID(phone.PrefixMessage), Body: fmt.Sprint("text ", l.now.UnixMilli()),
			At: l.now, Data: func(string, string) []byte { return []byte("{}") },
		}
		if rapid.IntRange(0, 5).Draw(l.T, "kind") == 0 {
			e.Type, e.MessageID, e.Body = phone.EventReaction, "", ""
		}
		events = append(events, e)
	}
	for i, a := range l.store.Accept(ctx, events, noRoom{}) {
		l.must(a.Err)
		e := events[i]
		l.id[e.Participant] = a.ConversationID
		l.log[a.AgentID] = append(l.log[a.AgentID], a.Job.DeliveryID)
		if e.MessageID != "" {
			l.texts[e.Participant] = append(l.texts[e.Participant], e.Body)
		}
	}
}

type noRoom struct{}

func (noRoom) Reserve(string) bool { return false }
func (noRoom) Release(string)      {}

// fail makes a transaction fail that others share, or that has caught up already.
func (l *lagging) fail() {
	err := l.store.writeHot(context.Background(), func(t *tx) error {
		if rapid.Bool().Draw(l.T, "late") {
			if err := t.catchUp(); err != nil {
				return err
			}
		}
		return errors.New("a disk that fails")
	})
	if phone.CodeOf(err) != phone.Unavailable {
		l.Fatalf("%v", err)
	}
}

func (l *lagging) check() {
	ctx := context.Background()
	for participant, id := range l.id {
		texts := l.texts[participant]
		v, err := l.store.Conversation(ctx, laggingProject, id)
		l.must(err)
		last := ""
		if n := len(texts); n > 0 {
			last = texts[n-1]
		}
		if v.MessageCount != len(texts) || v.LastMessagePreview != last || string(v.Metadata) != l.metadata[participant] {
			l.Fatalf("%s has %d messages and ends with %q (%s), want %d and %q (%s)", id, v.MessageCount, v.LastMessagePreview, v.Metadata, len(texts), last, l.metadata[participant])
		}
		messages, _, err := l.store.Messages(ctx, laggingProject, id, store.Page{Limit: 1000})
		l.must(err)
		var got []string
		for _, m := range slices.Backward(messages) {
			got = append(got, m.Body)
		}
		if !slices.Equal(got, texts) {
			l.Fatalf("%s is %v, want %v", id, got, texts)
		}
	}
	for _, agent := range l.agents {
		deliveries, _, err := l.store.Deliveries(ctx, store.DeliveryFilter{ProjectID: laggingProject, AgentID: agent, Limit: 1000})
		l.must(err)
		var got []string
		for _, d := range deliveries {
			got = append(got, d.ID)
		}
		slices.Sort(got)
		want := slices.Clone(l.log[agent])
		slices.Sort(want)
		if !slices.Equal(got, want) {
			l.Fatalf("the log of %s is %v, want %v", agent, got, want)
		}
	}
}

// Whatever happens in between, conversations and agents' logs are as if nothing
// lagged. -rapid.checks=1000 runs so many programs.
func TestNothingIsSeenToLag(t *testing.T) {
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		// The same programs each time: new ones are for who has time to look into them.
		for name, value := range map[string]string{"rapid.checks": "15", "rapid.seed": "1"} {
			if err := flag.Set(name, value); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := flag.Set("rapid.nofailfile", "true"); err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(r *rapid.T) {
		ctx := context.Background()
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			r.Fatal(err)
		}
		l := &lagging{
			T: r, dir: dir, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), agents: []string{"agt_1", "agt_2"},
			texts: map[string][]string{}, id: map[string]string{}, metadata: map[string]string{}, log: map[string][]string{},
			number: phone.Number{ID: "num_1", ProjectID: laggingProject, PhoneNumber: "+12025550101", Country: "US", AgentID: "agt_1"},
		}
		l.must(os.MkdirAll(filepath.Dir(l.path()), 0o700))
		l.open()
		defer func() { _ = l.store.Close() }()
		l.must(l.store.CreateProject(ctx, phone.Project{ID: laggingProject, Name: "p"}, phone.Key{ID: "key_1", ProjectID: laggingProject}))
		for _, id := range l.agents {
			l.must(l.store.CreateAgent(ctx, phone.Agent{ID: id, ProjectID: laggingProject, Name: id, Settings: []byte("{}")}))
		}
		l.must(l.store.CreateNumber(ctx, l.number))
		_, err = l.store.SetWebhook(ctx, phone.Webhook{ID: "wh_1", ProjectID: laggingProject, URL: "https://example.com/", Secret: "whsec_", ContextLimit: 3, Timeout: time.Second})
		l.must(err)
		accept := func(*rapid.T) { l.accept() }
		r.Repeat(map[string]func(*rapid.T){
			"accept": accept, "accept more": accept, "accept still more": accept,
			"crash":   func(*rapid.T) { l.crash() },
			"restart": func(*rapid.T) { l.must(l.store.Close()); l.open() },
			"fail":    func(*rapid.T) { l.fail() },
			"catch up": func(*rapid.T) {
				l.must(l.store.writeHot(ctx, (*tx).catchUp))
			},
			"check": func(*rapid.T) { l.check() },
			"attach the number": func(r *rapid.T) {
				_, err := l.store.AttachNumber(ctx, laggingProject, rapid.SampledFrom(l.agents).Draw(r, "agent"), "num_1")
				if phone.CodeOf(err) != phone.Conflict {
					l.must(err)
				}
			},
			"set metadata": func(r *rapid.T) {
				for participant, id := range l.id {
					l.metadata[participant] = fmt.Sprintf(`{"n":%d}`, rapid.IntRange(0, 9).Draw(r, "n"))
					_, err := l.store.SetMetadata(ctx, laggingProject, id, []byte(l.metadata[participant]))
					l.must(err)
					break
				}
			},
		})
		l.check()
	})
}
