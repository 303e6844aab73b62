-- name: tableColumns
-- every column of every table of the schema, and its place in the primary key
SELECT m.name, c.name, c.pk FROM sqlite_schema m JOIN pragma_table_info(m.name) c
WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'
ORDER BY m.name, c.cid

-- name: nextRunToMove
-- nextRun for a move: both numbers go up, so that they part where a server comes in between
UPDATE meta SET value = value + 1 WHERE name IN ('run', 'moving') RETURNING iif(name = 'run', value, 0)

-- name: serverBetween
SELECT 1 FROM meta r WHERE r.name = 'run' AND NOT EXISTS (SELECT 1 FROM meta m WHERE m.name = 'moving' AND m.value = r.value)

-- name: beginMoving
INSERT OR REPLACE INTO meta (name, value) SELECT 'moving', value FROM meta WHERE name = 'run'

-- name: markMoved
INSERT OR REPLACE INTO meta (name, value) VALUES ('moved', unixepoch())

-- name: movedAt
SELECT value FROM meta WHERE name = 'moved'
