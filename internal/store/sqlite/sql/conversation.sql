-- name: touchConversation
-- kept to one by conversations_by_pair; ?9 is 1 where the event adds a message
INSERT INTO conversations (id, project_id, agent_id, number_id, phone_number, participant,
  message_count, last_at, last_preview, created_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?9, ?7, ?8, ?7)
ON CONFLICT (number_id, participant) DO UPDATE SET
  agent_id = excluded.agent_id,
  message_count = message_count + ?9,
  last_at = max(last_at, iif(?9, excluded.last_at, 0)),
  last_preview = iif(?9, excluded.last_preview, last_preview)
RETURNING id, metadata, message_count, last_at

-- name: touchKnown
-- touchConversation for one that is in memory
UPDATE conversations SET agent_id = ?2, message_count = ?3, last_at = ?4, last_preview = ?5 WHERE id = ?1

-- name: conversation
SELECT id, project_id, agent_id, number_id, phone_number, participant,
  last_at, last_preview, message_count, metadata, created_at
FROM conversations WHERE id = ?2 AND project_id = ?1

-- name: conversationsPage
SELECT id, project_id, agent_id, number_id, phone_number, participant,
  last_at, last_preview, message_count, metadata, created_at
FROM conversations WHERE project_id = ?1 AND (?2 = '' OR agent_id = ?2)
ORDER BY last_at DESC, id DESC LIMIT (?3 + 0) OFFSET (?4 + 0)

-- name: conversationsTotal
SELECT count(*) FROM conversations WHERE project_id = ?1 AND (?2 = '' OR agent_id = ?2)

-- name: setMetadata
UPDATE conversations SET metadata = ?3 WHERE id = ?2 AND project_id = ?1 RETURNING id

-- name: insertMessage
INSERT INTO messages (conversation_id, n, id, number_id, direction, channel, sender, recipient, body, media_urls, at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)

-- name: history
-- served by messages_by_conversation. The parameters stand in expressions because
-- this SQLite prepares a statement anew for each value of a bare one that its
-- planner looked at, which costs more than running it.
SELECT n, id, conversation_id, number_id, direction, channel, sender, recipient, body, media_urls, at
FROM messages WHERE conversation_id = (?1 || '') AND n < (?2 + 0) ORDER BY n DESC LIMIT (?3 + 0)

-- name: messagesOfConversation
-- served by messages_by_conversation
SELECT n, id, conversation_id, number_id, direction, channel, sender, recipient, body, media_urls, at
FROM messages WHERE conversation_id = ?1 AND (?2 = '' OR id < ?2) AND (?3 = '' OR id > ?3)
ORDER BY n DESC LIMIT (?4 + 0) OFFSET (?5 + 0)

-- name: messagesOfNumber
-- served by messages_by_number
SELECT n, id, conversation_id, number_id, direction, channel, sender, recipient, body, media_urls, at
FROM messages WHERE number_id = ?1 AND (?2 = '' OR id < ?2) AND (?3 = '' OR id > ?3)
ORDER BY seq DESC LIMIT (?4 + 0) OFFSET (?5 + 0)
