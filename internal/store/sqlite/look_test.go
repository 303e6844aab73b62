package sqlite

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// looks are the ways in which a page of the log is asked for, and the index that
// must serve each.
var looks = []struct {
	name, index string
	f           store.LookFilter
}{
	{"all", "deliveries_by_project", store.LookFilter{}},
	{"next page", "deliveries_by_project", store.LookFilter{After: store.Place{At: time.Unix(1e9, 0), ID: "del_x"}}},
	{"text that is nowhere", "deliveries_by_project", store.LookFilter{Text: "nowhere"}},
	{"an agent's", "l USING PRIMARY KEY", store.LookFilter{DeliveryFilter: store.DeliveryFilter{AgentID: "agt_1"}}},
	{"a webhook's", "deliveries_by_project", store.LookFilter{DeliveryFilter: store.DeliveryFilter{WebhookID: "wh_none"}}},
	{"failed", "deliveries_failed", store.LookFilter{DeliveryFilter: store.DeliveryFilter{Status: phone.Failed}}},
	{"an agent's failed", "deliveries_failed", store.LookFilter{DeliveryFilter: store.DeliveryFilter{Status: phone.Failed, AgentID: "agt_1"}}},
	{"unrouted", "deliveries_unrouted", store.LookFilter{DeliveryFilter: store.DeliveryFilter{Status: phone.Unrouted}}},
	{"pending, of which there are none", "deliveries_by_project", store.LookFilter{DeliveryFilter: store.DeliveryFilter{Status: phone.Pending}}},
	{"of an hour", "deliveries_by_project", store.LookFilter{DeliveryFilter: store.DeliveryFilter{Since: time.Unix(1e9, 0), Until: time.Unix(1e9+3600, 0)}}},
}

func TestEachLookIsServedByItsIndexAndSortsNothing(t *testing.T) {
	s, err := Open(t.Context(), t.TempDir()+"/plan.db")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	err = s.read(t.Context(), func(c *sqlite.Conn) error {
		for _, l := range looks {
			l.f.ProjectID, l.f.Limit = "prj_1", 50
			from, rest := lookSource(l.f)
			q, _ := lookQuery(from, rest, l.f)
			plan := planOf(t, c, q)
			if !strings.Contains(plan, l.index) || strings.Contains(plan, "TEMP B-TREE") || strings.Contains(plan, "SCAN deliveries") {
				t.Errorf("%s is not served by %s, or sorted:\n%s\n%s", l.name, l.index, plan, q)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// BenchmarkLook prints what a page of deliveries costs with a million rows:
// go test -run - -bench Look ./internal/store/sqlite
// SWITCHHOOK_LOOK_ROWS asks for another number of them.
func BenchmarkLook(b *testing.B) {
	rows := 1_000_000
	if n := os.Getenv("SWITCHHOOK_LOOK_ROWS"); n != "" {
		if _, err := fmt.Sscan(n, &rows); err != nil {
			b.Fatal(err)
		}
	}
	s, start := million(b, rows)
	for _, l := range looks {
		l.f.ProjectID, l.f.Limit = "prj_1", 50
		if l.f.After.ID != "" {
			l.f.After.At = start.Add(time.Duration(rows/2) * time.Millisecond)
		}
		if !l.f.Since.IsZero() {
			l.f.Since, l.f.Until = start, start.Add(time.Hour)
		}
		b.Run(l.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := s.Look(b.Context(), l.f); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(rows), "rows")
		})
	}
	b.Run("troubles", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.Troubles(b.Context(), "prj_1", start); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("20 agents", func(b *testing.B) {
		var ids []string
		for i := range 20 {
			ids = append(ids, fmt.Sprint("agt_", i))
		}
		for b.Loop() {
			if _, err := s.AgentLooks(b.Context(), "prj_1", ids); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("count the failed", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.CountDeliveries(b.Context(), store.DeliveryFilter{ProjectID: "prj_1", Status: phone.Failed}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// million is a store with so many deliveries of 100 agents, a millisecond apart,
// one in ten of which failed; each has an attempt.
func million(tb testing.TB, rows int) (*Store, time.Time) {
	s, err := Open(context.Background(), tb.TempDir()+"/million.db")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	const slice = 50_000
	for from := 0; from < rows; from += slice {
		err := s.write(context.Background(), func(t *tx) error {
			for _, q := range []string{fillDeliveries, fillAttempts, fillLog} {
				err := sqlitex.Execute(t.Conn, q, &sqlitex.ExecOptions{Args: []any{from, min(from+slice, rows), start.UnixMicro()}})
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			tb.Fatal(err)
		}
	}
	return s, start
}

const (
	numbersTo      = `WITH RECURSIVE n(i) AS (SELECT ?1 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?2) `
	fillDeliveries = numbersTo + `
INSERT INTO deliveries (id, project_id, agent_id, webhook_id, conversation_id, message_id, event_type, channel, direction,
  context_limit, history_before, status, attempts, round, round_attempts, handed, next_attempt_at, last_attempt_at, ended,
  test, strict, created_at, data)
SELECT printf('del_%026d', i), 'prj_1', 'agt_' || (i % 100), 'wh_' || (i % 100), 'conv_' || (i % 5000), printf('msg_%026d', i),
  'agent.message', 'sms', 'inbound', 10, 1, iif(i % 10 = 0, 'failed', 'success'), 1, 1, 1, 1, 0, ?3 + 1000 * i, '', 0, 0, ?3 + 1000 * i,
  CAST(printf('{"messageId":"msg_%026d","from":"+12025550199","to":"+12025550101","message":"Where is my order number %d, please?"}', i, i) AS BLOB)
FROM n`
	fillLog = numbersTo + `
INSERT INTO agent_log SELECT 'agt_' || (i % 100), ?3 + 1000 * i, printf('del_%026d', i) FROM n`
	fillAttempts = numbersTo + `
INSERT INTO attempts (delivery_id, number, id, url, sent_at, duration_us, legacy, standard, http_status, error, response_body)
SELECT printf('del_%026d', i), 1, printf('att_%026d', i), 'https://example.com/hook', ?3 + 1000 * i, 1500,
  'sha256=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef', 'v1,0123456789abcdef0123456789abcdef0123456789ab=',
  iif(i % 10 = 0, 500, 200), iif(i % 10 = 0, 'answered 500 Internal Server Error', ''), 'ok'
FROM n`
)
