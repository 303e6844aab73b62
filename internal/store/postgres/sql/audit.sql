-- name: insertChange
INSERT INTO audit (project_id, id, key_id, key_name, address, action, target, detail, at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)

-- name: changes
-- served by the primary key
SELECT project_id, id, key_id, key_name, address, action, target, detail, at FROM audit
WHERE project_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3
