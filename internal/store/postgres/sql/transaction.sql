-- name: begin
BEGIN

-- name: planOnce
-- plans are made once for a connection, whatever the parameters: the statements of a transaction that events go
-- through are looked up by keys, and planning anew would cost more than they do
SELECT set_config('plan_cache_mode', 'force_generic_plan', true)

-- name: beginRead
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY

-- name: commit
COMMIT

-- name: rollback
ROLLBACK

-- name: ping
-- false on a standby, and where writes are switched off; and whether commits are answered early
SELECT NOT pg_is_in_recovery() AND current_setting('transaction_read_only') = 'off', current_setting('synchronous_commit') = 'off'

-- name: tryRoom
-- rows that are rolled back, and take about 256 KiB in a table that every event needs room in
INSERT INTO messages (project_id, conversation_id, n, id, number_id, direction, channel, sender, recipient, body, media_urls, at)
SELECT '', '', n, '', '', '', '', '', '', convert_to(repeat('x', 1800), 'UTF8'), '', 0 FROM generate_series(1, 144) AS n

-- name: settings
-- whether commits are answered before they are on disk, whether a crash may lose them all the same, and whether
-- this is Citus
SELECT current_setting('synchronous_commit') = 'off', current_setting('fsync') = 'off' OR current_setting('full_page_writes') = 'off',
  EXISTS (SELECT FROM pg_extension WHERE extname = 'citus')

-- name: toDisk
SET LOCAL synchronous_commit = on

-- name: lockMigrations
SELECT pg_advisory_xact_lock(6013556461634388331)

-- name: lockProject
-- held by whoever changes what events of a project are routed by, until its commit
SELECT pg_advisory_xact_lock(hashtextextended($1, 1400326251))

-- name: routingChanged
-- what nodes remember of the project's routing does not hold any more, from the commit on
UPDATE projects SET routing = txid_current() WHERE project_id = $1

-- name: shareProject
-- held by whoever routes deliveries of a project: no change comes in between
SELECT pg_advisory_xact_lock_shared(hashtextextended($1, 1400326251))

-- name: lockWebhook
-- held by whoever takes what is pending of a webhook out of dispatchers' hands
SELECT pg_advisory_xact_lock(hashtextextended($1, 1400326252))

-- name: shareWebhooks
-- held by whoever takes deliveries of webhooks into their hands
SELECT w.id, pg_advisory_xact_lock_shared(hashtextextended(w.id, 1400326252)) FROM unnest($1::text[]) AS w (id)

-- name: shareFreeWebhooks
-- shareWebhooks that waits for none: it answers those that it has
SELECT w.id FROM unnest($1::text[]) AS w (id) WHERE pg_try_advisory_xact_lock_shared(hashtextextended(w.id, 1400326252))
