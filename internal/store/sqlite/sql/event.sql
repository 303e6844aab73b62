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
