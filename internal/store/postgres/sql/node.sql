-- name: nextRun
INSERT INTO nodes (run, name, started_at, lease_until)
VALUES (nextval('runs'), $1, $2, clock_timestamp() + make_interval(secs => $3::bigint / 1e6))
RETURNING run

-- name: endRun
DELETE FROM nodes WHERE run = $1

-- name: takeBack
-- whatever is owned by a run whose lease has ended; not for the busy hours
UPDATE deliveries SET owner = $1, next_attempt_at = CASE WHEN next_attempt_at = 0 THEN least(created_at, $2) ELSE next_attempt_at END
WHERE status = 'pending' AND owner NOT IN (SELECT run FROM nodes WHERE lease_until > clock_timestamp())
