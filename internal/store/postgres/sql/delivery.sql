-- name: insertDeliveries
INSERT INTO deliveries (project_id, id, agent_id, webhook_id, conversation_id, message_id, event_type, channel, direction,
  context_limit, history_before, status, attempts, round, round_attempts, owner, handed, next_attempt_at, last_attempt_at, ended,
  test, strict, created_at, data, state)
SELECT $1, d.id, d.agent_id, d.webhook_id, d.conversation_id, d.message_id, d.event_type, d.channel, d.direction,
  d.context_limit, d.history_before, d.status, 0, 1, d.round_attempts, d.owner, d.handed, d.next_attempt_at, 0, d.ended,
  d.test, d.strict, d.created_at, d.data, d.state
FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
    $10::bigint[], $11::bigint[], $12::text[], $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[], $17::text[],
    $18::boolean[], $19::boolean[], $20::bigint[], $21::bytea[], $22::bytea[])
  AS d (id, agent_id, webhook_id, conversation_id, message_id, event_type, channel, direction,
    context_limit, history_before, status, round_attempts, owner, handed, next_attempt_at, ended,
    test, strict, created_at, data, state)

-- name: content
-- served by the primary key
SELECT context_limit, body, project_id, agent_id, event_type, channel, direction, conversation_id, message_id,
  data, state, history_before, created_at
FROM deliveries WHERE project_id = $1 AND id = $2

-- name: jobs
-- served by the primary key
SELECT id, project_id, agent_id, webhook_id, conversation_id, message_id, event_type, channel,
  attempts, round_attempts, round, created_at, status, next_attempt_at
FROM deliveries WHERE project_id = $1 AND id = ANY($2::text[]) ORDER BY id FOR UPDATE

-- name: due
-- served by deliveries_due, of each webhook oldest first; what somebody else is about to change is left to them, and a
-- turn to its caller. What a body is rendered from comes with it, where that is $6 bytes at most, and no attempt has
-- frozen the body
SELECT d.* FROM unnest($2::text[], $3::bigint[], $4::bigint[]) AS w (id, now, most)
CROSS JOIN LATERAL (SELECT id, project_id, agent_id, webhook_id, conversation_id, message_id, event_type, channel,
    attempts, round_attempts, round, created_at, status, next_attempt_at,
    body IS NULL AND octet_length(data) + coalesce(octet_length(state), 0) <= $6 AS carried,
    CASE WHEN body IS NULL AND octet_length(data) + coalesce(octet_length(state), 0) <= $6 THEN data END,
    CASE WHEN body IS NULL AND octet_length(data) + coalesce(octet_length(state), 0) <= $6 THEN state END,
    direction, history_before, context_limit
  FROM deliveries
  WHERE project_id = $1 AND webhook_id = w.id AND owner = $5 AND next_attempt_at > 0 AND next_attempt_at <= w.now
    AND NOT (event_type = 'agent.message' AND channel = 'voice')
  ORDER BY next_attempt_at, id LIMIT w.most FOR UPDATE SKIP LOCKED) AS d

-- name: hold
-- served by the primary key: an earlier mark stays, since it says that an earlier run may have sent it
UPDATE deliveries SET handed = CASE WHEN attempts = 0 AND handed <> 0 THEN handed ELSE $3 END, next_attempt_at = 0 WHERE project_id = $1 AND id = ANY($2::text[])

-- name: blockedUntil
-- served by deliveries_waiting: of each, whether an earlier delivery of its conversation is due later than it is
SELECT j.id, b.next_attempt_at
FROM unnest($3::text[], $4::text[], $5::bigint[]) AS j (id, conversation_id, next_attempt_at)
CROSS JOIN LATERAL (SELECT d.next_attempt_at FROM deliveries d
  WHERE d.project_id = $1 AND d.conversation_id = j.conversation_id AND d.id < j.id AND d.strict AND d.status = 'pending'
    AND d.next_attempt_at > 0 AND d.next_attempt_at > j.next_attempt_at AND d.webhook_id = $2
  ORDER BY d.id LIMIT 1) AS b

-- name: defer
-- served by the primary key
UPDATE deliveries d SET next_attempt_at = j.next_attempt_at
FROM unnest($2::text[], $3::bigint[]) AS j (id, next_attempt_at)
WHERE d.project_id = $1 AND d.id = ANY($2::text[]) AND d.id = j.id

