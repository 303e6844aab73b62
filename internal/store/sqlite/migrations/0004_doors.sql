-- Who may do what, and who did.

-- What a key may do: admin, write, ingest and read, separated by spaces.
ALTER TABLE api_keys ADD COLUMN scopes TEXT NOT NULL DEFAULT 'admin';

-- Every change of configuration, written in its own transaction and never changed.
CREATE TABLE audit (
  project_id TEXT NOT NULL,
  id         TEXT NOT NULL, -- sorts by time
  key_id     TEXT NOT NULL, -- '' is the server itself
  key_name   TEXT NOT NULL,
  address    TEXT NOT NULL,
  action     TEXT NOT NULL,
  target     TEXT NOT NULL,
  detail     TEXT NOT NULL,
  at         INTEGER NOT NULL,
  PRIMARY KEY (project_id, id)
) WITHOUT ROWID;

-- The secret before the present one, which deliveries are signed with too for a day.
ALTER TABLE webhooks ADD COLUMN previous_secret TEXT NOT NULL DEFAULT '';
ALTER TABLE webhooks ADD COLUMN previous_until INTEGER NOT NULL DEFAULT 0; -- 0 is none
