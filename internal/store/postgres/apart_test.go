package postgres

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store/postgres/pgtest"
)

// tracer hears every statement, and notes which projects each transaction names.
type tracer struct {
	mu       sync.Mutex
	open     map[*pgx.Conn]map[string]bool
	finished [][]string
}

func (tr *tracer) TraceQueryStart(ctx context.Context, conn *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	tr.saw(conn, q.SQL, q.Args)
	return ctx
}
func (tr *tracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
func (tr *tracer) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	return ctx
}
func (tr *tracer) TraceBatchQuery(_ context.Context, conn *pgx.Conn, q pgx.TraceBatchQueryData) {
	tr.saw(conn, q.SQL, q.Args)
}
func (tr *tracer) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

func (tr *tracer) saw(conn *pgx.Conn, text string, args []any) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if tr.open == nil {
		tr.open = map[*pgx.Conn]map[string]bool{}
	}
	if strings.HasPrefix(text, "BEGIN") || tr.open[conn] == nil {
		tr.open[conn] = map[string]bool{}
	}
	for _, a := range args {
		for word := range strings.FieldsFuncSeq(fmt.Sprint(a), func(r rune) bool { return r == ' ' || r == '[' || r == ']' }) {
			if strings.HasPrefix(word, phone.PrefixProject) {
				tr.open[conn][word] = true
			}
		}
	}
	if strings.HasPrefix(text, "COMMIT") {
		tr.finished = append(tr.finished, slices.Sorted(maps.Keys(tr.open[conn])))
		tr.open[conn] = nil
	}
}

// most is how many projects one of the transactions since the last call named, at most.
func (tr *tracer) most() (n, transactions int) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for _, projects := range tr.finished {
		if n = max(n, len(projects)); len(projects) > 0 {
			transactions++
		}
	}
	tr.finished = nil
	return n, transactions
}

// Where projects are on several servers, each transaction that accepts or records is
// of one project, whatever the batch; elsewhere one is of all.
func TestTransactionsOfOneProject(t *testing.T) {
	t.Parallel()
	cfg, schema, err := parseURL(pgtest.URL(t))
	if err != nil {
		t.Fatal(err)
	}
	tr := &tracer{}
	cfg.ConnConfig.Tracer = tr
	s, err := open(t.Context(), cfg, schema)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	worlds := []*world{seed(t, s), seed(t, s), seed(t, s)}
	for _, apart := range []bool{false, true} {
		s.apart.Store(apart)
		want, transactions := len(worlds), 1
		if apart {
			want, transactions = 1, len(worlds)
		}
		tr.most()
		var events []*phone.NewEvent
		for range 4 {
			for _, w := range worlds {
				events = append(events, w.otherEvent())
			}
		}
		// A repeat, an event that cannot be taken, and one that goes to nobody are written otherwise.
		events[3].IdempotencyKey, events[6].IdempotencyKey = fmt.Sprint("apart ", apart), fmt.Sprint("apart ", apart)
		events[4].Number = "+12025550000"
		events[5].Direction = phone.Outbound
		out := s.Accept(t.Context(), events, roomy{true})
		if n, of := tr.most(); n != want || of != transactions {
			t.Errorf("apart %v: %d transactions accept, the largest of %d projects", apart, of, n)
		}
		var results []*phone.Result
		for i, a := range out {
			refused := i == 4
			if (a.Err != nil) != refused || !refused && (a.EventID != events[i].ID) != (i == 6) || a.Duplicate != (i == 6) {
				t.Errorf("apart %v, event %d: %+v", apart, i, a)
			}
			if a.Job == nil {
				continue
			}
			if a.Job.ProjectID != events[i].ProjectID {
				t.Errorf("apart %v, event %d of %s is %s's", apart, i, events[i].ProjectID, a.Job.ProjectID)
			}
			results = append(results, &phone.Result{Job: a.Job, Status: phone.Success,
				Attempt: phone.Attempt{ID: phone.NewID(phone.PrefixAttempt), DeliveryID: a.DeliveryID, SentAt: time.Now(), HTTPStatus: 200}})
		}
		recorded, err := s.Record(t.Context(), results)
		if err != nil || len(recorded) != len(results) || len(results) != 9 {
			t.Fatal(recorded, err, len(results))
		}
		for i, r := range recorded {
			if !r.Applied || r.Number != 1 {
				t.Errorf("apart %v, result %d: %+v", apart, i, r)
			}
		}
		if n, of := tr.most(); n != want || of != transactions {
			t.Errorf("apart %v: %d transactions record, the largest of %d projects", apart, of, n)
		}
	}
	counts := 0
	for _, w := range worlds {
		c, err := s.Totals(t.Context(), w.project)
		if err != nil {
			t.Fatal(err)
		}
		counts += c.Success
	}
	if counts != 18 {
		t.Errorf("%d are counted", counts)
	}
}
