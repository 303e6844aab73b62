package postgres

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store/postgres/pgtest"
)

// migrateTo does what the start of a program does that knows these steps.
func migrateTo(t *testing.T, url string, steps []migration) *Store {
	t.Helper()
	cfg, schema, err := parseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	s := &Store{pool: pool}
	if err := s.migrate(t.Context(), schema, steps); err != nil {
		t.Fatal(err)
	}
	return s
}

// adds are the statements that leave nodes of the version before at work: their
// own name the columns that they know.
var adds = regexp.MustCompile(`^(CREATE TABLE|CREATE SEQUENCE|CREATE INDEX) |^ALTER TABLE [a-z_]+ (ADD COLUMN [a-z_]+ [a-z]+( NOT NULL DEFAULT .+)?|SET \(.+\))$`)

// uniqueInNew finds unique indexes, which are harmless on a table that the same step makes.
var uniqueInNew = regexp.MustCompile(`^CREATE UNIQUE INDEX [a-z_]+ ON ([a-z_]+) `)

// byHand are steps with functions and triggers, which no pattern can judge, and what
// was found when they were read.
var byHand = map[string]string{
	"routing": "its triggers write a column of projects, and that column only, which nodes of the version before neither read nor write",
}

// bodies are the texts of functions, and of what is done once.
var bodies = regexp.MustCompile(`(?s)(CREATE FUNCTION [a-z_]+\(\) RETURNS trigger LANGUAGE plpgsql AS|DO) \$\$.*?\$\$;`)

func TestStepsOfTheSchemaOnlyAdd(t *testing.T) {
	for _, m := range migrations {
		if byHand[m.name] != "" {
			m.text = bodies.ReplaceAllString(m.text, "")
		}
		var text []string
		for line := range strings.SplitSeq(m.text, "\n") {
			line, _, _ = strings.Cut(line, "--")
			text = append(text, strings.TrimSpace(line))
		}
		made := map[string]bool{}
		for statement := range strings.SplitSeq(strings.Join(text, " "), ";") {
			statement = strings.TrimSpace(statement)
			if name, ok := strings.CutPrefix(statement, "CREATE TABLE "); ok {
				name, _, _ = strings.Cut(name, " ")
				made[name] = true
			}
			u := uniqueInNew.FindStringSubmatch(statement)
			if statement != "" && !adds.MatchString(statement) && (u == nil || !made[u[1]]) {
				t.Errorf("step %d (%s) does more than add, and a node of the version before may be at work:\n%s", m.version, m.name, statement)
			}
		}
	}
	for _, bad := range []string{"DROP TABLE x", "ALTER TABLE x DROP COLUMN y", "ALTER TABLE x ADD COLUMN y text NOT NULL", "ALTER TABLE x RENAME TO y",
		"ALTER TABLE x ALTER COLUMN y TYPE bigint", "UPDATE x SET y = 1", "ALTER TABLE x ADD CONSTRAINT y CHECK (true)"} {
		if adds.MatchString(bad) {
			t.Errorf("%q passes for an addition", bad)
		}
	}
}

// Of nodes that start at once on an empty database one makes the schema, and all run.
func TestManyStartAtOnceOnAnEmptyDatabase(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	const nodes = 8
	var starting sync.WaitGroup
	stores := make([]*Store, nodes)
	for i := range nodes {
		starting.Go(func() {
			s, err := Open(t.Context(), url)
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := s.Join(t.Context(), fmt.Sprint("node ", i), time.Hour); err != nil {
				t.Error(err)
			}
			stores[i] = s
		})
	}
	starting.Wait()
	if t.Failed() {
		return
	}
	w := seed(t, stores[0])
	runs := map[int64]bool{}
	for _, s := range stores {
		t.Cleanup(func() { _ = s.Close() })
		runs[s.run.Load()] = true
		w.accept(t, s, time.Now())
		if len(s.Warnings()) > 0 && strings.Contains(s.Warnings()[0], "schema") {
			t.Error(s.Warnings())
		}
	}
	if len(runs) != nodes {
		t.Errorf("%d nodes are %d runs", nodes, len(runs))
	}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	rows, _ := conn.Query(t.Context(), "SELECT version FROM schema_migrations ORDER BY version")
	if done, err := pgx.CollectRows(rows, pgx.RowTo[int]); err != nil || len(done) != len(migrations) {
		t.Errorf("steps %v are on record (%v)", done, err)
	}
}

