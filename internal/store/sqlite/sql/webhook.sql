-- name: insertWebhook
INSERT INTO webhooks (id, project_id, agent_id, url, secret, status, context_limit, timeout_s, created_at, revision)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)

-- name: updateWebhook
UPDATE webhooks SET url = ?2, secret = ?3, status = ?4, context_limit = ?5, timeout_s = ?6, revision = ?7
WHERE id = ?1

-- name: webhook
-- served by webhooks_live; for the expressions see the query history
SELECT id, project_id, agent_id, url, secret, status, context_limit, timeout_s, created_at, revision
FROM webhooks WHERE project_id = (?1 || '') AND agent_id = (?2 || '') AND deleted_at = 0

-- name: webhookByID
SELECT id, project_id, agent_id, url, secret, status, context_limit, timeout_s, created_at, revision
FROM webhooks WHERE id = ?1 AND deleted_at = 0

-- name: activeWebhooks
SELECT id, project_id, agent_id, url, secret, status, context_limit, timeout_s, created_at, revision
FROM webhooks WHERE deleted_at = 0 AND status = 'active'

-- name: setWebhookStatus
UPDATE webhooks SET status = ?2, revision = revision + 1 WHERE id = ?1 AND deleted_at = 0

-- name: deleteWebhook
UPDATE webhooks SET deleted_at = ?2, secret = '' WHERE id = ?1

-- name: webhookURL
SELECT url FROM webhooks WHERE id = ?1
