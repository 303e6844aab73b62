-- name: routing
-- by which change of its routing a project is as it is now; reads few, whichever they are
SELECT routing FROM projects WHERE project_id = $1

-- name: routes
-- served by numbers_by_phone, by the primary key of agents and by webhooks_live (the limits, which cut nothing off,
-- have each looked up by itself): for each pair of an agent and a number that events name, who they are today, and
-- the webhooks that the rule looks at
SELECT k.i, coalesce(num.id, ''), coalesce(num.agent_id, ''), a.id IS NOT NULL, w.id IS NOT NULL,
  coalesce(w.id, ''), coalesce(w.project_id, ''), coalesce(w.agent_id, ''), coalesce(w.url, ''), coalesce(w.secret, ''), coalesce(w.status, ''),
  coalesce(w.context_limit, 0), coalesce(w.timeout_s, 0), coalesce(w.created_at, 0), coalesce(w.revision, 0),
  coalesce(w.ordering, ''), coalesce(w.rate_limit, 0), coalesce(w.failing_since, 0), coalesce(w.listener, false), coalesce(w.owner, ''),
  coalesce(w.previous_secret, ''), coalesce(w.previous_until, 0)
FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS k (agent_id, phone_number, i)
LEFT JOIN LATERAL (SELECT * FROM numbers WHERE project_id = $1 AND phone_number = k.phone_number LIMIT 1) AS num ON true
LEFT JOIN LATERAL (SELECT * FROM agents WHERE project_id = $1 AND id = coalesce(nullif(k.agent_id, ''), num.agent_id) LIMIT 1) AS a ON true
LEFT JOIN LATERAL (SELECT * FROM webhooks WHERE project_id = $1 AND agent_id = ANY(ARRAY[a.id, '']) AND deleted_at = 0 LIMIT 3) AS w ON true

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
DELETE FROM idempotency WHERE created_at <= least($1::bigint,
  coalesce((SELECT created_at FROM idempotency ORDER BY created_at OFFSET 20000 LIMIT 1), $1::bigint))

-- name: insertEvents
INSERT INTO events (project_id, id, agent_id, type, channel, direction, conversation_id, message_id,
  data, state, history_before, at)
SELECT $1, e.* FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bytea[], $10::bytea[], $11::bigint[], $12::bigint[])
  AS e (id, agent_id, type, channel, direction, conversation_id, message_id, data, state, history_before, at)
