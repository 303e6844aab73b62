-- name: callNumber
-- served by the primary key of calls
SELECT number_id FROM calls WHERE project_id = ?1 AND id = ?2

-- name: beginCall
INSERT INTO calls (project_id, id, agent_id, number_id, phone_number, participant, direction, status, started_at, ended_at, snippet)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0, '')

-- name: endCall
-- a call belongs to the number it began on: an end told of another one changes nothing
INSERT INTO calls (project_id, id, agent_id, number_id, phone_number, participant, direction, status, started_at, ended_at,
  duration_seconds, reason, summary, sentiment, successful, transcript, snippet)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, iif(?9 = 0, ?10, ?9), ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)
ON CONFLICT (project_id, id) DO UPDATE SET status = excluded.status, direction = excluded.direction,
  started_at = iif(?9 = 0, started_at, ?9), ended_at = excluded.ended_at,
  duration_seconds = excluded.duration_seconds, reason = excluded.reason, summary = excluded.summary, sentiment = excluded.sentiment,
  successful = excluded.successful, transcript = excluded.transcript, snippet = excluded.snippet
WHERE number_id = excluded.number_id

-- name: insertTurn
INSERT INTO turns (project_id, call_id, delivery_id, question, confidence, asked_at, status, answer, reply, answered_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, '', ?8, 0)

-- name: answerTurn
UPDATE turns SET status = ?4, answer = ?5, reply = ?6, answered_at = ?7
WHERE project_id = ?1 AND call_id = ?2 AND delivery_id = ?3

-- name: recordTurn
UPDATE deliveries SET status = ?2, attempts = attempts + ?3, round_attempts = round_attempts + ?3, last_attempt_at = ?4, ended = ?5
WHERE id = ?1 AND status = 'pending'
RETURNING attempts

-- name: lostTurns
-- served by deliveries_held: turns that an earlier run of the server asked and never ended
SELECT id, project_id, event_type, created_at, json_extract(CAST(data AS TEXT), '$.callId') FROM deliveries
WHERE status = 'pending' AND next_attempt_at = 0 AND handed < ?1 AND event_type = 'agent.message' AND channel = 'voice'

-- name: turn
-- served by the primary key of turns
SELECT delivery_id, call_id, question, confidence, asked_at, status, answer, reply, answered_at FROM turns
WHERE project_id = ?1 AND call_id = ?2 AND delivery_id = ?3

-- name: turnsOf
-- served by the primary key of turns
SELECT delivery_id, call_id, question, confidence, asked_at, status, answer, reply, answered_at FROM turns
WHERE project_id = ?1 AND call_id = ?2 ORDER BY delivery_id
