-- name: insertNumber
INSERT INTO numbers (id, project_id, phone_number, country, type, status, agent_id, created_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)

-- name: number
SELECT id, project_id, phone_number, country, type, status, agent_id, created_at FROM numbers
WHERE id = ?2 AND project_id = ?1

-- name: numberByPhone
-- served by numbers_by_phone
SELECT id, project_id, phone_number, country, type, status, agent_id, created_at FROM numbers
WHERE project_id = ?1 AND phone_number = ?2

-- name: numbersOfAgent
-- served by numbers_by_agent
SELECT id, project_id, phone_number, country, type, status, agent_id, created_at FROM numbers
WHERE agent_id = ?1 ORDER BY id

-- name: numbersPage
SELECT id, project_id, phone_number, country, type, status, agent_id, created_at FROM numbers
WHERE project_id = ?1 ORDER BY id LIMIT (?2 + 0) OFFSET (?3 + 0)

-- name: numbersTotal
SELECT count(*) FROM numbers WHERE project_id = ?1

-- name: assignNumber
UPDATE numbers SET agent_id = ?2 WHERE id = ?1

-- name: deleteNumber
DELETE FROM numbers WHERE id = ?2 AND project_id = ?1 RETURNING phone_number
