-- name: insertProject
INSERT INTO projects (project_id, name, created_at) VALUES ($1, $2, $3)

-- name: project
SELECT project_id, name, created_at FROM projects WHERE project_id = $1

-- name: firstProject
SELECT project_id, name, created_at FROM projects ORDER BY project_id LIMIT 1

-- name: insertKey
INSERT INTO api_keys (id, project_id, name, hash, hint, operator, created_at, scopes)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)

-- name: keyByHash
-- served by api_keys_by_hash
SELECT id, project_id, name, hash, hint, operator, created_at, revoked_at, scopes FROM api_keys
WHERE hash = $1 AND revoked_at = 0

-- name: keys
SELECT id, project_id, name, hash, hint, operator, created_at, revoked_at, scopes FROM api_keys
WHERE project_id = $1 ORDER BY id

-- name: revokeKey
UPDATE api_keys SET revoked_at = $3 WHERE project_id = $1 AND id = $2 AND revoked_at = 0 RETURNING name

-- name: keyHashKnown
SELECT project_id FROM api_keys WHERE hash = $1
