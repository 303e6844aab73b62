-- name: addCounts
-- Rows come sorted, so that no two transactions wait for each other.
INSERT INTO counts (project_id, hour, event_type, slot, success, failed, pending)
SELECT $1, c.hour, c.event_type, $2, c.success, c.failed, c.pending
FROM unnest($3::bigint[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[]) AS c (hour, event_type, success, failed, pending)
ON CONFLICT (project_id, hour, event_type, slot) DO UPDATE SET
  success = counts.success + excluded.success, failed = counts.failed + excluded.failed, pending = counts.pending + excluded.pending

-- name: hourly
-- served by the primary key
SELECT hour, event_type, sum(success)::bigint, sum(failed)::bigint, sum(pending)::bigint FROM counts
WHERE project_id = $1 AND hour >= $2 AND hour >= 0 GROUP BY hour, event_type ORDER BY hour, event_type

-- name: totals
-- served by the primary key
SELECT coalesce(sum(success), 0)::bigint, coalesce(sum(failed), 0)::bigint, coalesce(sum(pending), 0)::bigint FROM counts
WHERE project_id = $1 AND hour = -1

-- name: totalSince
-- served by the primary key: the total of all time where the hour is 0, else of the hours from it on
SELECT coalesce(sum(success + failed + pending), 0)::bigint FROM counts
WHERE project_id = $1 AND (hour = -1 AND $2 = 0 OR hour >= $2 AND $2 > 0)