// A node goes on, and can be started once more, on a schema that a newer one has
// brought further: while it does so, and after it.
func TestAnOlderNodeOnANewerSchema(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	older, err := Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = older.Close() })
	w := seed(t, older)
	before := w.accept(t, older, time.Now())

	// What the next version may do: all that TestStepsOfTheSchemaOnlyAdd lets pass, to
	// every table, some of which the older node changes at this moment.
	next := migration{migrations[len(migrations)-1].version + 1, "next", "CREATE SEQUENCE later; CREATE TABLE later_things (project_id text PRIMARY KEY);"}
	tables, err := pgxTables(t, url)
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		if table == "schema_migrations" {
			continue
		}
		next.text += fmt.Sprintf("ALTER TABLE %s ADD COLUMN later_a text NOT NULL DEFAULT 'x'; ALTER TABLE %s ADD COLUMN later_b bigint; CREATE INDEX %s_later ON %s (later_b);\n", table, table, table, table)
	}
	ctx, stop := context.WithCancel(t.Context())
	var working sync.WaitGroup
	took := make(chan int, 1)
	for range 2 {
		working.Go(func() {
			began := func() {
				select {
				case took <- 1:
				default:
				}
			}
			defer began()
			for i := 0; ctx.Err() == nil; i++ {
				e := w.otherEvent()
				a := older.Accept(t.Context(), []*phone.NewEvent{e}, roomy{true})[0]
				if a.Err != nil {
					t.Errorf("while the schema is changed: %v", a.Err)
					return
				}
				if i == 3 {
					began()
				}
				w.finish(t, older, a)
			}
		})
	}
	<-took // it is at work, with all its statements prepared
	if s := migrateTo(t, url, append(slices.Clone(migrations), next)); len(s.Warnings()) > 0 {
		t.Error(s.Warnings())
	}
	stop()
	working.Wait()
	w.finish(t, older, before, w.accept(t, older, time.Now()))

	again, err := Open(t.Context(), url)
	if err != nil {
		t.Fatal("an older node cannot be started any more:", err)
	}
	t.Cleanup(func() { _ = again.Close() })
	if said := strings.Join(again.Warnings(), " "); !strings.Contains(said, fmt.Sprint("version ", next.version)) {
		t.Errorf("it does not say that the schema is newer: %q", said)
	}
	w.finish(t, again, w.accept(t, again, time.Now()))
	if err := again.DeleteWebhook(t.Context(), w.project, "", time.Now(), nil); err != nil {
		t.Error(err)
	}
}

// otherEvent is an event of a conversation of its own, for goroutines.
func (w *world) otherEvent() *phone.NewEvent {
	id := phone.NewID("")
	return &phone.NewEvent{
		ProjectID: w.project, Type: phone.EventMessage, Channel: phone.ChannelSMS, Direction: phone.Inbound,
		Number: ours, Participant: "+1" + id, ID: phone.PrefixEvent + id, MessageID: phone.PrefixMessage + id,
		Body: "hello", At: time.Now().UTC(), Data: func(string, string) []byte { return []byte("{}") },
	}
}

func pgxTables(t *testing.T, url string) ([]string, error) {
	conn, err := Connect(t.Context(), url)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	return schemaTables(t.Context(), conn)
}

// asOf are rows as the program of the first step of the schema wrote them: a project
// with an agent, a number, a conversation, and a delivery that is pending and was in
// the memory of a run that is no more.
const asOf = `
INSERT INTO projects VALUES ('prj_old', 'x', 1);
INSERT INTO agents VALUES ('prj_old', 'agt_old', 'x', '{}', 1);
INSERT INTO numbers VALUES ('prj_old', 'num_old', '+12025550101', 'US', 'sms', 'active', 'agt_old', 1);
INSERT INTO conversations (project_id, id, agent_id, number_id, phone_number, participant, message_count, last_at, last_preview, created_at)
  VALUES ('prj_old', 'conv_old', 'agt_old', 'num_old', '+12025550101', '+12025550199', 1, 1, 'hello', 1);
INSERT INTO messages VALUES ('prj_old', 'conv_old', 1, 'msg_old', 'num_old', 'inbound', 'sms', '+12025550199', '+12025550101', 'hello', '', 1);
INSERT INTO webhooks (project_id, id, agent_id, url, secret, status, context_limit, timeout_s, created_at, revision, ordering, rate_limit, listener, owner)
  VALUES ('prj_old', 'wh_old', '', 'https://a.example/', 'whsec_', 'active', 10, 30, 1, 1, 'relaxed', 0, false, '');
INSERT INTO deliveries (project_id, id, agent_id, webhook_id, conversation_id, message_id, event_type, channel, direction, context_limit, history_before, status,
    attempts, round, round_attempts, owner, handed, next_attempt_at, last_attempt_at, ended, test, strict, created_at, data)
  VALUES ('prj_old', 'del_old', 'agt_old', 'wh_old', 'conv_old', 'msg_old', 'agent.message', 'sms', 'inbound', 10, 1, 'pending', 0, 1, 0, 7, 7, 0, 0, '', false, false, 1, '{}');
INSERT INTO counts VALUES ('prj_old', -1, '', 0, 0, 0, 1);
`

// What an earlier version of the program left is taken up after the upgrade.
func TestAnUpgradeOfEachEarlierSchema(t *testing.T) {
	t.Parallel()
	for n := 1; n < len(migrations); n++ {
		t.Run(fmt.Sprint("from ", migrations[n-1].version), func(t *testing.T) {
			t.Parallel()
			url := pgtest.URL(t)
			migrateTo(t, url, migrations[:n])
			execAll(t, url, asOf)
			s, err := Open(t.Context(), url)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Close() })
			b, err := s.Due(t.Context(), "wh_old", time.Now(), 10, false)
			if err != nil || len(b.Jobs) != 1 || b.Jobs[0].DeliveryID != "del_old" {
				t.Fatalf("%+v %v", b, err)
			}
			w := &world{project: "prj_old", agent: "agt_old"}
			w.finish(t, s, phone.Accepted{Job: b.Jobs[0]}, w.accept(t, s, time.Now()))
			if c, err := s.Totals(t.Context(), w.project); err != nil || c.Success != 2 || c.Pending != 0 {
				t.Error(c, err)
			}
		})
	}
}

func execAll(t *testing.T, url, text string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	if _, err := conn.PgConn().Exec(t.Context(), text).ReadAll(); err != nil {
		t.Fatal(err)
	}
}
