package postgres

import (
	"context"

	"switchhook.dev/switchhook/internal/phone"
)

// note writes an entry of the audit log, in the transaction of the change itself.
func (t *tx) note(ctx context.Context, projectID string, action phone.Action, target, detail string) error {
	c := phone.NewChange(ctx, projectID, action, target, detail)
	return exec(t, "insertChange", c.ProjectID, c.ID, c.KeyID, c.KeyName, c.Address, string(c.Action), c.Target, c.Detail, micros(c.At))
}

// Changes returns a project's audit log, newest first: at most limit entries
// older than the one with id before ("" is from the newest on), and whether there
// are more.
func (s *Store) Changes(ctx context.Context, projectID, before string, limit int) (out []phone.Change, more bool, err error) {
	if before == "" {
		before = "~" // sorts behind every id
	}
	err = s.readOne(ctx, func(c *tx) error {
		return each(c, "changes", func(r *row) error {
			out = append(out, readChange(r))
			return nil
		}, projectID, before, limit+1)
	})
	if len(out) > limit {
		out, more = out[:limit], true
	}
	return out, more, err
}
