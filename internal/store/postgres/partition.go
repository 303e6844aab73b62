package postgres

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"switchhook.dev/switchhook/internal/phone"
)

// A partition holds a week: so many weeks of retention are so many partitions,
// few enough for queries that must look into each.
const partitionSpan = 7 * 24 * time.Hour

// partitionsAhead is how far ahead partitions are made.
const partitionsAhead = 2 * partitionSpan

// partitioned are the tables in partitions, with the prefix of the ids they are
// cut by, and what is said of each partition's upkeep. Deliveries change a few
// times soon after they are made: there is room for that on their pages, and their
// old versions are cleared away early.
// keys are the columns that rows are looked for by: the planner needs to know of no others.
var partitioned = []struct{ table, prefix, with, keys string }{
	{"events", phone.PrefixEvent, "", "project_id, id"},
	{"deliveries", phone.PrefixDelivery, " WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02)",
		"project_id, id, agent_id, webhook_id, conversation_id, status, owner, next_attempt_at, created_at"},
	{"attempts", phone.PrefixDelivery, "", "project_id, delivery_id, number"},
}

// partitionOf is the beginning of the partition that a time falls into: a Monday.
func partitionOf(at time.Time) time.Time {
	// Truncate counts from the zero time, which was a Monday.
	return at.UTC().Truncate(partitionSpan)
}

func partitionName(table string, start time.Time) string {
	return table + "_" + start.Format("20060102")
}

// partition is one that is there.
type partition struct {
	table, name string
	// start is when the first of its rows can have been made; zero for the rest.
	start time.Time
	pages int64
}

// end is when the last of its rows can have been made.
func (p partition) end() time.Time { return p.start.Add(partitionSpan) }

func (s *Store) partitions(ctx context.Context) (out []partition, err error) {
	err = s.readOne(ctx, func(t *tx) error {
		return each(t, "partitions", func(r *row) error {
			p := partition{table: r.text(), name: r.text(), pages: r.int64()}
			p.start, _ = time.Parse("20060102", strings.TrimPrefix(p.name, p.table+"_"))
			out = append(out, p)
			return nil
		})
	})
	return out, err
}

// lookAhead makes the partitions that will be needed, once a day.
func (s *Store) lookAhead(ctx context.Context, now time.Time) error {
	if last := s.lookedAhead.Load(); now.Unix()-last < int64(24*time.Hour/time.Second) {
		return nil
	}
	err := s.MakePartitions(ctx, now, now.Add(partitionsAhead))
	if err == nil {
		s.lookedAhead.Store(now.Unix())
	}
	return err
}

// MakePartitions makes the partitions for rows with ids made from one time to
// another, where they are not there already. Rows for which there is none go to
// the partition of the rest.
func (s *Store) MakePartitions(ctx context.Context, from, to time.Time) error {
	all, err := s.partitions(ctx)
	if err != nil {
		return err
	}
	have := map[string]bool{}
	for _, p := range all {
		have[p.name] = true
	}
	for start := partitionOf(from); !start.After(to); start = start.Add(partitionSpan) {
		for _, p := range partitioned {
			name := partitionName(p.table, start)
			if have[name] {
				continue
			}
			text := fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s PARTITION OF %s FOR VALUES FROM ('%s') TO ('%s')%s", name, p.table,
				p.prefix+phone.FirstID(start), p.prefix+phone.FirstID(start.Add(partitionSpan)), p.with)
			err := s.write(ctx, func(t *tx) error {
				// Nodes that start together would wait for each other on the way.
				exec(t, "lockMigrations")
				return eachText(t, text, func(*row) error { return nil })
			})
			if codeOf(err) == codeCheckViolation {
				continue // the rest holds rows of that time: it goes on doing so
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// filling counts what goes into the present week's partitions. While they are new
// the planner knows nothing of them, takes a project's rows for few, and would read
// all of them to find the ones it is given ids of. Autovacuum tells it better after
// a minute or two; here it is told at once, and once more.
type filling struct {
	mu     sync.Mutex
	week   time.Time
	events int
}

// familiar is after how many events of a week the planner is told about it.
var familiar = []int{2_000, 20_000}

// getToKnow counts events, and has the planner told when it is time.
func (s *Store) getToKnow(events int) {
	week := partitionOf(time.Now())
	s.filling.mu.Lock()
	defer s.filling.mu.Unlock()
	if s.filling.week != week {
		s.filling.week, s.filling.events = week, 0
	}
	before := s.filling.events
	s.filling.events += events
	for _, n := range familiar {
		if before < n && s.filling.events >= n {
			s.background.Go(func() {
				for _, p := range partitioned {
					// It is for speed alone: what fails is left to autovacuum.
					_ = s.readOne(context.Background(), func(t *tx) error {
						return eachText(t, "ANALYZE "+partitionName(p.table, week)+" ("+p.keys+")", nothing)
					})
				}
			})
		}
	}
}