-- name: handBack
-- served by the primary key: what a run held and did not start, in the round it was held in, so that
-- nothing that moved on is touched. $6 is now: a clock that was ahead when it came in makes nobody wait
UPDATE deliveries d SET next_attempt_at = least(d.created_at, $6), handed = CASE WHEN d.attempts = 0 AND d.handed = $5 THEN 0 ELSE d.handed END
FROM unnest($2::text[], $3::text[], $4::bigint[]) AS j (id, webhook_id, round)
WHERE d.project_id = $1 AND d.id = ANY($2::text[]) AND d.id = j.id AND d.webhook_id = j.webhook_id AND d.round = j.round
  AND d.owner + 0 = $5 AND d.status || '' = 'pending' AND d.next_attempt_at = 0

-- name: takeBackFrom
-- served by deliveries_owned: what this run's dispatcher held of one webhook, and has dropped. $4 is the run
-- whose deliveries were surely not sent, $5 is now
UPDATE deliveries SET next_attempt_at = least(created_at, $5), handed = CASE WHEN attempts = 0 AND handed = $4 THEN 0 ELSE handed END
WHERE owner = $3 AND project_id = $1 AND webhook_id = $2 AND status = 'pending' AND next_attempt_at = 0
  AND NOT (event_type = 'agent.message' AND channel = 'voice')

-- name: mayBeSent
-- served by the primary key: their attempts are under way, and whatever becomes of the results, they may have been received
UPDATE deliveries SET handed = -1 WHERE project_id = $1 AND id = ANY($2::text[]) AND attempts = 0

-- name: ownedElsewhere
-- served by deliveries_owned: whether another run owns a pending delivery of a webhook
SELECT true FROM deliveries WHERE owner IN (SELECT run FROM nodes WHERE run <> $3 AND ended_at IS NULL) AND project_id = $1 AND webhook_id = $2
  AND status = 'pending' LIMIT 1

-- name: nextDue
-- served by deliveries_due; once all that is due is held, the first of each webhook that is not
SELECT w.id, d.next_attempt_at FROM unnest($2::text[]) AS w (id)
CROSS JOIN LATERAL (SELECT next_attempt_at FROM deliveries
  WHERE project_id = $1 AND webhook_id = w.id AND owner = $3 AND next_attempt_at > 0
  ORDER BY next_attempt_at, id LIMIT 1) AS d

-- name: hurryAll
-- served by deliveries_due, from its far end: due at once, in their old order; a slice at a time. A test is not
-- the lanes' to hurry
UPDATE deliveries d SET next_attempt_at = least(d.created_at, $3)
FROM (SELECT id FROM deliveries WHERE project_id = $1 AND webhook_id = $2 AND owner = $5 AND next_attempt_at > 0 AND next_attempt_at > $3 AND NOT test
  ORDER BY next_attempt_at DESC LIMIT $4 FOR UPDATE SKIP LOCKED) AS later
WHERE d.project_id = $1 AND d.id = later.id
RETURNING d.id

-- name: recordResults
-- served by the primary key, once for each row (the expressions keep the planner from others that look as good
-- while little is pending; with the ids as an array it would compare each with each). $10 is the first of the ids:
-- weeks before it are left out at once. probe spends no attempt. Only the owner records; a result of an earlier round
-- changes nothing.
UPDATE deliveries d SET status = r.status, attempts = d.attempts + 1, round_attempts = d.round_attempts + CASE WHEN r.probe THEN 0 ELSE 1 END,
  last_attempt_at = r.sent_at, next_attempt_at = r.next_attempt_at, owner = CASE WHEN r.status = 'pending' THEN d.owner ELSE 0 END, ended = '', body = coalesce(d.body, r.body)
FROM unnest($2::text[], $3::bigint[], $4::text[], $5::bigint[], $6::bigint[], $7::bytea[], $8::boolean[])
  AS r (id, round, status, sent_at, next_attempt_at, body, probe)
WHERE d.project_id = $1 AND d.id >= $10 AND d.id = r.id AND d.round = r.round AND d.status || '' = 'pending' AND d.owner + 0 = $9
RETURNING d.id, d.attempts

-- name: recordLateSuccesses
-- served by the primary key: the webhook went while its answer was under way: what was received is a success
UPDATE deliveries d SET status = 'success', attempts = d.attempts + 1, last_attempt_at = r.sent_at, ended = ''
FROM unnest($2::text[], $3::bigint[], $4::bigint[]) AS r (id, round, sent_at)
WHERE d.project_id = $1 AND d.id = ANY($2::text[]) AND d.id = r.id AND d.round = r.round AND d.status || '' = 'failed'
RETURNING d.id, d.attempts

