-- Messages of a conversation are linked, newest to oldest: what came before one is
-- found without an index, whose pages would be anywhere and written for each event.

-- The message of the conversation before this one, by seq; 0 is none.
ALTER TABLE messages ADD COLUMN prior INTEGER NOT NULL DEFAULT 0;
UPDATE messages SET prior = coalesce((SELECT m.seq FROM messages m
  WHERE m.conversation_id = messages.conversation_id AND m.n = messages.n - 1), 0);

-- The last message, where the links begin; 0 is none.
ALTER TABLE conversations ADD COLUMN last_seq INTEGER NOT NULL DEFAULT 0;
UPDATE conversations SET last_seq = coalesce((SELECT m.seq FROM messages m
  WHERE m.conversation_id = conversations.id ORDER BY m.n DESC LIMIT 1), 0);

-- Where the history of a delivery begins, as prior does; -1 in rows from before
-- the links: it is looked for from the conversation's end, by history_before.
ALTER TABLE deliveries ADD COLUMN prior INTEGER NOT NULL DEFAULT -1;

DROP INDEX messages_by_conversation;
DROP INDEX messages_by_number;
