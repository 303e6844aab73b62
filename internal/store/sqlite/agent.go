package sqlite

import (
	"context"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"zombiezen.com/go/sqlite"
)

// CreateAgent adds an agent.
func (s *Store) CreateAgent(ctx context.Context, a phone.Agent) error {
	return s.write(ctx, func(t *tx) error {
		if err := exec(t.Conn, "insertAgent", a.ID, a.ProjectID, a.Name, a.Settings, micros(a.CreatedAt)); err != nil {
			return err
		}
		return t.note(ctx, a.ProjectID, phone.AgentCreated, a.ID, a.Name)
	})
}

// Agent returns an agent with its numbers.
func (s *Store) Agent(ctx context.Context, projectID, id string) (a phone.Agent, err error) {
	err = s.read(ctx, func(c *sqlite.Conn) error {
		a, err = agent(c, projectID, id)
		return err
	})
	return a, err
}

func agent(c *sqlite.Conn, projectID, id string) (a phone.Agent, err error) {
	ok, err := one(c, "agent", func(r *row) { a = readAgent(r) }, projectID, id)
	if err := orNotFound(ok, err, "agent", id); err != nil {
		return a, err
	}
	a.Numbers, err = numbersOf(c, id)
	return a, err
}

func numbersOf(c *sqlite.Conn, agentID string) (out []phone.Number, err error) {
	err = each(c, "numbersOfAgent", func(r *row) error {
		out = append(out, readNumber(r))
		return nil
	}, agentID)
	return out, err
}

// Agents returns a page of agents, oldest first, and how many there are.
func (s *Store) Agents(ctx context.Context, projectID string, limit, offset int) (out []phone.Agent, total int, err error) {
	err = s.read(ctx, func(c *sqlite.Conn) error {
		err := each(c, "agentsPage", func(r *row) error {
			out = append(out, readAgent(r))
			return nil
		}, projectID, limit, offset)
		if err != nil {
			return err
		}
		for i := range out {
			if out[i].Numbers, err = numbersOf(c, out[i].ID); err != nil {
				return err
			}
		}
		total, err = number(c, "agentsTotal", projectID)
		return err
	})
	return out, total, err
}

// number runs a query whose one answer is a number.
func number(c *sqlite.Conn, name string, values ...any) (n int, err error) {
	_, err = one(c, name, func(r *row) { n = r.int() }, values...)
	return n, err
}

// UpdateAgent changes name and settings in one transaction.
func (s *Store) UpdateAgent(ctx context.Context, projectID, id string, change func(*phone.Agent) error) (a phone.Agent, err error) {
	err = s.write(ctx, func(t *tx) error {
		a, err = agent(t.Conn, projectID, id)
		if err == nil {
			err = change(&a)
		}
		if err != nil {
			return err
		}
		if err := exec(t.Conn, "updateAgent", id, a.Name, a.Settings); err != nil {
			return err
		}
		return t.note(ctx, projectID, phone.AgentUpdated, id, a.Name)
	})
	return a, err
}

// DeleteAgent removes an agent and, by the routing rule, its webhook and who
// listens for it. Its numbers stay, unassigned. inFlight names the deliveries of
// these webhooks whose attempt is under way. It answers the agent as it was.
func (s *Store) DeleteAgent(ctx context.Context, projectID, id string, at time.Time, inFlight []string) (a phone.Agent, err error) {
	var gone []string
	err = s.write(ctx, func(t *tx) error {
		if a, err = agent(t.Conn, projectID, id); err != nil {
			return err
		}
		gone = gone[:0]
		for _, live := range []func(*sqlite.Conn, string, string) (*phone.Webhook, error){liveListener, liveWebhook} {
			w, err := live(t.Conn, projectID, id)
			if err != nil {
				return err
			}
			if w == nil {
				continue
			}
			gone = append(gone, w.ID)
			if err := deleteWebhook(ctx, t, *w, at, inFlight); err != nil {
				return err
			}
		}
		if err := exec(t.Conn, "releaseNumbers", id); err != nil {
			return err
		}
		if err := exec(t.Conn, "deleteAgent", id); err != nil {
			return err
		}
		return t.note(ctx, projectID, phone.AgentDeleted, id, a.Name)
	})
	for _, w := range gone {
		if err == nil {
			err = s.Settle(ctx, w)
		}
	}
	return a, err
}
