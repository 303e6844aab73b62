package postgres

import (
	"context"

	"switchhook.dev/switchhook/internal/store"
)

// Secrets returns what is kept of the secrets of every live webhook, of all
// projects.
func (s *Store) Secrets(ctx context.Context) (out []store.Secret, err error) {
	err = s.readOne(ctx, func(c *tx) error {
		return each(c, "secrets", func(r *row) error {
			out = append(out, store.Secret{WebhookID: r.text(), Secret: r.text(), Previous: r.text()})
			return nil
		})
	})
	return out, err
}

// ReplaceSecrets keeps something else of a webhook's secrets, where they are still
// what old says; otherwise it does nothing.
func (s *Store) ReplaceSecrets(ctx context.Context, old store.Secret, secret, previous string) error {
	projectID, err := s.projectOf(ctx, old.WebhookID)
	if err != nil || projectID == "" {
		return err
	}
	return s.write(ctx, func(t *tx) error {
		t.lockProject(projectID)
		return exec(t, "replaceSecrets", projectID, old.WebhookID, old.Secret, old.Previous, secret, previous)
	})
}
