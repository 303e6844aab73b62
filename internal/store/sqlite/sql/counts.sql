-- name: addHourly
INSERT INTO counts_hourly (project_id, hour, event_type, success, failed, pending)
VALUES (?1, ?2, ?3, ?4, ?5, ?6)
ON CONFLICT DO UPDATE SET
  success = success + excluded.success, failed = failed + excluded.failed, pending = pending + excluded.pending

-- name: addTotal
INSERT INTO counts_total (project_id, success, failed, pending) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT DO UPDATE SET
  success = success + excluded.success, failed = failed + excluded.failed, pending = pending + excluded.pending

-- name: hourly
-- served by the primary key of counts_hourly
SELECT hour, event_type, success, failed, pending FROM counts_hourly
WHERE project_id = ?1 AND hour >= ?2 ORDER BY hour, event_type

-- name: totals
SELECT success, failed, pending FROM counts_total WHERE project_id = ?1

-- name: totalSince
-- the total of all time where the hour is 0, else of the hours from it on
SELECT coalesce(sum(success + failed + pending), 0) FROM counts_hourly
WHERE project_id = ?1 AND ?2 > 0 AND hour >= ?2
UNION ALL SELECT success + failed + pending FROM counts_total WHERE project_id = ?1 AND ?2 = 0
ORDER BY 1 DESC LIMIT 1
