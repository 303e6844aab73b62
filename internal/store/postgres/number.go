package postgres

import (
	"context"

	"switchhook.dev/switchhook/internal/phone"
)

// CreateNumber adds a number; Conflict where the project has it already,
// NotFound for an unknown agent.
func (s *Store) CreateNumber(ctx context.Context, n phone.Number) error {
	return s.write(ctx, func(t *tx) error {
		t.lockProject(n.ProjectID)
		known, err := one(t, "numberByPhone", func(*row) {}, n.ProjectID, n.PhoneNumber)
		if err != nil {
			return err
		}
		if known {
			return phone.Errorf(phone.Conflict, "%s is a number of this project already: attach it to an agent instead of adding it again", n.PhoneNumber)
		}
		if n.AgentID != "" {
			if err := agentExists(t, n.ProjectID, n.AgentID); err != nil {
				return err
			}
		}
		err = exec(t, "insertNumber", n.ID, n.ProjectID, n.PhoneNumber, n.Country, n.Type, n.Status, n.AgentID, micros(n.CreatedAt))
		if err != nil {
			return err
		}
		detail := n.PhoneNumber
		if n.AgentID != "" {
			detail += " of agent " + n.AgentID
		}
		return t.note(ctx, n.ProjectID, phone.NumberCreated, n.ID, detail)
	})
}

func agentExists(c *tx, projectID, id string) error {
	ok, err := one(c, "agent", func(*row) {}, projectID, id)
	return orNotFound(ok, err, "agent", id)
}

// Number returns a number.
func (s *Store) Number(ctx context.Context, projectID, id string) (n phone.Number, err error) {
	err = s.read(ctx, func(c *tx) error {
		n, err = numberByID(c, projectID, id)
		return err
	})
	return n, err
}

func numberByID(c *tx, projectID, id string) (n phone.Number, err error) {
	ok, err := one(c, "number", func(r *row) { n = readNumber(r) }, projectID, id)
	return n, orNotFound(ok, err, "number", id)
}

// Numbers returns a page of numbers, oldest first, and how many there are.
func (s *Store) Numbers(ctx context.Context, projectID string, limit, offset int) (out []phone.Number, total int, err error) {
	err = s.read(ctx, func(c *tx) error {
		err := each(c, "numbersPage", func(r *row) error {
			out = append(out, readNumber(r))
			return nil
		}, projectID, limit, offset)
		if err != nil {
			return err
		}
		total, err = number(c, "numbersTotal", projectID)
		return err
	})
	return out, total, err
}

// DeleteNumber removes a number. Its conversations stay.
func (s *Store) DeleteNumber(ctx context.Context, projectID, id string) error {
	return s.write(ctx, func(t *tx) error {
		t.lockProject(projectID)
		deleted := ""
		ok, err := one(t, "deleteNumber", func(r *row) { deleted = r.text() }, projectID, id)
		if err := orNotFound(ok, err, "number", id); err != nil {
			return err
		}
		return t.note(ctx, projectID, phone.NumberDeleted, id, deleted)
	})
}

// AttachNumber gives a number to an agent, taking it from another where it had one.
func (s *Store) AttachNumber(ctx context.Context, projectID, agentID, numberID string) (n phone.Number, err error) {
	err = s.write(ctx, func(t *tx) error {
		t.lockProject(projectID)
		if err := agentExists(t, projectID, agentID); err != nil {
			return err
		}
		if n, err = numberByID(t, projectID, numberID); err != nil {
			return err
		}
		from := n.AgentID
		n.AgentID = agentID
		if err := exec(t, "assignNumber", projectID, numberID, agentID); err != nil {
			return err
		}
		detail := n.PhoneNumber + " to agent " + agentID
		if from != "" && from != agentID {
			detail += ", was of agent " + from
		}
		return t.note(ctx, projectID, phone.NumberAttached, numberID, detail)
	})
	return n, err
}

// DetachNumber takes a number from an agent; NotFound where it has not got it.
func (s *Store) DetachNumber(ctx context.Context, projectID, agentID, numberID string) error {
	return s.write(ctx, func(t *tx) error {
		t.lockProject(projectID)
		if err := agentExists(t, projectID, agentID); err != nil {
			return err
		}
		n, err := numberByID(t, projectID, numberID)
		if err != nil {
			return err
		}
		if n.AgentID != agentID {
			return phone.Errorf(phone.NotFound, "number %s is not attached to agent %s: GET /v1/numbers tells whose it is", numberID, agentID)
		}
		if err := exec(t, "assignNumber", projectID, numberID, ""); err != nil {
			return err
		}
		return t.note(ctx, projectID, phone.NumberDetached, numberID, n.PhoneNumber+" from agent "+agentID)
	})
}
