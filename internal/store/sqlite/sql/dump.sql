-- name: tableColumns
-- every column of every table of the schema, and its place in the primary key
SELECT m.name, c.name, c.pk FROM sqlite_schema m JOIN pragma_table_info(m.name) c
WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'
ORDER BY m.name, c.cid

-- name: markMoved
INSERT OR REPLACE INTO meta (name, value) VALUES ('moved', unixepoch())

-- name: movedAt
SELECT value FROM meta WHERE name = 'moved'
