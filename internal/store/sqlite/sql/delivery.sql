-- name: insertDelivery
INSERT INTO deliveries (id, project_id, agent_id, webhook_id, conversation_id, message_id, event_type, channel, direction,
  context_limit, history_before, status, attempts, round, round_attempts, handed, next_attempt_at, last_attempt_at, ended,
  test, created_at, data, state, strict, prior)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 0, 1, ?13, ?14, ?15, 0, ?16, ?17, ?18, ?19, ?20, ?21, ?22)

-- name: content
SELECT context_limit, body, project_id, agent_id, event_type, channel, direction, conversation_id, message_id,
  data, state, history_before, created_at, prior
FROM deliveries WHERE id = ?1

-- name: job
SELECT id, project_id, agent_id, webhook_id, conversation_id, message_id, event_type, channel,
  attempts, round_attempts, round, created_at, status, next_attempt_at
FROM deliveries WHERE id = ?1

-- name: due
-- served by deliveries_due
SELECT id, project_id, agent_id, webhook_id, conversation_id, message_id, event_type, channel,
  attempts, round_attempts, round, created_at, status, next_attempt_at
FROM deliveries
WHERE webhook_id = ?1 AND next_attempt_at > 0 AND next_attempt_at <= ?2
ORDER BY next_attempt_at, id LIMIT (?3 + 0)

-- name: hold
-- an earlier mark stays: it says that an earlier run may have sent it
UPDATE deliveries SET handed = iif(attempts = 0 AND handed <> 0, handed, ?2), next_attempt_at = 0 WHERE id = ?1

-- name: blockedUntil
-- served by deliveries_waiting: whether an earlier delivery of the conversation is due later than at ?3
SELECT next_attempt_at FROM deliveries
WHERE conversation_id = ?1 AND id < ?2 AND strict = 1 AND next_attempt_at > 0 AND next_attempt_at > ?3 AND webhook_id = ?4
ORDER BY id LIMIT 1

-- name: defer
UPDATE deliveries SET next_attempt_at = ?2 WHERE id = ?1

-- name: handBack
-- what was held and did not start; ?3 is the round it was held in, so that nothing that moved on is touched.
-- ?5 is now: a clock that was ahead when it came in makes nobody wait
UPDATE deliveries SET next_attempt_at = min(created_at, ?5), handed = iif(attempts = 0 AND handed = ?4, 0, handed)
WHERE id = ?1 AND webhook_id = ?2 AND round = ?3 AND status = 'pending' AND next_attempt_at = 0

-- name: takeBack
-- served by deliveries_held: whatever an earlier run of the server held; ?1 is now. Turns of calls are not sent again
UPDATE deliveries SET next_attempt_at = min(created_at, ?1) WHERE status = 'pending' AND next_attempt_at = 0
  AND NOT (event_type = 'agent.message' AND channel = 'voice')

-- name: takeBackFrom
-- served by deliveries_held: what the dispatcher held of one webhook, and has dropped; turns under way end by
-- themselves. ?2 is the run whose deliveries were surely not sent, ?3 is now
UPDATE deliveries SET next_attempt_at = min(created_at, ?3), handed = iif(attempts = 0 AND handed = ?2, 0, handed)
WHERE status = 'pending' AND next_attempt_at = 0 AND webhook_id = (?1 || '')
  AND NOT (event_type = 'agent.message' AND channel = 'voice')

-- name: mayBeSent
-- its attempt is under way: whatever becomes of the result, it may have been received
UPDATE deliveries SET handed = -1 WHERE id = ?1 AND attempts = 0

-- name: nextDue
-- served by deliveries_due; once all that is due is held, the first that is not
SELECT next_attempt_at FROM deliveries
WHERE webhook_id = ?1 AND next_attempt_at > 0
ORDER BY next_attempt_at LIMIT 1

-- name: dueLast
-- served by deliveries_due, from its far end; a test is not the lanes' to hurry
SELECT id, next_attempt_at FROM deliveries
WHERE webhook_id = ?1 AND next_attempt_at > 0 AND test = 0
ORDER BY next_attempt_at DESC LIMIT (?2 + 0)

-- name: dueNow
-- due at once, in its old order; ?2 is now
UPDATE deliveries SET next_attempt_at = min(created_at, ?2) WHERE id = ?1

-- name: recordKnown
-- recordResult where nothing else was recorded since the job was read, which had ?8 attempts: RETURNING costs
UPDATE deliveries SET status = ?3, attempts = ?8 + 1, round_attempts = round_attempts + ?7,
  last_attempt_at = ?4, next_attempt_at = ?5, ended = '', body = coalesce(body, ?6)
WHERE id = ?1 AND round = ?2 AND status = 'pending' AND attempts = ?8

-- name: recordResult
-- ?7 is 0 for a probe, which spends no attempt
UPDATE deliveries SET status = ?3, attempts = attempts + 1, round_attempts = round_attempts + ?7,
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
INSERT INTO attempts (delivery_id, number, id, url, sent_at, duration_us, legacy, standard, http_status, error, response_body,
  dns_us, connect_us, tls_us, first_byte_us)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)

-- name: attemptsOf
-- served by the primary key of attempts
SELECT id, delivery_id, number, url, sent_at, duration_us, legacy, standard, http_status, error, response_body,
  dns_us, connect_us, tls_us, first_byte_us
FROM attempts WHERE delivery_id = ?1 ORDER BY number

-- name: pendingOf
-- served by deliveries_due, once nothing of the webhook is held; a slice at a time
SELECT id, agent_id, event_type, created_at, attempts, handed FROM deliveries
WHERE webhook_id = ?1 AND next_attempt_at > 0 LIMIT (?2 + 0)

-- name: settle
-- ends a pending delivery, or binds it anew
UPDATE deliveries SET webhook_id = ?2, context_limit = iif(webhook_id = ?2, context_limit, ?3), status = ?4, ended = ?5,
  next_attempt_at = ?6, strict = ?7
WHERE id = ?1

-- name: hurry
-- one that is held is on its way already
UPDATE deliveries SET next_attempt_at = ?2 WHERE id = ?1 AND status = 'pending' AND next_attempt_at > 0

-- name: replay
-- the limit of history stays where an attempt was made, or may have been: its bytes must not change
UPDATE deliveries SET status = 'pending', webhook_id = ?2, context_limit = iif(attempts > 0 OR handed <> 0, context_limit, ?3),
  round = round + 1, round_attempts = ?4, handed = iif(attempts = 0 AND handed <> 0, -1, 0), next_attempt_at = ?5, ended = '',
  strict = ?6
WHERE id = ?1

-- name: endedBefore
-- served by the primary key: a slice of what has ended, and was made before ?1
SELECT id FROM deliveries WHERE id > (?2 || '') AND id < (?1 || '') AND status <> 'pending' ORDER BY id LIMIT (?3 + 0)

-- name: dropDelivery
DELETE FROM deliveries WHERE id = ?1

-- name: dropAttempts
DELETE FROM attempts WHERE delivery_id = ?1

-- name: dropEvents
-- served by the primary key: a slice of the events that nobody is told of
DELETE FROM events WHERE id IN (SELECT id FROM events WHERE id < (?1 || '') LIMIT (?2 + 0)) RETURNING 1
