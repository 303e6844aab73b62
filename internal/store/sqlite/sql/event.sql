-- name: idempotent
SELECT answer FROM idempotency WHERE project_id = ?1 AND key = ?2 AND created_at > ?3

-- name: insertIdempotency
INSERT OR REPLACE INTO idempotency (project_id, key, answer, created_at) VALUES (?1, ?2, ?3, ?4)

-- name: forgetIdempotency
-- served by idempotency_by_age; a slice at a time
DELETE FROM idempotency WHERE (project_id, key) IN
  (SELECT project_id, key FROM idempotency WHERE created_at <= ?1 ORDER BY created_at LIMIT 500)

-- name: insertEvent
INSERT INTO events (id, project_id, agent_id, type, channel, direction, conversation_id, message_id,
  data, state, history_before, at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)

-- name: content
SELECT e.id, e.project_id, e.agent_id, e.type, e.channel, e.direction, e.conversation_id, e.message_id,
  e.data, e.state, e.history_before, e.at, d.context_limit, d.body
FROM events e JOIN deliveries d ON d.id = ?2 WHERE e.id = ?1
