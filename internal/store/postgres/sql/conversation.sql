-- name: touchConversations
-- kept to one by conversations_by_pair. Rows come sorted, so that no two
-- transactions wait for each other; each stays locked until the commit, which puts
-- a conversation's events in order, whichever node takes them in.
INSERT INTO conversations (project_id, id, agent_id, number_id, phone_number, participant,
  message_count, last_at, last_preview, created_at, owner)
SELECT $1, c.id, c.agent_id, c.number_id, c.phone_number, c.participant, c.adds, c.last_at, c.preview, c.at, $11
FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::bigint[], $9::bytea[], $10::bigint[])
  AS c (id, agent_id, number_id, phone_number, participant, adds, last_at, preview, at)
ON CONFLICT (project_id, number_id, participant) DO UPDATE SET
  agent_id = excluded.agent_id,
  message_count = conversations.message_count + excluded.message_count,
  last_at = CASE WHEN excluded.message_count > 0 THEN greatest(conversations.last_at, excluded.last_at) ELSE conversations.last_at END,
  last_preview = CASE WHEN excluded.message_count > 0 THEN excluded.last_preview ELSE conversations.last_preview END
RETURNING number_id, participant, id, metadata, message_count, owner

-- name: conversation
-- served by the primary key
SELECT id, project_id, agent_id, number_id, phone_number, participant,
  last_at, last_preview, message_count, metadata, created_at
FROM conversations WHERE project_id = $1 AND id = $2

-- name: conversationsPage
SELECT id, project_id, agent_id, number_id, phone_number, participant,
  last_at, last_preview, message_count, metadata, created_at
FROM conversations WHERE project_id = $1 AND ($2 = '' OR agent_id = $2)
ORDER BY last_at DESC, id DESC LIMIT $3 OFFSET $4

-- name: conversationsTotal
SELECT count(*) FROM conversations WHERE project_id = $1 AND ($2 = '' OR agent_id = $2)

-- name: setMetadata
UPDATE conversations SET metadata = $3 WHERE project_id = $1 AND id = $2
RETURNING id, project_id, agent_id, number_id, phone_number, participant,
  last_at, last_preview, message_count, metadata, created_at

-- name: insertMessages
INSERT INTO messages (project_id, conversation_id, n, id, number_id, direction, channel, sender, recipient, body, media_urls, at)
SELECT $1, m.* FROM unnest($2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::bytea[], $11::text[], $12::bigint[])
  AS m (conversation_id, n, id, number_id, direction, channel, sender, recipient, body, media_urls, at)

-- name: history
-- served by the primary key
SELECT n, id, conversation_id, number_id, direction, channel, sender, recipient, body, media_urls, at
FROM messages WHERE project_id = $1 AND conversation_id = $2 AND n < $3 ORDER BY n DESC LIMIT $4

-- name: histories
-- served by the primary key (the limit, which cuts nothing off, has each looked up by itself): the last messages of
-- several conversations, oldest first
SELECT m.n, m.id, m.conversation_id, m.number_id, m.direction, m.channel, m.sender, m.recipient, m.body, m.media_urls, m.at
FROM unnest($2::text[], $3::bigint[], $4::bigint[]) AS c (id, after, before)
CROSS JOIN LATERAL (SELECT * FROM messages WHERE project_id = $1 AND conversation_id = c.id AND n > c.after AND n < c.before
  ORDER BY n LIMIT c.before - c.after) AS m

-- name: messagesOfConversation
-- served by the primary key
SELECT n, id, conversation_id, number_id, direction, channel, sender, recipient, body, media_urls, at
FROM messages WHERE project_id = $1 AND conversation_id = $2 AND ($3 = '' OR id < $3) AND ($4 = '' OR id > $4)
ORDER BY n DESC LIMIT $5 OFFSET $6

-- name: messagesOfNumber
-- served by messages_by_number
SELECT n, id, conversation_id, number_id, direction, channel, sender, recipient, body, media_urls, at
FROM messages WHERE project_id = $1 AND number_id = $2 AND ($3 = '' OR id < $3) AND ($4 = '' OR id > $4)
ORDER BY id DESC LIMIT $5 OFFSET $6
