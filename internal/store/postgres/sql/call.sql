-- name: callNumber
-- served by the primary key
SELECT id, number_id FROM calls WHERE project_id = $1 AND id = ANY($2::text[])

-- name: beginCall
INSERT INTO calls (project_id, id, agent_id, number_id, phone_number, participant, direction, status, started_at, ended_at, snippet)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, '') ON CONFLICT (project_id, id) DO NOTHING

-- name: endCall
-- a call belongs to the number it began on: an end told of another one changes nothing
INSERT INTO calls (project_id, id, agent_id, number_id, phone_number, participant, direction, status, started_at, ended_at,
  duration_seconds, reason, summary, sentiment, successful, transcript, snippet)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, CASE WHEN $9::bigint = 0 THEN $10::bigint ELSE $9::bigint END, $10::bigint, $11, $12, $13, $14, $15, $16, $17)
ON CONFLICT (project_id, id) DO UPDATE SET status = excluded.status, direction = excluded.direction,
  started_at = CASE WHEN $9::bigint = 0 THEN calls.started_at ELSE $9::bigint END, ended_at = excluded.ended_at,
  duration_seconds = excluded.duration_seconds, reason = excluded.reason, summary = excluded.summary, sentiment = excluded.sentiment,
  successful = excluded.successful, transcript = excluded.transcript, snippet = excluded.snippet
WHERE calls.number_id = excluded.number_id

-- name: insertTurn
INSERT INTO turns (project_id, call_id, delivery_id, question, confidence, asked_at, status, answer, reply, answered_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, '', $8, 0)

-- name: answerTurn
-- served by the primary key
UPDATE turns SET status = $4, answer = $5, reply = $6, answered_at = $7
WHERE project_id = $1 AND call_id = $2 AND delivery_id = $3

-- name: recordTurn
-- served by the primary key
UPDATE deliveries SET status = $3, attempts = attempts + $4, round_attempts = round_attempts + $4, last_attempt_at = $5, ended = $6,
  owner = 0, next_attempt_at = 0
WHERE project_id = $1 AND id = $2 AND status || '' = 'pending'
RETURNING attempts

-- name: lostTurns
-- served by deliveries_owned: turns that a run asked whose lease has ended, and never ended
SELECT id, project_id, event_type, created_at, coalesce(convert_from(data, 'UTF8')::json ->> 'callId', '') FROM deliveries
WHERE status = 'pending' AND event_type = 'agent.message' AND channel = 'voice'
  AND handed NOT IN (SELECT run FROM nodes WHERE lease_until > clock_timestamp() AND ended_at IS NULL)

-- name: turnsUnderWay
-- served by the primary keys: who asks what of calls has no answer yet
SELECT d.owner FROM turns t JOIN deliveries d ON d.project_id = $1 AND d.id = t.delivery_id
WHERE t.project_id = $1 AND t.call_id = ANY($2::text[]) AND t.status = 'pending'

-- name: superseded
-- served by the primary keys: of turns, those whose call has been asked another question since. The place in the
-- conversation says so, which is given under its lock: nodes' clocks differ
SELECT own.id FROM unnest($2::text[], $3::text[]) AS o (call_id, id)
JOIN deliveries own ON own.project_id = $1 AND own.id = o.id
WHERE EXISTS (SELECT FROM turns t JOIN deliveries d ON d.project_id = $1 AND d.id = t.delivery_id
  WHERE t.project_id = $1 AND t.call_id = o.call_id AND d.conversation_id = own.conversation_id AND d.history_before > own.history_before)

-- name: turn
-- served by the primary key
SELECT delivery_id, call_id, question, confidence, asked_at, status, answer, reply, answered_at FROM turns
WHERE project_id = $1 AND call_id = $2 AND delivery_id = $3

-- name: turnsOf
-- served by the primary key
SELECT delivery_id, call_id, question, confidence, asked_at, status, answer, reply, answered_at FROM turns
WHERE project_id = $1 AND call_id = $2 ORDER BY delivery_id
