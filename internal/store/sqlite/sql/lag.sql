-- name: told
-- served by the primary key
SELECT value FROM meta WHERE name = ?1

-- name: tell
INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)

-- name: messagesSince
-- served by the primary key, from where a slice ended
SELECT seq, conversation_id, n, body, at FROM messages WHERE seq > ?1 ORDER BY seq

-- name: catchUpConversation
UPDATE conversations SET message_count = ?2, last_at = max(last_at, ?3), last_preview = ?4, last_seq = ?5 WHERE id = ?1

-- name: listDelivery
INSERT OR IGNORE INTO agent_log (agent_id, created_at, id) VALUES (?1, ?2, ?3)

-- name: listSince
-- served by deliveries_by_project
INSERT OR IGNORE INTO agent_log SELECT agent_id, created_at, id FROM deliveries WHERE project_id = ?1 AND created_at > (?2 + 0)

-- name: latestDelivery
-- served by deliveries_by_project
SELECT created_at FROM deliveries WHERE project_id = ?1 ORDER BY created_at DESC LIMIT 1

-- name: unlistDelivery
DELETE FROM agent_log WHERE agent_id = ?1 AND created_at = ?2 AND id = ?3

-- name: unlistDeleted
-- after a move: what is left of deliveries that are gone
DELETE FROM agent_log WHERE id NOT IN (SELECT id FROM deliveries)

-- name: allProjects
SELECT id FROM projects
