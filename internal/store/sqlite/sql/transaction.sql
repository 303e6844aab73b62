-- name: begin
BEGIN IMMEDIATE

-- name: commit
COMMIT

-- name: rollback
ROLLBACK

-- name: ping
SELECT 1

-- name: nextRun
UPDATE meta SET value = value + 1 WHERE name = 'run' RETURNING value
