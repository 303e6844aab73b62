package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
)

// The database's side of the lease protocol (package lease). What it rests on:
//
//   - A run is alive while its row in nodes has no ended_at. Its row is renewed, or
//     ended, and never both: it is one row.
//   - A pending delivery has one owner. It changes in two ways only: a run that ended
//     or leaves is adopted from, and a finished delivery is replayed.
//   - Both happen under the lock of the delivery's conversation, as does the making of
//     a delivery: so what is pending of a conversation is all owned by one run, the
//     one that the conversation's row names. An event goes to that run, whoever
//     accepts it, and even where it is dead: whoever adopts the rest adopts this too.
//     What a listener is to have is left out of this: it is owned by the run that has
//     the listener's connection (listener.go), whoever owns the rest.
//   - A result is written where the delivery's row still names the run as its owner.
//
// A transaction of a run that has been declared dead may commit late. Nothing is
// built on that not happening: what it leaves is found by its owner, who is no node.

const (
	// strangersEvery is every how many looks it is looked for owners that are no
	// node any more: only a transaction that commits after its run was forgotten
	// leaves such.
	strangersEvery = 8
	// channel is where nodes tell each other to look.
	channel = "switchhook"
	// notifyWait bounds the sending of a notification: a look finds out anyway.
	notifyWait = 2 * time.Second
)

// begin makes a run, with a lease that is long enough until somebody renews it.
func (s *Store) newRun(ctx context.Context, name string, length time.Duration) error {
	return s.write(ctx, func(t *tx) error {
		_, err := one(t, "nextRun", func(r *row) { s.run.Store(r.int64()) }, name, micros(time.Now()), length.Microseconds())
		return err
	})
}

// processName is what a run is called that is no node's.
func processName() string {
	name, err := os.Hostname()
	if err != nil {
		name = "unknown"
	}
	return fmt.Sprint(name, ":", os.Getpid())
}

// adoptAtOpen takes over what runs owned that have ended, a good deal of it: who
// opens a database alone finds it as it was left.
func (s *Store) adoptAtOpen(ctx context.Context) error {
	for range 20 {
		a, err := s.Adopt(ctx, 500, func() {})
		if err != nil || !a.More || a.Deliveries == 0 {
			return err
		}
	}
	return nil
}

// Join makes a run of the node, with a lease. The first time it is the run that
// Open began.
func (s *Store) Join(ctx context.Context, name string, length time.Duration) (run int64, err error) {
	known := false
	if !s.joined {
		err = s.write(ctx, func(t *tx) error {
			known, err = one(t, "joinAs", func(*row) {}, t.run, name, length.Microseconds())
			return err
		})
	}
	if err == nil && !known {
		err = s.newRun(ctx, name, length)
	}
	s.joined = s.joined || err == nil
	return s.run.Load(), err
}

// Renew renews a run's lease; alive is false where it was declared dead.
func (s *Store) Renew(ctx context.Context, run int64, length time.Duration) (alive bool, err error) {
	err = s.write(ctx, func(t *tx) error {
		alive, err = one(t, "renewLease", func(*row) {}, run, length.Microseconds())
		return err
	})
	return alive, err
}

// Leave lets others adopt what a run owns and has not in memory.
func (s *Store) Leave(ctx context.Context, run int64) error {
	return s.write(ctx, func(t *tx) error { t.poke(everybody); return exec(t, "leave", run) })
}

// End ends a run: others adopt what it owns, without waiting for its lease.
func (s *Store) End(ctx context.Context, run int64) error {
	return s.write(ctx, func(t *tx) error { t.poke(everybody); return exec(t, "endRun", run) })
}

// Adopt declares dead whose lease has run out, and takes over up to about limit
// deliveries of runs that ended or leave, whole conversations at a time. found is
// called before it takes any, where there are some.
func (s *Store) Adopt(ctx context.Context, limit int, found func()) (out store.Adopted, err error) {
	left, err := s.leftRuns(ctx)
	if err != nil || len(left.ended)+len(left.leaving) == 0 {
		return out, err
	}
	// Who listened there does not any more: what is adopted must not be tried on them.
	if err := s.removeListenersOf(ctx, slices.Concat(left.ended, left.leaving)); err != nil {
		return out, err
	}
	// Turns of calls are not asked again: they end with the run that asked them.
	if len(left.ended) > 0 {
		if _, err := s.SettleTurns(ctx, time.Now().UTC().Truncate(time.Millisecond)); err != nil {
			return out, err
		}
	}
	err = s.write(ctx, func(t *tx) error {
		out = store.Adopted{}
		of := map[string]*orphans{}
		n := 0
		read := func(r *row) error {
			n++
			p := r.text()
			if of[p] == nil {
				of[p] = &orphans{conversations: map[string]bool{}}
			}
			if c, id := r.text(), r.text(); c == "" {
				of[p].singles = append(of[p].singles, id)
			} else {
				of[p].conversations[c] = true
			}
			return nil
		}
		later(t, "orphans", read, left.ended, limit)
		if len(left.leaving) > 0 {
			later(t, "handedOver", read, left.leaving, limit)
		}
		if err := t.flush(); err != nil {
			return err
		}
		out.More = n >= limit
		if n == 0 {
			exec(t, "dropGiven", left.ended)
			exec(t, "forgetRuns", left.ended)
			return nil
		}
		found()
		webhooks := map[string]bool{}
		for _, p := range slices.Sorted(maps.Keys(of)) {
			n, err := of[p].adopt(t, p, left, webhooks)
			if err != nil {
				return err
			}
			out.Deliveries += n
		}
		out.Webhooks = slices.Sorted(maps.Keys(webhooks))
		return nil
	})
	if err != nil {
		return store.Adopted{}, err
	}
	return out, nil
}

