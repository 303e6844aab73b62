-- What follows from messages and deliveries may lag behind them, and is written in
-- slices, in order: rows of conversations, and this log, which was an index. One by
-- one each would write a page of its own.
CREATE TABLE agent_log (
  agent_id   TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  id         TEXT NOT NULL, -- of a delivery
  PRIMARY KEY (agent_id, created_at, id)
) WITHOUT ROWID;
INSERT INTO agent_log SELECT agent_id, created_at, id FROM deliveries ORDER BY 1, 2, 3;
DROP INDEX deliveries_by_agent;

-- Up to which message conversations are up to date, and up to when the log is.
INSERT INTO meta (name, value) VALUES
  ('told_seq', (SELECT coalesce(max(seq), 0) FROM messages)), ('told_at', (SELECT coalesce(max(created_at), 0) FROM deliveries));
