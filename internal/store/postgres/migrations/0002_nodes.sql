-- What many nodes need to work as one: see node.go, and docs/leases.md.

-- A run that ended stays for a while, so that what it still owned is found without
-- looking for it; leaving is one whose work is others' already, but for what it has
-- in flight.
ALTER TABLE nodes ADD COLUMN leaving boolean NOT NULL DEFAULT false;
ALTER TABLE nodes ADD COLUMN ended_at timestamptz;

-- Whoever locks a conversation's row may rely on this: what is pending of it is owned
-- by this run, and by no other.
ALTER TABLE conversations ADD COLUMN owner bigint NOT NULL DEFAULT 0;

-- By which nodes find out about what changed through others.
ALTER TABLE webhooks ADD COLUMN changed_at timestamptz NOT NULL DEFAULT clock_timestamp();
CREATE INDEX webhooks_changed ON webhooks (changed_at);

-- That a run was given deliveries of a webhook through another node: it takes them
-- up, and deletes the rows. Rows are only ever added, so that nobody waits.
CREATE TABLE given (
  project_id text COLLATE "C" NOT NULL,
  run        bigint NOT NULL,
  webhook_id text COLLATE "C" NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
CREATE INDEX given_by_run ON given (run, project_id);
