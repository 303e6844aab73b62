-- name: nextRun
INSERT INTO nodes (run, name, started_at, lease_until)
VALUES (nextval('runs'), $1, $2, clock_timestamp() + make_interval(secs => $3::bigint / 1e6))
RETURNING run

-- name: joinAs
-- a run that has a row already becomes a node's
UPDATE nodes SET name = $2, lease_until = clock_timestamp() + make_interval(secs => $3::bigint / 1e6)
WHERE run = $1 AND ended_at IS NULL RETURNING run

-- name: renewLease
UPDATE nodes SET lease_until = clock_timestamp() + make_interval(secs => $2::bigint / 1e6)
WHERE run = $1 AND ended_at IS NULL RETURNING run

-- name: leave
UPDATE nodes SET leaving = true WHERE run = $1

-- name: endRun
UPDATE nodes SET ended_at = clock_timestamp() WHERE run = $1 AND ended_at IS NULL

-- name: declareDead
-- a renewal that comes first changes the row, which is then looked at anew
UPDATE nodes SET ended_at = clock_timestamp()
WHERE ended_at IS NULL AND lease_until < clock_timestamp() AND run <> $1 RETURNING run

-- name: leftRuns
SELECT run, ended_at IS NOT NULL FROM nodes WHERE run <> $1 AND (leaving OR ended_at IS NOT NULL)

-- name: forgetRuns
-- runs of which nothing was left, and which can write nothing more: no transaction takes so long
DELETE FROM nodes WHERE run = ANY($1::bigint[]) AND ended_at < clock_timestamp() - interval '1 minute'

-- name: strangers
-- served by deliveries_owned, one step for each owner: owners that are no node
WITH RECURSIVE owners AS (
  (SELECT owner FROM deliveries WHERE status = 'pending' ORDER BY owner LIMIT 1)
  UNION ALL
  SELECT (SELECT d.owner FROM deliveries d WHERE d.status = 'pending' AND d.owner > o.owner ORDER BY d.owner LIMIT 1)
  FROM owners o WHERE o.owner IS NOT NULL)
SELECT owner FROM owners WHERE owner IS NOT NULL AND owner NOT IN (SELECT run FROM nodes)

-- name: orphans
-- served by deliveries_owned: what runs that ended owned
SELECT project_id, conversation_id, id FROM deliveries WHERE owner = ANY($1::bigint[]) AND status = 'pending' LIMIT $2

-- name: handedOver
-- served by deliveries_owned, and deliveries_waiting: what leaving runs own, but for conversations of which
-- they have something in memory, and attempts that somebody waits for
SELECT d.project_id, d.conversation_id, d.id FROM deliveries d
WHERE d.owner = ANY($1::bigint[]) AND d.status = 'pending' AND d.next_attempt_at > 0 AND NOT d.test
  AND NOT (d.channel = 'voice' AND d.event_type = 'agent.message')
  AND NOT EXISTS (SELECT FROM deliveries h WHERE h.project_id = d.project_id AND h.conversation_id = d.conversation_id
    AND h.status = 'pending' AND h.next_attempt_at = 0 AND h.owner = d.owner AND d.conversation_id <> '')
LIMIT $2

-- name: lockConversations
-- served by the primary key; those that an event is just being accepted into are left for the next time
SELECT id FROM conversations WHERE project_id = $1 AND id = ANY($2::text[]) FOR UPDATE SKIP LOCKED

-- name: adoptConversations
-- served by deliveries_waiting. $4 are runs that ended, $5 leaving ones, $6 is now. What was in a run's memory
-- keeps its mark: it may have been sent
UPDATE deliveries SET owner = $3, next_attempt_at = CASE WHEN next_attempt_at = 0 THEN least(created_at, $6) ELSE next_attempt_at END
WHERE project_id = $1 AND conversation_id = ANY($2::text[]) AND status = 'pending'
  AND (owner = ANY($4::bigint[]) OR owner = ANY($5::bigint[]) AND next_attempt_at > 0)
  AND NOT (channel = 'voice' AND event_type = 'agent.message')
RETURNING webhook_id

-- name: adoptSingles
-- served by the primary key: likewise, of deliveries without a conversation
UPDATE deliveries SET owner = $3, next_attempt_at = CASE WHEN next_attempt_at = 0 THEN least(created_at, $6) ELSE next_attempt_at END
WHERE project_id = $1 AND id = ANY($2::text[]) AND status || '' = 'pending'
  AND (owner = ANY($4::bigint[]) OR owner = ANY($5::bigint[]) AND next_attempt_at > 0)
RETURNING webhook_id

-- name: ownFree
-- served by the primary key, and deliveries_waiting: of conversations that the caller has locked, those of which
-- nothing is pending are a run's from now on
UPDATE conversations c SET owner = $3 WHERE project_id = $1 AND id = ANY($2::text[])
  AND NOT EXISTS (SELECT FROM deliveries d WHERE d.project_id = $1 AND d.conversation_id = c.id AND d.status = 'pending')
RETURNING id

-- name: ownConversations
-- served by the primary key; the caller has locked them
UPDATE conversations SET owner = $3 WHERE project_id = $1 AND id = ANY($2::text[])

-- name: inheritConversations
-- served by the primary key; the caller has locked them. Of one that is a living run's only a listener's part was adopted
UPDATE conversations SET owner = $3 WHERE project_id = $1 AND id = ANY($2::text[]) AND (owner = 0 OR owner = ANY($4::bigint[]))

-- name: conversationOwners
-- served by the primary key: whose what is pending of a conversation is, and stays until the commit
SELECT id, owner FROM conversations WHERE project_id = $1 AND id = ANY($2::text[]) ORDER BY id FOR UPDATE

-- name: pendingOwners
-- served by deliveries_waiting: who owns what is pending of conversations
SELECT DISTINCT conversation_id, owner FROM deliveries
WHERE project_id = $1 AND conversation_id = ANY($2::text[]) AND status = 'pending'

-- name: give
INSERT INTO given (project_id, run, webhook_id) SELECT $1, g.run, g.webhook_id FROM unnest($2::bigint[], $3::text[]) AS g (run, webhook_id)

-- name: givenTo
-- few rows, and an index for when they are many: webhooks of which others gave a run what it has not heard of yet
SELECT DISTINCT webhook_id FROM given WHERE project_id = $1 AND run = $2

-- name: taken
-- few rows, and an index for when they are many
DELETE FROM given WHERE run = $1 RETURNING webhook_id

-- name: dropGiven
-- what was given to runs that ended is found as theirs
DELETE FROM given WHERE run = ANY($1::bigint[])

-- name: owned
-- served by deliveries_owned
SELECT count(*) FROM (SELECT FROM deliveries WHERE owner = $1 AND status = 'pending' LIMIT $2) AS mine

-- name: inMemory
-- served by deliveries_owned: what a run has in its memory, as far as the database knows; turns are with whoever asks them
SELECT id FROM deliveries WHERE owner = $1 AND status = 'pending' AND next_attempt_at = 0
  AND NOT (event_type = 'agent.message' AND channel = 'voice')

-- name: takeUp
-- what was thought to be in this run's memory, and is not: the answer to a commit was lost. It keeps its mark
UPDATE deliveries SET next_attempt_at = least(created_at, $3)
WHERE id = ANY($2::text[]) AND owner = $1 AND status = 'pending' AND next_attempt_at = 0
RETURNING webhook_id

-- name: changedWebhooks
-- served by webhooks_changed
SELECT id, revision FROM webhooks WHERE changed_at > now() - make_interval(secs => $1::bigint / 1e6)

-- name: notify
SELECT pg_notify('switchhook', $1)
