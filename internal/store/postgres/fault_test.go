package postgres

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store/postgres/pgtest"
)

// own is a cluster of the test's own, and a store in it by a user that owns its
// schema and nothing else.
func own(t *testing.T) (*pgtest.Cluster, *Store, *world) {
	t.Helper()
	// What a commit has answered must outlive the cluster's processes here.
	c := pgtest.Start(t, pgtest.Options{Settings: map[string]string{"synchronous_commit": "on"}})
	url := c.Database(t)
	for _, text := range []string{"CREATE ROLE plain LOGIN", "CREATE SCHEMA kept AUTHORIZATION plain", "REVOKE ALL ON SCHEMA public FROM PUBLIC"} {
		execAt(t, url, text)
	}
	s, err := Open(t.Context(), strings.Replace(url, "switchhook@", "plain@", 1)+"&schema=kept")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return c, s, seed(t, s)
}

func execAt(t *testing.T, url, text string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	if _, err := conn.Exec(t.Context(), text); err != nil {
		t.Fatal(text, err)
	}
}

// refused says that an event is not taken now, in words, and that the store does
// not say it is ready.
func refused(t *testing.T, s *Store, w *world, words string) {
	t.Helper()
	a := s.Accept(t.Context(), []*phone.NewEvent{w.event(time.Now())}, roomy{true})[0]
	e, ok := a.Err.(*phone.Error)
	if !ok || e.Code != phone.Unavailable || e.RetryAfter == 0 || !strings.Contains(e.Message, words) {
		t.Errorf("%v, want %q", a.Err, words)
	}
}

func TestADatabaseThatGoesAwayAndComesBack(t *testing.T) {
	c, s, w := own(t)
	first := w.accept(t, s, time.Now())
	for name, end := range map[string]func(testing.TB){"stopped": c.Stop, "crashed": c.Immediate, "killed": c.Kill} {
		end(t)
		for s.Ping(t.Context()) == nil {
			// The other processes of a server that was killed go on for a moment.
		}
		refused(t, s, w, "the database")
		if err := s.Ping(t.Context()); phone.CodeOf(err) != phone.Unavailable {
			t.Errorf("%s, and ready: %v", name, err)
		}
		if _, err := s.Due(t.Context(), w.webhook.ID, time.Now(), 10, false); phone.CodeOf(err) != phone.Unavailable {
			t.Errorf("%s: %v", name, err)
		}
		c.Resume(t)
		// Connections from before are dead: nobody notices.
		w.accept(t, s, time.Now())
		if err := s.Ping(t.Context()); err != nil {
			t.Errorf("%s and back: %v", name, err)
		}
		c.Restart(t)
		if d, err := s.Delivery(t.Context(), w.project, first.DeliveryID); err != nil || d.Status != phone.Pending {
			t.Errorf("%s: %+v %v", name, d, err)
		}
	}
	w.finish(t, s, first)
}

func TestADatabaseThatRefuses(t *testing.T) {
	c, s, w := own(t)
	database := s.pool.Config().ConnConfig.Database
	// No more connections: those that are there are enough until they end.
	c.Exec(t, "ALTER ROLE plain CONNECTION LIMIT 1")
	other, err := pgx.ConnectConfig(t.Context(), s.pool.Config().ConnConfig.Copy())
	if err == nil {
		_ = other.Close(t.Context())
		t.Fatal("the limit does not hold")
	}
	w.accept(t, s, time.Now())
	c.Exec(t, "ALTER ROLE plain CONNECTION LIMIT 0")
	c.Restart(t)
	refused(t, s, w, "takes no more connections")
	c.Exec(t, "ALTER ROLE plain CONNECTION LIMIT -1")
	w.accept(t, s, time.Now())

	// Read-only, as a standby.
	c.Exec(t, fmt.Sprintf("ALTER DATABASE %s SET default_transaction_read_only = on", database))
	c.Restart(t)
	refused(t, s, w, "read-only")
	if err := s.Ping(t.Context()); phone.CodeOf(err) != phone.Unavailable {
		t.Error("read-only, and ready:", err)
	}
	c.Exec(t, fmt.Sprintf("ALTER DATABASE %s RESET default_transaction_read_only", database))
	w.accept(t, s, time.Now())
	if err := s.Ping(t.Context()); err != nil {
		t.Error(err)
	}

	// Out of space.
	execAt(t, c.URL(database), `CREATE FUNCTION kept.full() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$`)
	execAt(t, c.URL(database), "CREATE TRIGGER full_disk BEFORE INSERT ON kept.messages FOR EACH ROW EXECUTE FUNCTION kept.full()")
	refused(t, s, w, "disk is full")
	if err := s.Ping(t.Context()); err == nil || !strings.Contains(err.Error(), "disk is full") {
		t.Error("out of space, and ready:", err)
	}
	execAt(t, c.URL(database), "DROP TRIGGER full_disk ON kept.messages")
	// A balancer sends nothing here before it is ready.
	if err := s.Ping(t.Context()); err != nil {
		t.Error("there is room, and not ready:", err)
	}
	w.accept(t, s, time.Now())
}

