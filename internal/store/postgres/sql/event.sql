-- name: routes
-- served by numbers_by_phone, the primary key of agents, and webhooks_live: for each pair of an agent
-- and a number that events name, who they are today, and the webhooks that the rule looks at
SELECT k.i, coalesce(num.id, ''), coalesce(num.agent_id, ''), a.id IS NOT NULL, w.id IS NOT NULL,
  coalesce(w.id, ''), coalesce(w.project_id, ''), coalesce(w.agent_id, ''), coalesce(w.url, ''), coalesce(w.secret, ''), coalesce(w.status, ''),
  coalesce(w.context_limit, 0), coalesce(w.timeout_s, 0), coalesce(w.created_at, 0), coalesce(w.revision, 0),
  coalesce(w.ordering, ''), coalesce(w.rate_limit, 0), coalesce(w.failing_since, 0), coalesce(w.listener, false), coalesce(w.owner, ''),
  coalesce(w.previous_secret, ''), coalesce(w.previous_until, 0)
FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS k (agent_id, phone_number, i)
LEFT JOIN numbers num ON num.project_id = $1 AND num.phone_number = k.phone_number
LEFT JOIN agents a ON a.project_id = $1 AND a.id = coalesce(nullif(k.agent_id, ''), num.agent_id)
LEFT JOIN webhooks w ON w.project_id = $1 AND w.deleted_at = 0 AND w.agent_id IN (a.id, '')

-- name: idempotent
-- served by the primary key
SELECT key, answer, created_at FROM idempotency WHERE project_id = $1 AND key = ANY($2::text[])

-- name: dropIdempotency
-- served by the primary key
DELETE FROM idempotency WHERE project_id = $1 AND key = ANY($2::text[])

-- name: insertIdempotency
INSERT INTO idempotency (project_id, key, answer, created_at)
SELECT $1, k.* FROM unnest($2::text[], $3::text[], $4::bigint[]) AS k (key, answer, created_at)

-- name: forgetIdempotency
-- served by idempotency_by_age; a slice at a time
DELETE FROM idempotency WHERE (project_id, key) IN
  (SELECT project_id, key FROM idempotency WHERE created_at <= $1 ORDER BY created_at LIMIT 500)

-- name: insertEvents
INSERT INTO events (project_id, id, agent_id, type, channel, direction, conversation_id, message_id,
  data, state, history_before, at)
SELECT $1, e.* FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bytea[], $10::bytea[], $11::bigint[], $12::bigint[])
  AS e (id, agent_id, type, channel, direction, conversation_id, message_id, data, state, history_before, at)