// left are runs that others adopt from.
type left struct{ ended, leaving []int64 }

func (s *Store) leftRuns(ctx context.Context) (l left, err error) {
	strangers := s.looks.Add(1)%strangersEvery == 1
	err = s.write(ctx, func(t *tx) error {
		l = left{}
		exec(t, "declareDead", t.run)
		later(t, "leftRuns", func(r *row) error {
			if run := r.int64(); r.bool() {
				l.ended = append(l.ended, run)
			} else {
				l.leaving = append(l.leaving, run)
			}
			return nil
		}, t.run)
		if strangers {
			later(t, "strangers", func(r *row) error { l.ended = append(l.ended, r.int64()); return nil })
		}
		return nil
	})
	return l, err
}

// orphans are deliveries of a project whose owner is gone.
type orphans struct {
	conversations map[string]bool
	singles       []string
}

func (o *orphans) adopt(t *tx, projectID string, l left, webhooks map[string]bool) (n int, err error) {
	took := func(r *row) error { n++; webhooks[r.text()] = true; return nil }
	var locked []string
	err = each(t, "lockConversations", func(r *row) error { locked = append(locked, r.text()); return nil },
		projectID, slices.Sorted(maps.Keys(o.conversations)))
	if err != nil {
		return 0, err
	}
	now := micros(time.Now())
	if len(locked) > 0 {
		later(t, "adoptConversations", took, projectID, locked, t.run, l.ended, l.leaving, now)
		exec(t, "inheritConversations", projectID, locked, t.run, slices.Concat(l.ended, l.leaving))
	}
	if len(o.singles) > 0 {
		later(t, "adoptSingles", took, projectID, o.singles, t.run, l.ended, l.leaving, now)
	}
	return n, t.flush()
}

// Given tells a run of the webhooks of which others gave it deliveries. wake is called
// with each, and returns false for those that are returned. Until wake was called, what
// the run accepts for a webhook goes by the store, behind what was given: see givenTo.
func (s *Store) Given(ctx context.Context, run int64, wake func(webhookID string) bool) (rest []string, err error) {
	err = s.write(ctx, func(t *tx) error {
		seen := map[string]bool{}
		if err := each(t, "taken", func(r *row) error { seen[r.text()] = true; return nil }, run); err != nil {
			return err
		}
		rest = nil
		for _, id := range slices.Sorted(maps.Keys(seen)) {
			if !wake(id) {
				rest = append(rest, id)
			}
		}
		return nil
	})
	return rest, err
}

// give tells other runs of deliveries that they own.
func (t *tx) give(projectID string, to map[given]bool) {
	if len(to) == 0 {
		return
	}
	all := slices.Collect(maps.Keys(to))
	for _, g := range all {
		t.poke(g.run)
	}
	exec(t, "give", projectID, column(all, func(g given) int64 { return g.run }), column(all, func(g given) string { return g.webhookID }))
}

type given struct {
	run       int64
	webhookID string
}

// Owned counts the pending deliveries of a run, up to a limit.
func (s *Store) Owned(ctx context.Context, run int64, limit int) (n int, err error) {
	err = s.readOne(ctx, func(t *tx) error {
		_, err := one(t, "owned", func(r *row) { n = r.int() }, run, limit)
		return err
	})
	return n, err
}

// InMemory lists the deliveries that a run has in its memory, as far as the
// database knows.
func (s *Store) InMemory(ctx context.Context, run int64) (ids []string, err error) {
	err = s.readOne(ctx, func(t *tx) error {
		ids = nil
		return each(t, "inMemory", func(r *row) error { ids = append(ids, r.text()); return nil }, run)
	})
	return ids, err
}

// TakeUp makes deliveries due that a run was thought to have in memory, and has
// not. It answers their webhooks.
func (s *Store) TakeUp(ctx context.Context, run int64, ids []string) (webhooks []string, err error) {
	err = s.write(ctx, func(t *tx) error {
		seen := map[string]bool{}
		err := each(t, "takeUp", func(r *row) error { seen[r.text()] = true; return nil }, run, ids, micros(time.Now()))
		webhooks = slices.Sorted(maps.Keys(seen))
		return err
	})
	return webhooks, err
}

