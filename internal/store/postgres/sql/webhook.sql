-- name: insertWebhook
INSERT INTO webhooks (id, project_id, agent_id, url, secret, status, context_limit, timeout_s, created_at, revision,
  ordering, rate_limit, listener, owner)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)

-- name: updateWebhook
-- what was pending when it was disabled, and is not settled yet, is sent to it as it is now
UPDATE webhooks SET url = $3, secret = $4, status = $5, context_limit = $6, timeout_s = $7, revision = $8,
  ordering = $9, rate_limit = $10, failing_since = 0, previous_secret = $11, previous_until = $12,
  settling = false, changed_at = clock_timestamp()
WHERE project_id = $1 AND id = $2

-- name: webhook
-- served by webhooks_live
SELECT id, project_id, agent_id, url, secret, status, context_limit, timeout_s, created_at, revision,
  ordering, rate_limit, failing_since, listener, owner, previous_secret, previous_until
FROM webhooks WHERE project_id = $1 AND agent_id = $2 AND deleted_at = 0 AND NOT listener

-- name: listener
-- served by webhooks_listeners
SELECT id, project_id, agent_id, url, secret, status, context_limit, timeout_s, created_at, revision,
  ordering, rate_limit, failing_since, listener, owner, previous_secret, previous_until
FROM webhooks WHERE project_id = $1 AND agent_id = $2 AND deleted_at = 0 AND listener

-- name: listenersOf
-- served by webhooks_listeners: what is left when a node starts, of its own that an earlier version of the program
-- made ($1 is the node's name), and of runs that are over
SELECT id, project_id, agent_id, url, secret, status, context_limit, timeout_s, created_at, revision,
  ordering, rate_limit, failing_since, listener, owner, previous_secret, previous_until
FROM webhooks w WHERE deleted_at = 0 AND listener AND (owner = $1 OR owner ~ '^[0-9]+ '
  AND NOT EXISTS (SELECT FROM nodes n WHERE n.ended_at IS NULL AND n.run::text = split_part(w.owner, ' ', 1)))

-- name: listenersOfRuns
-- served by webhooks_listeners
SELECT id, project_id, agent_id, url, secret, status, context_limit, timeout_s, created_at, revision,
  ordering, rate_limit, failing_since, listener, owner, previous_secret, previous_until
FROM webhooks WHERE deleted_at = 0 AND listener AND split_part(owner, ' ', 1) = ANY($1::bigint[]::text[])

-- name: webhookByID
-- served by webhooks_by_id
SELECT id, project_id, agent_id, url, secret, status, context_limit, timeout_s, created_at, revision,
  ordering, rate_limit, failing_since, listener, owner, previous_secret, previous_until
FROM webhooks WHERE project_id = $1 AND id = $2 AND deleted_at = 0

-- name: projectOfWebhook
-- served by webhooks_by_id
SELECT project_id FROM webhooks WHERE id = $1

-- name: activeWebhooks
SELECT id, project_id, agent_id, url, secret, status, context_limit, timeout_s, created_at, revision,
  ordering, rate_limit, failing_since, listener, owner, previous_secret, previous_until
FROM webhooks WHERE deleted_at = 0 AND status = 'active'

-- name: setWebhookStatus
UPDATE webhooks SET status = $3, failing_since = 0, revision = revision + 1, settling = false, changed_at = clock_timestamp()
WHERE project_id = $1 AND id = $2 AND deleted_at = 0

-- name: deleteWebhook
UPDATE webhooks SET deleted_at = $3, secret = '', previous_secret = '', revision = revision + 1, changed_at = clock_timestamp() WHERE project_id = $1 AND id = $2

-- name: webhookURL
SELECT url FROM webhooks WHERE project_id = $1 AND id = $2

-- name: setFailing
UPDATE webhooks SET failing_since = $3 WHERE project_id = $1 AND id = $2 AND deleted_at = 0

-- name: setSettling
UPDATE webhooks SET settling = $3 WHERE project_id = $1 AND id = $2

-- name: settling
-- served by the primary key: of webhooks, those that are to be settled: whether each is gone, and was a listener's
SELECT id, deleted_at > 0, listener FROM webhooks WHERE project_id = $1 AND id = ANY($2::text[]) AND (deleted_at > 0 OR status = 'disabled' OR settling)

-- name: allSettling
-- served by webhooks_settling
SELECT id, project_id FROM webhooks WHERE settling

-- name: secrets
SELECT id, secret, previous_secret FROM webhooks WHERE deleted_at = 0

-- name: replaceSecrets
UPDATE webhooks SET secret = $5, previous_secret = $6, revision = revision + 1, changed_at = clock_timestamp()
WHERE project_id = $1 AND id = $2 AND secret = $3 AND previous_secret = $4 AND deleted_at = 0
