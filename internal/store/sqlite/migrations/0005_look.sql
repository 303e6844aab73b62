-- What looking needs: where an attempt's time went, the pulse of each project,
-- sessions of the dashboard, and indexes over what is in trouble.

ALTER TABLE attempts ADD COLUMN dns_us INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN connect_us INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN tls_us INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN first_byte_us INTEGER NOT NULL DEFAULT 0;

-- What happened in a minute, as one process counted it: its row is written over
-- while the minute lasts. Readers add the processes up.
CREATE TABLE minutes (
  project_id TEXT NOT NULL,
  minute     INTEGER NOT NULL, -- minutes since the Unix epoch
  process    TEXT NOT NULL,
  accepted   INTEGER NOT NULL,
  attempts   INTEGER NOT NULL,
  success    INTEGER NOT NULL,
  failed     INTEGER NOT NULL,
  pending    INTEGER NOT NULL, -- of the project, when the row was written
  latency    BLOB NOT NULL,    -- a histogram, see store.Latency
  PRIMARY KEY (project_id, minute, process)
) WITHOUT ROWID;

-- Who is signed in to the dashboard: of a session's token and of its key only hashes.
CREATE TABLE sessions (
  project_id TEXT NOT NULL,
  hash       BLOB NOT NULL,
  key_hash   BLOB NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  PRIMARY KEY (project_id, hash)
) WITHOUT ROWID;
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

-- They hold exceptions only: an event that is delivered at once is never in them.
CREATE INDEX deliveries_failed ON deliveries (project_id, created_at) WHERE status = 'failed';
CREATE INDEX deliveries_unrouted ON deliveries (project_id, created_at) WHERE status = 'unrouted';
CREATE INDEX webhooks_troubled ON webhooks (project_id) WHERE deleted_at = 0 AND (failing_since > 0 OR status = 'disabled');
