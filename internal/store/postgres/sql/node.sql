-- name: nextRun
INSERT INTO nodes (run, name, started_at, lease_until)
VALUES (nextval('runs'), $1, $2, clock_timestamp() + $3 * interval '1 microsecond')
RETURNING run

-- name: endRun
DELETE FROM nodes WHERE run = $1

-- name: takeBack
-- whatever is owned by a run whose lease has ended
UPDATE deliveries SET owner = $1, next_attempt_at = CASE WHEN next_attempt_at = 0 THEN least(created_at, $2) ELSE next_attempt_at END
WHERE status = 'pending' AND owner NOT IN (SELECT run FROM nodes WHERE lease_until > clock_timestamp())

-- name: partitions
SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent IN ('events'::regclass, 'deliveries'::regclass, 'attempts'::regclass)
