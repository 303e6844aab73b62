-- name: partitions
-- of the three tables, with how many pages each has
SELECT i.inhparent::regclass::text, c.relname::text, pg_relation_size(c.oid) / current_setting('block_size')::bigint
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent IN ('events'::regclass, 'deliveries'::regclass, 'attempts'::regclass) ORDER BY 1, 2

-- name: patience
-- a lock that is not to be had soon is done without: others wait behind whoever waits for one
SET LOCAL lock_timeout = '2s'

-- name: dropAttempts
-- served by the primary key
DELETE FROM attempts a USING unnest($1::text[], $2::text[]) AS d (project_id, id)
WHERE a.project_id = d.project_id AND a.delivery_id = d.id
