-- name: insertAgent
INSERT INTO agents (id, project_id, name, settings, created_at) VALUES (?1, ?2, ?3, ?4, ?5)

-- name: agent
SELECT id, project_id, name, settings, created_at FROM agents WHERE id = ?2 AND project_id = ?1

-- name: agentsPage
-- served by agents_by_project, which ends in the id
SELECT id, project_id, name, settings, created_at FROM agents
WHERE project_id = ?1 ORDER BY id LIMIT (?2 + 0) OFFSET (?3 + 0)

-- name: agentsTotal
SELECT count(*) FROM agents WHERE project_id = ?1

-- name: updateAgent
UPDATE agents SET name = ?2, settings = ?3 WHERE id = ?1

-- name: deleteAgent
DELETE FROM agents WHERE id = ?1

-- name: releaseNumbers
UPDATE numbers SET agent_id = '' WHERE agent_id = ?1
