-- Calls and their turns.

CREATE TABLE calls (
  project_id       TEXT NOT NULL,
  id               TEXT NOT NULL, -- the carrier's
  agent_id         TEXT NOT NULL,
  number_id        TEXT NOT NULL,
  phone_number     TEXT NOT NULL,
  participant      TEXT NOT NULL,
  direction        TEXT NOT NULL,
  status           TEXT NOT NULL,
  started_at       INTEGER NOT NULL,
  ended_at         INTEGER NOT NULL, -- 0 while it goes on; what follows is told with the end
  duration_seconds REAL,
  reason           TEXT,
  summary          TEXT,
  sentiment        TEXT,
  successful       BLOB,             -- JSON
  transcript       BLOB,             -- JSON: every word of the call
  snippet          TEXT NOT NULL,
  PRIMARY KEY (project_id, id)
) WITHOUT ROWID;
CREATE INDEX calls_by_project ON calls (project_id, started_at);
CREATE INDEX calls_by_agent ON calls (agent_id, started_at);
CREATE INDEX calls_by_number ON calls (number_id, started_at);

-- A turn is a delivery seen from its call. Delivery ids sort by time.
CREATE TABLE turns (
  project_id  TEXT NOT NULL,
  call_id     TEXT NOT NULL,
  delivery_id TEXT NOT NULL,
  question    TEXT NOT NULL,
  confidence  REAL,
  asked_at    INTEGER NOT NULL,
  status      TEXT NOT NULL,
  answer      TEXT NOT NULL,
  reply       BLOB,             -- JSON: what a repeat is answered; null while it is under way
  answered_at INTEGER NOT NULL,
  PRIMARY KEY (project_id, call_id, delivery_id)
) WITHOUT ROWID;
