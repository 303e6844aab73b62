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
-- means nothing, but must be written, and takes as much room as a group of events: 256 KiB
INSERT OR REPLACE INTO meta (name, value) VALUES ('tried', randomblob(262144))

-- name: tried
DELETE FROM meta WHERE name = 'tried'
