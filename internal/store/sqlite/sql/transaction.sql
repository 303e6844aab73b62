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

-- name: try
-- means nothing, but must be written; what stays the same would not be
INSERT INTO meta (name, value) VALUES ('tried', 1) ON CONFLICT (name) DO UPDATE SET value = value + 1
