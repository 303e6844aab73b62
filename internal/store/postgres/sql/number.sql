-- name: insertNumber
INSERT INTO numbers (id, project_id, phone_number, country, type, status, agent_id, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)

-- name: number
-- served by the primary key
SELECT id, project_id, phone_number, country, type, status, agent_id, created_at FROM numbers
WHERE project_id = $1 AND id = $2

-- name: numberByPhone
-- served by numbers_by_phone
SELECT id, project_id, phone_number, country, type, status, agent_id, created_at FROM numbers
WHERE project_id = $1 AND phone_number = $2

-- name: numbersOfAgents
-- served by numbers_by_agent
SELECT id, project_id, phone_number, country, type, status, agent_id, created_at FROM numbers
WHERE project_id = $1 AND agent_id = ANY($2::text[]) ORDER BY id

-- name: numbersPage
-- served by the primary key
SELECT id, project_id, phone_number, country, type, status, agent_id, created_at FROM numbers
WHERE project_id = $1 ORDER BY id LIMIT $2 OFFSET $3

-- name: numbersTotal
SELECT count(*) FROM numbers WHERE project_id = $1

-- name: assignNumber
UPDATE numbers SET agent_id = $3 WHERE project_id = $1 AND id = $2

-- name: deleteNumber
DELETE FROM numbers WHERE project_id = $1 AND id = $2 RETURNING phone_number
