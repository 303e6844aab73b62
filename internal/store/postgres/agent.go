package postgres

import (
	"context"
	"time"

	"switchhook.dev/switchhook/internal/phone"
)

// CreateAgent adds an agent.
func (s *Store) CreateAgent(ctx context.Context, a phone.Agent) error {
	return s.write(ctx, func(t *tx) error {
		if err := exec(t, "insertAgent", a.ID, a.ProjectID, a.Name, a.Settings, micros(a.CreatedAt)); err != nil {
			return err
		}
		return t.note(ctx, a.ProjectID, phone.AgentCreated, a.ID, a.Name)
	})
}

// Agent returns an agent with its numbers.
func (s *Store) Agent(ctx context.Context, projectID, id string) (a phone.Agent, err error) {
	err = s.read(ctx, func(c *tx) error {
		a, err = agent(c, projectID, id)
		return err
	})
	return a, err
}

func agent(c *tx, projectID, id string) (a phone.Agent, err error) {
	ok, err := one(c, "agent", func(r *row) { a = readAgent(r) }, projectID, id)
	if err := orNotFound(ok, err, "agent", id); err != nil {
		return a, err
	}
	err = addNumbers(c, projectID, []*phone.Agent{&a})
	return a, err
}

// addNumbers gives agents of a project their numbers.
func addNumbers(t *tx, projectID string, agents []*phone.Agent) error {
	byID, ids := map[string]*phone.Agent{}, []string{}
	for _, a := range agents {
		byID[a.ID] = a
		ids = append(ids, a.ID)
	}
	return each(t, "numbersOfAgents", func(r *row) error {
		n := readNumber(r)
		byID[n.AgentID].Numbers = append(byID[n.AgentID].Numbers, n)
		return nil
	}, projectID, ids)
}

// Agents returns a page of agents, oldest first, and how many there are.
func (s *Store) Agents(ctx context.Context, projectID string, limit, offset int) (out []phone.Agent, total int, err error) {
	err = s.read(ctx, func(c *tx) error {
		err := each(c, "agentsPage", func(r *row) error {
			out = append(out, readAgent(r))
			return nil
		}, projectID, limit, offset)
		if err != nil {
			return err
		}
		agents := make([]*phone.Agent, len(out))
		for i := range out {
			agents[i] = &out[i]
		}
		if err := addNumbers(c, projectID, agents); err != nil {
			return err
		}
		total, err = number(c, "agentsTotal", projectID)
		return err
	})
	return out, total, err
}

// number runs a query whose one answer is a number.
func number(c *tx, name string, values ...any) (n int, err error) {
	_, err = one(c, name, func(r *row) { n = r.int() }, values...)
	return n, err
}

// UpdateAgent changes name and settings in one transaction.
func (s *Store) UpdateAgent(ctx context.Context, projectID, id string, change func(*phone.Agent) error) (a phone.Agent, err error) {
	err = s.write(ctx, func(t *tx) error {
		t.lockProject(projectID)
		a, err = agent(t, projectID, id)
		if err == nil {
			err = change(&a)
		}
		if err != nil {
			return err
		}
		if err := exec(t, "updateAgent", projectID, id, a.Name, a.Settings); err != nil {
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
		t.lockProject(projectID)
		if a, err = agent(t, projectID, id); err != nil {
			return err
		}
		gone = gone[:0]
		for _, live := range []func(*tx, string, string) (*phone.Webhook, error){liveListener, liveWebhook} {
			w, err := live(t, projectID, id)
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
		if err := exec(t, "releaseNumbers", projectID, id); err != nil {
			return err
		}
		if err := exec(t, "deleteAgent", projectID, id); err != nil {
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