// TestACommitInDoubt: where the connection breaks during a commit that was written
// all the same, what is held is handed back, and results are not recorded twice.
func TestACommitInDoubt(t *testing.T) {
	s, w := seeded(t)
	woken := make(chan string, 10)
	s.OnDue(func(webhookID string) { woken <- webhookID })
	held := w.accept(t, s, time.Now())
	s.perhapsHeld([]*phone.Job{held.Job})
	if got := <-woken; got != w.webhook.ID {
		t.Error(got)
	}
	b, err := s.Due(t.Context(), w.webhook.ID, time.Now(), 10, false)
	if err != nil || len(b.Jobs) != 1 || b.Jobs[0].DeliveryID != held.DeliveryID {
		t.Fatal(b, err)
	}
	results := []*phone.Result{{Job: b.Jobs[0], Status: phone.Success, Attempt: phone.Attempt{ID: "att_1", SentAt: time.Now(), HTTPStatus: 200}}}
	for range 2 {
		out, err := s.Record(t.Context(), results)
		if err != nil || !out[0].Applied || out[0].Number != 1 || out[0].Status != phone.Success {
			t.Errorf("%+v %v", out, err)
		}
		s.perhapsRecorded(results)
	}
	d, err := s.Delivery(t.Context(), w.project, held.DeliveryID)
	if err != nil || d.Attempts != 1 || len(d.Log) != 1 || d.Status != phone.Success {
		t.Errorf("%+v %v", d, err)
	}
	if c, err := s.Totals(t.Context(), w.project); err != nil || c.Success != 1 || c.Pending != 0 {
		t.Error(c, err)
	}
}

// TestOneTextAtFault: a text that PostgreSQL cannot keep fails its own event alone.
func TestOneTextAtFault(t *testing.T) {
	s, w := seeded(t)
	good, bad := w.event(time.Now()), w.event(time.Now())
	bad.MediaURLs = []string{"x"}
	bad.IdempotencyKey = "a\x00b"
	nul := w.event(time.Now())
	nul.Body = "what people write may hold \x00"
	out := s.Accept(t.Context(), []*phone.NewEvent{good, bad, nul}, roomy{true})
	if out[0].Err != nil || phone.CodeOf(out[1].Err) != phone.BadRequest || out[2].Err != nil {
		t.Errorf("%+v", out)
	}
	c, err := s.Content(t.Context(), w.project, s.Accept(t.Context(), []*phone.NewEvent{w.event(time.Now())}, roomy{})[0].DeliveryID)
	if err != nil || len(c.History) != 2 || c.History[1].Body != nul.Body {
		t.Errorf("%+v %v", c, err)
	}
}

// TestBehindPgBouncer: in transaction mode, with a version that knows no prepared
// statements.
func TestBehindPgBouncer(t *testing.T) {
	url := pgtest.URL(t)
	through := pgtest.Shared(t).Bouncer(t, url, map[string]string{"default_pool_size": "4"})
	s, err := Open(t.Context(), through+"&default_query_exec_mode=cache_describe")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	w := seed(t, s)
	done := make(chan phone.Accepted)
	for range 8 {
		e := w.event(time.Now())
		go func() { done <- s.Accept(t.Context(), []*phone.NewEvent{e}, roomy{true})[0] }()
	}
	var all []phone.Accepted
	for range 8 {
		a := <-done
		if a.Err != nil {
			t.Fatal(a.Err)
		}
		all = append(all, a)
	}
	w.finish(t, s, all[:4]...)
	if err := s.HandBack(t.Context(), []*phone.Job{all[4].Job, all[5].Job, all[6].Job, all[7].Job}); err != nil {
		t.Fatal(err)
	}
	if b, err := s.Due(t.Context(), w.webhook.ID, time.Now(), 10, true); err != nil || len(b.Jobs) != 4 {
		t.Error(b, err)
	}
	if err := s.DeleteWebhook(t.Context(), w.project, "", time.Now(), nil); err != nil {
		t.Error(err)
	}
	if c, err := s.Totals(t.Context(), w.project); err != nil || c.Success != 4 || c.Pending != 0 {
		t.Error(c, err)
	}
}
