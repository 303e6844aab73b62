-- name: saveMinute
INSERT INTO minutes (project_id, minute, process, accepted, attempts, success, failed, pending, latency)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (project_id, minute, process) DO UPDATE SET
  accepted = excluded.accepted, attempts = excluded.attempts, success = excluded.success, failed = excluded.failed,
  pending = excluded.pending, latency = excluded.latency

-- name: dropMinutes
-- served by the primary key
DELETE FROM minutes WHERE project_id = $1 AND minute < $2

-- name: minutes
-- served by the primary key
SELECT minute, accepted, attempts, success, failed, pending, latency FROM minutes
WHERE project_id = $1 AND minute >= $2 AND minute < $3 ORDER BY minute

-- name: insertSession
INSERT INTO sessions (project_id, hash, key_hash, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)

-- name: session
-- served by the primary key
SELECT project_id, hash, key_hash, created_at, expires_at FROM sessions WHERE project_id = $1 AND hash = $2 AND expires_at > $3

-- name: deleteSession
DELETE FROM sessions WHERE project_id = $1 AND hash = $2

-- name: dropSessions
-- served by sessions_by_expiry
DELETE FROM sessions WHERE expires_at <= $1

-- name: troubledWebhooks
-- served by webhooks_troubled
SELECT id FROM webhooks
WHERE project_id = $1 AND deleted_at = 0 AND (failing_since > 0 OR status = 'disabled') LIMIT $2

-- name: latestDeliveries
-- served by deliveries_by_project
SELECT id, webhook_id, agent_id, status, attempts FROM deliveries
WHERE project_id = $1 AND created_at >= $2 ORDER BY created_at DESC, id DESC LIMIT $3

-- name: waiting
-- served by deliveries_due
SELECT attempts = 0 AND handed = 0 AS fresh, count(*) FROM
  (SELECT attempts, handed FROM deliveries WHERE project_id = $1 AND webhook_id = $2 AND next_attempt_at > 0 LIMIT $3) AS w
GROUP BY fresh

-- name: agentLook
-- served by deliveries_by_agent
SELECT status, count(*), max(created_at) FROM
  (SELECT status, created_at FROM deliveries
   WHERE project_id = $1 AND agent_id = $2 ORDER BY created_at DESC, id DESC LIMIT $3) AS d
GROUP BY status

-- name: deliveryOfMessage
-- served by deliveries_by_project: a delivery is made in the moment of its message
SELECT id FROM deliveries WHERE project_id = $1 AND created_at = $2 AND message_id = $3 LIMIT 1

-- name: conversationsUpTo
-- reads few, whichever they are
SELECT count(*) FROM (SELECT 1 FROM conversations WHERE project_id = $1 LIMIT $2) AS c

-- name: conversationsOfLatest
-- served by deliveries_by_project: the conversations that a project's latest deliveries are of
SELECT conversation_id, max(created_at) AS latest FROM
  (SELECT conversation_id, created_at FROM deliveries WHERE project_id = $1 ORDER BY created_at DESC, id DESC LIMIT $2) AS d
WHERE conversation_id <> '' GROUP BY conversation_id ORDER BY latest DESC LIMIT $3

-- name: conversationsOfAgentsLatest
-- served by deliveries_by_agent: the same of an agent
SELECT conversation_id, max(created_at) AS latest FROM
  (SELECT conversation_id, created_at FROM deliveries WHERE project_id = $1 AND agent_id = $2 ORDER BY created_at DESC, id DESC LIMIT $3) AS d
WHERE conversation_id <> '' GROUP BY conversation_id ORDER BY latest DESC LIMIT $4

-- name: conversationsWith
-- served by conversations_by_pair: one participant's, on each of the project's numbers
SELECT c.id, c.project_id, c.agent_id, c.number_id, c.phone_number, c.participant,
  c.last_at, c.last_preview, c.message_count, c.metadata, c.created_at
FROM numbers n JOIN conversations c ON c.project_id = n.project_id AND c.number_id = n.id AND c.participant = $2
WHERE n.project_id = $1 ORDER BY c.last_at DESC LIMIT $3

-- name: conversationsByID
-- served by the primary key: in the order of the ids given
SELECT c.id, c.project_id, c.agent_id, c.number_id, c.phone_number, c.participant,
  c.last_at, c.last_preview, c.message_count, c.metadata, c.created_at
FROM unnest($2::text[]) WITH ORDINALITY AS k (id, i) JOIN conversations c ON c.project_id = $1 AND c.id = k.id ORDER BY k.i

-- name: madeSince
-- served by deliveries_by_project: the newest deliveries of a project that were made since a time
SELECT id FROM deliveries WHERE project_id = $1 AND created_at >= $2 AND status <> 'unrouted' ORDER BY created_at DESC, id DESC LIMIT $3

-- name: somePending
-- served by deliveries_waiting: what is pending of a project, up to a number, the same at each time
SELECT id FROM deliveries WHERE project_id = $1 AND status = 'pending' ORDER BY conversation_id, id LIMIT $2
