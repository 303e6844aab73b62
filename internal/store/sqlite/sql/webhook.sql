-- name: insertWebhook
INSERT INTO webhooks (id, project_id, agent_id, url, secret, status, context_limit, timeout_s, created_at, revision,
  ordering, rate_limit, listener, owner)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)

-- name: updateWebhook
-- what was pending when it was disabled, and is not settled yet, is sent to it as it is now
UPDATE webhooks SET url = ?2, secret = ?3, status = ?4, context_limit = ?5, timeout_s = ?6, revision = ?7,
  ordering = ?8, rate_limit = ?9, failing_since = 0, previous_secret = ?10, previous_until = ?11,
  settling = 0
WHERE id = ?1

-- name: webhook
-- served by webhooks_live; for the expressions see the query history
SELECT id, project_id, agent_id, url, secret, status, context_limit, timeout_s, created_at, revision,
  ordering, rate_limit, failing_since, listener, owner, previous_secret, previous_until
FROM webhooks WHERE project_id = (?1 || '') AND agent_id = (?2 || '') AND deleted_at = 0 AND listener = 0

-- name: listener
-- served by webhooks_live
SELECT id, project_id, agent_id, url, secret, status, context_limit, timeout_s, created_at, revision,
  ordering, rate_limit, failing_since, listener, owner, previous_secret, previous_until
FROM webhooks WHERE project_id = (?1 || '') AND agent_id = (?2 || '') AND deleted_at = 0 AND listener = 1

-- name: listenersOf
-- what is left of a node's listeners when it starts anew
SELECT id, project_id, agent_id, url, secret, status, context_limit, timeout_s, created_at, revision,
  ordering, rate_limit, failing_since, listener, owner, previous_secret, previous_until
FROM webhooks WHERE deleted_at = 0 AND listener = 1 AND owner = ?1

-- name: webhookByID
SELECT id, project_id, agent_id, url, secret, status, context_limit, timeout_s, created_at, revision,
  ordering, rate_limit, failing_since, listener, owner, previous_secret, previous_until
FROM webhooks WHERE id = ?1 AND deleted_at = 0

-- name: activeWebhooks
SELECT id, project_id, agent_id, url, secret, status, context_limit, timeout_s, created_at, revision,
  ordering, rate_limit, failing_since, listener, owner, previous_secret, previous_until
FROM webhooks WHERE deleted_at = 0 AND status = 'active'

-- name: setWebhookStatus
UPDATE webhooks SET status = ?2, failing_since = 0, settling = 0, revision = revision + 1 WHERE id = ?1 AND deleted_at = 0

-- name: deleteWebhook
UPDATE webhooks SET deleted_at = ?2, secret = '', previous_secret = '' WHERE id = ?1

-- name: webhookURL
SELECT url FROM webhooks WHERE id = ?1

-- name: setFailing
UPDATE webhooks SET failing_since = ?2 WHERE id = ?1 AND deleted_at = 0

-- name: setSettling
UPDATE webhooks SET settling = ?2 WHERE id = ?1

-- name: settling
-- of a webhook that is being settled: its project, and whether it is gone
SELECT project_id, deleted_at > 0 FROM webhooks WHERE id = ?1 AND settling = 1

-- name: allSettling
SELECT id FROM webhooks WHERE settling = 1

-- name: secrets
SELECT id, secret, previous_secret FROM webhooks WHERE deleted_at = 0

-- name: replaceSecrets
UPDATE webhooks SET secret = ?4, previous_secret = ?5, revision = revision + 1
WHERE id = ?1 AND secret = ?2 AND previous_secret = ?3 AND deleted_at = 0