-- name: recordLate
-- served by the primary key
UPDATE deliveries d SET attempts = d.attempts + 1, last_attempt_at = r.sent_at
FROM unnest($2::text[], $3::bigint[]) AS r (id, sent_at)
WHERE d.project_id = $1 AND d.id = ANY($2::text[]) AND d.id = r.id
RETURNING d.id, d.attempts, d.status

-- name: recordedAlready
-- served by the primary key: of attempts, those that are on record, and the state of their deliveries
SELECT a.id, a.number, d.status, d.attempts
FROM unnest($2::text[], $3::text[]) AS r (delivery_id, id)
JOIN attempts a ON a.project_id = $1 AND a.delivery_id = r.delivery_id AND a.id = r.id
JOIN deliveries d ON d.project_id = $1 AND d.id = r.delivery_id

-- name: insertAttempts
INSERT INTO attempts (project_id, delivery_id, number, id, url, sent_at, duration_us, legacy, standard, http_status, error, response_body,
  dns_us, connect_us, tls_us, first_byte_us)
SELECT $1, a.* FROM unnest($2::text[], $3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::text[], $9::text[], $10::bigint[], $11::bytea[], $12::bytea[],
    $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[])
  AS a (delivery_id, number, id, url, sent_at, duration_us, legacy, standard, http_status, error, response_body,
    dns_us, connect_us, tls_us, first_byte_us)

-- name: attemptsOf
-- served by the primary key
SELECT id, delivery_id, number, url, sent_at, duration_us, legacy, standard, http_status, error, response_body,
  dns_us, connect_us, tls_us, first_byte_us
FROM attempts WHERE project_id = $1 AND delivery_id = $2 ORDER BY number

-- name: pendingOf
-- served by deliveries_due, once nothing of the webhook is held: what this run owns; a slice at a time
SELECT id, agent_id, event_type, created_at, conversation_id, attempts, handed FROM deliveries
WHERE project_id = $1 AND webhook_id = $2 AND owner = $4 AND next_attempt_at > 0 ORDER BY next_attempt_at, id LIMIT $3 FOR UPDATE

-- name: pendingAmong
-- served by the primary key
SELECT id, agent_id, event_type, created_at, conversation_id, attempts, handed FROM deliveries
WHERE project_id = $1 AND webhook_id = $2 AND id = ANY($3::text[]) AND owner = $4 AND status || '' = 'pending' ORDER BY id FOR UPDATE

-- name: settle
-- served by the primary key: ends pending deliveries, or binds them anew
UPDATE deliveries d SET webhook_id = p.webhook_id, context_limit = CASE WHEN d.webhook_id = p.webhook_id THEN d.context_limit ELSE p.context_limit END,
  status = p.status, ended = p.ended, next_attempt_at = p.next_attempt_at, owner = CASE WHEN p.status = 'pending' THEN p.owner ELSE 0 END, strict = p.strict
FROM unnest($2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::bigint[], $8::boolean[], $9::bigint[])
  AS p (id, webhook_id, context_limit, status, ended, next_attempt_at, strict, owner)
WHERE d.project_id = $1 AND d.id = ANY($2::text[]) AND d.id = p.id

-- name: hurry
-- one that is held is on its way already
UPDATE deliveries SET next_attempt_at = $3 WHERE project_id = $1 AND id = $2 AND status = 'pending' AND next_attempt_at > 0
RETURNING owner

-- name: replay
-- served by the primary key: the limit of history stays where an attempt was made, or may have been, since its
-- bytes must not change
UPDATE deliveries d SET status = 'pending', webhook_id = p.webhook_id,
  context_limit = CASE WHEN d.attempts > 0 OR d.handed <> 0 THEN d.context_limit ELSE p.context_limit END,
  round = d.round + 1, round_attempts = p.round_attempts, owner = p.owner,
  handed = CASE WHEN d.attempts = 0 AND d.handed <> 0 THEN -1 ELSE 0 END, next_attempt_at = $7, ended = '', strict = p.strict
FROM unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::boolean[], $8::bigint[])
  AS p (id, webhook_id, context_limit, round_attempts, strict, owner)
WHERE d.project_id = $1 AND d.id = ANY($2::text[]) AND d.id = p.id
