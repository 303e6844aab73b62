-- name: saveMinute
INSERT INTO minutes (project_id, minute, process, accepted, attempts, success, failed, pending, latency)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
ON CONFLICT (project_id, minute, process) DO UPDATE SET
  accepted = excluded.accepted, attempts = excluded.attempts, success = excluded.success, failed = excluded.failed,
  pending = excluded.pending, latency = excluded.latency

-- name: dropMinutes
-- served by the primary key of minutes
DELETE FROM minutes WHERE project_id = ?1 AND minute < ?2

-- name: minutes
-- served by the primary key of minutes
SELECT minute, accepted, attempts, success, failed, pending, latency FROM minutes
WHERE project_id = ?1 AND minute >= ?2 AND minute < ?3 ORDER BY minute

-- name: insertSession
INSERT INTO sessions (project_id, hash, key_hash, created_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)

-- name: session
-- served by the primary key of sessions
SELECT project_id, hash, key_hash, created_at, expires_at FROM sessions WHERE project_id = ?1 AND hash = ?2 AND expires_at > ?3

-- name: deleteSession
DELETE FROM sessions WHERE project_id = ?1 AND hash = ?2

-- name: dropSessions
-- served by sessions_by_expiry
DELETE FROM sessions WHERE expires_at <= ?1

-- name: troubledWebhooks
-- served by webhooks_troubled
SELECT id FROM webhooks
WHERE project_id = ?1 AND deleted_at = 0 AND (failing_since > 0 OR status = 'disabled') LIMIT (?2 + 0)

-- name: latestDeliveries
-- served by deliveries_by_project
SELECT id, webhook_id, agent_id, status, attempts FROM deliveries
WHERE project_id = ?1 AND created_at >= ?2 ORDER BY created_at DESC, id DESC LIMIT (?3 + 0)

-- name: waiting
-- served by deliveries_due
SELECT attempts = 0 AND handed = 0, count(*) FROM
  (SELECT attempts, handed FROM deliveries WHERE webhook_id = ?1 AND next_attempt_at > 0 LIMIT (?2 + 0))
GROUP BY 1

-- name: agentLook
-- served by the primary key of agent_log, and of deliveries
SELECT status, count(*), max(created_at) FROM
  (SELECT d.status, d.created_at FROM agent_log l CROSS JOIN deliveries d ON d.id = l.id
   WHERE l.agent_id = ?2 AND d.project_id = ?1 ORDER BY l.created_at DESC, l.id DESC LIMIT (?3 + 0))
GROUP BY status

-- name: deliveryOfMessage
-- served by deliveries_by_project: a delivery is made in the moment of its message
SELECT id FROM deliveries WHERE project_id = ?1 AND created_at = ?2 AND message_id = ?3 LIMIT 1

-- name: conversationsUpTo
-- served by conversations_by_project
SELECT count(*) FROM (SELECT 1 FROM conversations WHERE project_id = ?1 LIMIT (?2 + 0))

-- name: conversationsOfLatest
-- served by deliveries_by_project: the conversations that a project's latest deliveries are of
SELECT conversation_id, max(created_at) FROM
  (SELECT conversation_id, created_at FROM deliveries WHERE project_id = ?1 ORDER BY created_at DESC LIMIT (?2 + 0))
WHERE conversation_id <> '' GROUP BY conversation_id ORDER BY 2 DESC LIMIT (?3 + 0)

-- name: conversationsOfAgentsLatest
-- served by the primary key of agent_log, and of deliveries: the same of an agent
SELECT conversation_id, max(created_at) FROM
  (SELECT d.conversation_id, d.created_at FROM agent_log l CROSS JOIN deliveries d ON d.id = l.id
   WHERE l.agent_id = ?1 ORDER BY l.created_at DESC, l.id DESC LIMIT (?2 + 0))
WHERE conversation_id <> '' GROUP BY conversation_id ORDER BY 2 DESC LIMIT (?3 + 0)

-- name: conversationsWith
-- served by conversations_by_pair: one participant's, on each of the project's numbers
SELECT c.id, c.project_id, c.agent_id, c.number_id, c.phone_number, c.participant,
  c.last_at, c.last_preview, c.message_count, c.metadata, c.created_at
FROM numbers n CROSS JOIN conversations c ON c.number_id = n.id AND c.participant = ?2
WHERE n.project_id = ?1 ORDER BY c.last_at DESC LIMIT (?3 + 0)
