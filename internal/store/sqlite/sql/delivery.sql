-- name: insertDelivery
INSERT INTO deliveries (id, project_id, agent_id, webhook_id, conversation_id, message_id, event_type, channel,
  context_limit, status, attempts, round, round_attempts, handed, next_attempt_at, last_attempt_at, ended, test, created_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 0, 1, ?11, ?12, ?13, 0, ?14, ?15, ?16)

-- name: job
SELECT id, project_id, agent_id, webhook_id, conversation_id, message_id, event_type, channel,
  attempts, round_attempts, round, created_at, status, next_attempt_at, handed
FROM deliveries WHERE id = ?1

-- name: due
-- served by deliveries_due; ?3 is a JSON array of ids the caller holds already
SELECT id, project_id, agent_id, webhook_id, conversation_id, message_id, event_type, channel,
  attempts, round_attempts, round, created_at, status, next_attempt_at, handed
FROM deliveries
WHERE status = 'pending' AND webhook_id = ?1 AND next_attempt_at <= ?2
  AND id NOT IN (SELECT value FROM json_each(?3))
ORDER BY next_attempt_at, id LIMIT (?4 + 0)

-- name: hand
UPDATE deliveries SET handed = ?2 WHERE id = ?1

-- name: handBack
-- a delivery that was held but never sent
UPDATE deliveries SET handed = 0 WHERE id = ?1 AND handed = ?2 AND attempts = 0 AND status = 'pending'

-- name: nextDue
-- served by deliveries_due
SELECT next_attempt_at FROM deliveries
WHERE status = 'pending' AND webhook_id = ?1 AND next_attempt_at > ?2
ORDER BY next_attempt_at LIMIT 1

-- name: recordResult
UPDATE deliveries SET status = ?3, attempts = attempts + 1, round_attempts = round_attempts + 1,
  last_attempt_at = ?4, next_attempt_at = ?5, ended = '', body = coalesce(body, ?6)
WHERE id = ?1 AND round = ?2 AND status = 'pending'
RETURNING attempts

-- name: recordLateSuccess
-- the webhook went while its answer was under way: what was received is a success
UPDATE deliveries SET status = 'success', attempts = attempts + 1, last_attempt_at = ?3, ended = ''
WHERE id = ?1 AND round = ?2 AND status = 'failed'
RETURNING attempts

-- name: recordLate
UPDATE deliveries SET attempts = attempts + 1, last_attempt_at = ?2 WHERE id = ?1 RETURNING attempts, status

-- name: insertAttempt
INSERT INTO attempts (delivery_id, number, id, url, sent_at, duration_us, legacy, standard, http_status, error, response_body)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)

-- name: attemptsOf
-- served by the primary key of attempts
SELECT id, delivery_id, number, url, sent_at, duration_us, legacy, standard, http_status, error, response_body
FROM attempts WHERE delivery_id = ?1 ORDER BY number

-- name: countSent
-- served by deliveries_due: pending deliveries of a webhook that may have been sent.
-- ?2 is the run, ?3 a JSON array of the ids whose first attempt is under way in it
SELECT event_type, created_at / 3600000000, count(*) FROM deliveries
WHERE webhook_id = ?1 AND status = 'pending'
  AND (attempts > 0 OR handed NOT IN (0, ?2) OR id IN (SELECT value FROM json_each(?3)))
GROUP BY 1, 2

-- name: failSent
UPDATE deliveries SET status = 'failed', next_attempt_at = 0, ended = ?4
WHERE webhook_id = ?1 AND status = 'pending'
  AND (attempts > 0 OR handed NOT IN (0, ?2) OR id IN (SELECT value FROM json_each(?3)))

-- name: agentsPending
SELECT DISTINCT agent_id FROM deliveries WHERE webhook_id = ?1 AND status = 'pending'

-- name: countPending
-- ?2 is an agent, or '' for all
SELECT event_type, created_at / 3600000000, count(*) FROM deliveries
WHERE webhook_id = ?1 AND status = 'pending' AND (?2 = '' OR agent_id = ?2)
GROUP BY 1, 2

-- name: bindPending
-- binds what is pending of a webhook and an agent anew
UPDATE deliveries SET webhook_id = ?3, context_limit = ?4, status = ?5, ended = ?6, handed = 0,
  next_attempt_at = iif(?5 = 'pending', next_attempt_at, 0)
WHERE webhook_id = ?1 AND status = 'pending' AND (?2 = '' OR agent_id = ?2)

-- name: failPending
UPDATE deliveries SET status = 'failed', next_attempt_at = 0, ended = ?2
WHERE webhook_id = ?1 AND status = 'pending'

-- name: hurry
UPDATE deliveries SET next_attempt_at = ?2 WHERE id = ?1 AND status = 'pending'

-- name: replay
-- the limit of history stays where an attempt was made: its bytes must not change
UPDATE deliveries SET status = 'pending', webhook_id = ?2, context_limit = iif(attempts > 0, context_limit, ?3),
  round = round + 1, round_attempts = ?4, handed = 0, next_attempt_at = ?5, ended = ''
WHERE id = ?1
