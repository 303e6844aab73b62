-- name: insertAgent
INSERT INTO agents (id, project_id, name, settings, created_at) VALUES ($1, $2, $3, $4, $5)

-- name: agent
-- served by the primary key
SELECT id, project_id, name, settings, created_at FROM agents WHERE project_id = $1 AND id = $2

-- name: agentsPage
-- served by the primary key
SELECT id, project_id, name, settings, created_at FROM agents
WHERE project_id = $1 ORDER BY id LIMIT $2 OFFSET $3

-- name: agentsTotal
SELECT count(*) FROM agents WHERE project_id = $1

-- name: updateAgent
UPDATE agents SET name = $3, settings = $4 WHERE project_id = $1 AND id = $2

-- name: deleteAgent
DELETE FROM agents WHERE project_id = $1 AND id = $2

-- name: releaseNumbers
-- served by numbers_by_agent
UPDATE numbers SET agent_id = '' WHERE project_id = $1 AND agent_id = $2