// ChangedWebhooks returns the webhooks that were made, changed or deleted of late,
// as revisions by id.
func (s *Store) ChangedWebhooks(ctx context.Context, within time.Duration) (map[string]int64, error) {
	out := map[string]int64{}
	err := s.readOne(ctx, func(t *tx) error {
		return each(t, "changedWebhooks", func(r *row) error { out[r.text()] = r.int64(); return nil }, within.Microseconds())
	})
	return out, err
}

// SettleOwned ends or binds anew what this run owns of a webhook, where that is
// deleted or disabled. inFlight names those whose attempt is under way. It answers
// the webhook's project.
func (s *Store) SettleOwned(ctx context.Context, webhookID string, inFlight []string) (projectID string, err error) {
	projectID, err = s.projectOf(ctx, webhookID)
	if err != nil || projectID == "" {
		return projectID, err
	}
	err = s.write(ctx, func(t *tx) error {
		t.shareProject(projectID)
		gone := false
		found, err := one(t, "settling", func(r *row) { _, gone = r.text(), r.bool() }, projectID, []string{webhookID})
		if err != nil || !found {
			return err
		}
		surelyUnsent := int64(0)
		if gone {
			surelyUnsent = t.run
		}
		t.unsettle(phone.Webhook{ProjectID: projectID, ID: webhookID}, surelyUnsent)
		if !gone || len(inFlight) == 0 {
			return nil
		}
		return settleInFlight(t, projectID, webhookID, inFlight)
	})
	if err == nil {
		err = s.Settle(ctx, webhookID)
	}
	return projectID, err
}

// Unsettled says whether other runs that are alive own pending deliveries of a webhook.
func (s *Store) Unsettled(ctx context.Context, webhookID string) (unsettled bool, err error) {
	projectID, err := s.projectOf(ctx, webhookID)
	if err != nil || projectID == "" {
		return false, err
	}
	err = s.readOne(ctx, func(t *tx) error {
		unsettled, err = one(t, "ownedElsewhere", func(*row) {}, projectID, webhookID, t.run)
		return err
	})
	return unsettled, err
}

// everybody is who a notification is for that is for no run in particular.
const everybody = 0

// poke has a run, or everybody, told to look once the transaction is committed.
func (t *tx) poke(run int64) {
	if t.pokes == nil {
		t.pokes = map[int64]bool{}
	}
	t.pokes[run] = true
}

// notifier sends notifications, beside what they are about: a commit that notifies
// waits for every other such commit (PostgreSQL's manual, NOTIFY), and none of ours
// is to.
type notifier struct {
	mu      sync.Mutex
	pending map[int64]bool
	sending bool
}

// notify tells runs to look. What cannot be told they find out by themselves.
func (s *Store) notify(runs map[int64]bool) {
	n := &s.notifier
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.pending == nil {
		n.pending = map[int64]bool{}
	}
	maps.Copy(n.pending, runs)
	if n.sending || len(n.pending) == 0 {
		return
	}
	n.sending = true
	go func() {
		for {
			n.mu.Lock()
			runs := n.pending
			n.pending = nil
			n.sending = len(runs) > 0
			n.mu.Unlock()
			if len(runs) == 0 {
				return
			}
			ctx, cancel := context.WithTimeout(context.Background(), notifyWait)
			_ = s.readOne(ctx, func(t *tx) error {
				for run := range runs {
					later(t, "notify", func(*row) error { return nil }, payload(run))
				}
				return t.flush()
			})
			cancel()
		}
	}()
}

func payload(run int64) string {
	if run == everybody {
		return ""
	}
	return strconv.FormatInt(run, 10)
}

// Listen calls heard for every notification that concerns a run, until ctx ends or
// the connection fails. It has a connection of its own, which must lead to the
// database itself: behind PgBouncer in transaction mode nothing is heard.
func (s *Store) Listen(ctx context.Context, run int64, heard func()) error {
	conn, err := pgx.ConnectConfig(ctx, s.pool.Config().ConnConfig.Copy())
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(ctx)
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		return err
	}
	heard()
	// Behind PgBouncer LISTEN succeeds, and nothing ever comes.
	hello, known := "hello "+rand.Text(), false
	err = s.readOne(ctx, func(t *tx) error {
		later(t, "notify", func(*row) error { return nil }, hello)
		return t.flush()
	})
	if err != nil {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, helloWait)
	defer cancel()
	for {
		n, err := conn.WaitForNotification(wait)
		switch {
		case err != nil && !known && wait.Err() != nil && ctx.Err() == nil:
			return errDeaf
		case err != nil:
			return err
		case n.Payload == hello:
			known, wait = true, ctx
		case n.Payload == "" || n.Payload == payload(run):
			heard()
		}
	}
}

// helloWait is how long a notification of one's own may take.
const helloWait = 5 * time.Second

// errDeaf is why notifications are not listened to.
var errDeaf = errors.New("notifications do not come through, as behind PgBouncer in transaction mode")
