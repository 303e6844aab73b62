-- name: findConversation
-- served by conversations_by_pair
SELECT id, agent_id, metadata, message_count, last_at, last_preview, last_seq
FROM conversations WHERE number_id = ?1 AND participant = ?2

-- name: openConversation
INSERT INTO conversations (id, project_id, agent_id, number_id, phone_number, participant,
  message_count, last_at, last_preview, last_seq, created_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)

-- name: touchConversation
UPDATE conversations SET agent_id = ?2, message_count = ?3, last_at = ?4, last_preview = ?5, last_seq = ?6 WHERE id = ?1

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
INSERT INTO messages (seq, prior, conversation_id, n, id, number_id, direction, channel, sender, recipient, body, media_urls, at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)

-- name: lastSeq
SELECT coalesce(max(seq), 0) FROM messages

-- name: message
-- served by the primary key
SELECT n, id, conversation_id, number_id, direction, channel, sender, recipient, body, media_urls, at, prior
FROM messages WHERE seq = ?1

-- name: endOfConversation
-- served by the primary key
SELECT last_seq FROM conversations WHERE id = ?1

-- name: endsOfNumber
-- served by conversations_by_pair
SELECT id, last_seq FROM conversations WHERE number_id = ?1
