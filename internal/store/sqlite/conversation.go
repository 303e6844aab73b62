package sqlite

import (
	"context"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
	"zombiezen.com/go/sqlite"
)

// Conversations returns a page of conversations, the latest first, of one agent
// or ("") of all, and how many there are.
func (s *Store) Conversations(ctx context.Context, projectID, agentID string, limit, offset int) (out []phone.Conversation, total int, err error) {
	s.caughtUp(ctx)
	err = s.read(ctx, func(c *sqlite.Conn) error {
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
	s.caughtUp(ctx)
	err = s.read(ctx, func(c *sqlite.Conn) error {
		v, err = conversationByID(c, projectID, id)
		return err
	})
	return v, err
}

func conversationByID(c *sqlite.Conn, projectID, id string) (v phone.Conversation, err error) {
	ok, err := one(c, "conversation", func(r *row) { v = readConversation(r) }, projectID, id)
	return v, orNotFound(ok, err, "conversation", id)
}

// SetMetadata replaces a conversation's metadata; nil is null. Events accepted
// before keep the metadata they were accepted with.
func (s *Store) SetMetadata(ctx context.Context, projectID, id string, metadata []byte) (v phone.Conversation, err error) {
	err = s.writeHot(ctx, func(t *tx) error {
		if err := t.catchUp(); err != nil {
			return err
		}
		ok, err := one(t.Conn, "setMetadata", func(*row) {}, projectID, id, metadata)
		if err := orNotFound(ok, err, "conversation", id); err != nil {
			return err
		}
		v, err = conversationByID(t.Conn, projectID, id)
		t.cache.conversations.drop(conversationKey{v.NumberID, v.Participant})
		return err
	})
	return v, err
}

// Messages returns a page of a conversation's messages, newest first, and
// whether there are more.
func (s *Store) Messages(ctx context.Context, projectID, conversationID string, p store.Page) (out []phone.Message, more bool, err error) {
	s.caughtUp(ctx)
	err = s.read(ctx, func(c *sqlite.Conn) error {
		if _, err := conversationByID(c, projectID, conversationID); err != nil {
			return err
		}
		end, err := endOf(c, conversationID)
		if err != nil {
			return err
		}
		out, more, err = page(c, chains{{conversationID, end}}, p)
		return err
	})
	return out, more, err
}

// NumberMessages returns a page of a number's messages, newest first, and
// whether there are more.
func (s *Store) NumberMessages(ctx context.Context, projectID, numberID string, p store.Page) (out []phone.Message, more bool, err error) {
	s.caughtUp(ctx)
	err = s.read(ctx, func(c *sqlite.Conn) error {
		if _, err := numberByID(c, projectID, numberID); err != nil {
			return err
		}
		var all chains
		err := each(c, "endsOfNumber", func(r *row) error {
			all = append(all, chain{r.text(), r.int64()})
			return nil
		}, numberID)
		if err != nil {
			return err
		}
		out, more, err = page(c, all, p)
		return err
	})
	return out, more, err
}
