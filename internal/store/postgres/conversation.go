package postgres

import (
	"context"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
)

// Conversations returns a page of conversations, the latest first, of one agent
// or ("") of all, and how many there are.
func (s *Store) Conversations(ctx context.Context, projectID, agentID string, limit, offset int) (out []phone.Conversation, total int, err error) {
	err = s.read(ctx, func(c *tx) error {
		if agentID != "" {
			if err := agentExists(c, projectID, agentID); err != nil {
				return err
			}
		}
		err := each(c, "conversationsPage", func(r *row) error {
			out = append(out, readConversation(r))
			return nil
		}, projectID, agentID, limit, offset)
		if err != nil {
			return err
		}
		total, err = number(c, "conversationsTotal", projectID, agentID)
		return err
	})
	return out, total, err
}

// Conversation returns a conversation.
func (s *Store) Conversation(ctx context.Context, projectID, id string) (v phone.Conversation, err error) {
	err = s.read(ctx, func(c *tx) error {
		v, err = conversationByID(c, projectID, id)
		return err
	})
	return v, err
}

func conversationByID(c *tx, projectID, id string) (v phone.Conversation, err error) {
	ok, err := one(c, "conversation", func(r *row) { v = readConversation(r) }, projectID, id)
	return v, orNotFound(ok, err, "conversation", id)
}

// SetMetadata replaces a conversation's metadata; nil is null. Events accepted
// before keep the metadata they were accepted with.
func (s *Store) SetMetadata(ctx context.Context, projectID, id string, metadata []byte) (v phone.Conversation, err error) {
	err = s.write(ctx, func(t *tx) error {
		ok, err := one(t, "setMetadata", func(r *row) { v = readConversation(r) }, projectID, id, metadata)
		return orNotFound(ok, err, "conversation", id)
	})
	return v, err
}

// Messages returns a page of a conversation's messages, newest first, and
// whether there are more.
func (s *Store) Messages(ctx context.Context, projectID, conversationID string, p store.Page) (out []phone.Message, more bool, err error) {
	err = s.read(ctx, func(c *tx) error {
		if _, err := conversationByID(c, projectID, conversationID); err != nil {
			return err
		}
		out, more, err = messages(c, "messagesOfConversation", projectID, conversationID, p)
		return err
	})
	return out, more, err
}

// NumberMessages returns a page of a number's messages, newest first, and
// whether there are more.
func (s *Store) NumberMessages(ctx context.Context, projectID, numberID string, p store.Page) (out []phone.Message, more bool, err error) {
	err = s.read(ctx, func(c *tx) error {
		if _, err := numberByID(c, projectID, numberID); err != nil {
			return err
		}
		out, more, err = messages(c, "messagesOfNumber", projectID, numberID, p)
		return err
	})
	return out, more, err
}

func messages(c *tx, name, projectID, id string, p store.Page) (out []phone.Message, more bool, err error) {
	err = each(c, name, func(r *row) error {
		out = append(out, readMessage(r))
		return nil
	}, projectID, id, p.Before, p.After, p.Limit+1, p.Offset)
	if len(out) > p.Limit {
		return out[:p.Limit], true, err
	}
	return out, false, err
}
