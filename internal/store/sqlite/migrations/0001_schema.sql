-- The schema. Times are microseconds since the Unix epoch, UTC; 0 is "none".
-- Ids sort by time, so tables clustered by id grow at their right edge.

CREATE TABLE meta (
  name  TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) WITHOUT ROWID;

-- run counts the starts of the server on this file; see deliveries.handed.
INSERT INTO meta (name, value) VALUES ('run', 0);

CREATE TABLE projects (
  id         TEXT PRIMARY KEY,
  name       TEXT NOT NULL,
  created_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE api_keys (
  id         TEXT PRIMARY KEY,
  project_id TEXT NOT NULL,
  name       TEXT NOT NULL,
  hash       BLOB NOT NULL UNIQUE,
  hint       TEXT NOT NULL,
  operator   INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  revoked_at INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

CREATE TABLE agents (
  id         TEXT PRIMARY KEY,
  project_id TEXT NOT NULL,
  name       TEXT NOT NULL,
  settings   BLOB NOT NULL, -- a JSON object
  created_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX agents_by_project ON agents (project_id);

CREATE TABLE numbers (
  id           TEXT PRIMARY KEY,
  project_id   TEXT NOT NULL,
  phone_number TEXT NOT NULL, -- E.164
  country      TEXT NOT NULL,
  type         TEXT NOT NULL,
  status       TEXT NOT NULL,
  agent_id     TEXT NOT NULL, -- '' is unassigned
  created_at   INTEGER NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX numbers_by_phone ON numbers (project_id, phone_number);
CREATE INDEX numbers_by_agent ON numbers (agent_id);

CREATE TABLE conversations (
  id            TEXT PRIMARY KEY,
  project_id    TEXT NOT NULL,
  agent_id      TEXT NOT NULL,
  number_id     TEXT NOT NULL,
  phone_number  TEXT NOT NULL,
  participant   TEXT NOT NULL,
  metadata      BLOB, -- a JSON object
  message_count INTEGER NOT NULL,
  last_at       INTEGER NOT NULL,
  last_preview  TEXT NOT NULL,
  created_at    INTEGER NOT NULL
) WITHOUT ROWID;
-- A conversation is one participant on one number.
CREATE UNIQUE INDEX conversations_by_pair ON conversations (number_id, participant);
CREATE INDEX conversations_by_project ON conversations (project_id);

-- Append-only: bodies that are rendered again rest on messages never changing.
CREATE TABLE messages (
  seq             INTEGER PRIMARY KEY,
  id              TEXT NOT NULL,
  conversation_id TEXT NOT NULL,
  number_id       TEXT NOT NULL,
  direction       TEXT NOT NULL,
  channel         TEXT NOT NULL,
  sender          TEXT NOT NULL,
  recipient       TEXT NOT NULL,
  body            TEXT NOT NULL,
  media_urls      TEXT NOT NULL, -- a JSON array, or '' for none
  at              INTEGER NOT NULL
);
CREATE INDEX messages_by_conversation ON messages (conversation_id, seq);
CREATE INDEX messages_by_number ON messages (number_id, seq);

CREATE TABLE webhooks (
  id            TEXT PRIMARY KEY,
  project_id    TEXT NOT NULL,
  agent_id      TEXT NOT NULL, -- '' is the project's default
  url           TEXT NOT NULL,
  secret        TEXT NOT NULL,
  status        TEXT NOT NULL,
  context_limit INTEGER NOT NULL,
  timeout_s     INTEGER NOT NULL,
  created_at    INTEGER NOT NULL,
  revision      INTEGER NOT NULL,
  deleted_at    INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
-- At most one live webhook for an agent, and one default for a project.
CREATE UNIQUE INDEX webhooks_live ON webhooks (project_id, agent_id) WHERE deleted_at = 0;
CREATE INDEX webhooks_by_agent ON webhooks (agent_id);

CREATE TABLE events (
  id              TEXT PRIMARY KEY,
  project_id      TEXT NOT NULL,
  agent_id        TEXT NOT NULL,
  type            TEXT NOT NULL,
  channel         TEXT NOT NULL,
  direction       TEXT NOT NULL,
  conversation_id TEXT NOT NULL,
  message_id      TEXT NOT NULL,
  data            BLOB NOT NULL,
  state           BLOB,
  history_before  INTEGER NOT NULL,
  at              INTEGER NOT NULL
) WITHOUT ROWID;

-- A delivery's id is its event's with another prefix, so this primary key is
-- what lets an event have only one delivery.
CREATE TABLE deliveries (
  id              TEXT PRIMARY KEY,
  project_id      TEXT NOT NULL,
  agent_id        TEXT NOT NULL,
  webhook_id      TEXT NOT NULL, -- '' while unrouted
  conversation_id TEXT NOT NULL,
  message_id      TEXT NOT NULL,
  event_type      TEXT NOT NULL,
  channel         TEXT NOT NULL,
  context_limit   INTEGER NOT NULL, -- frozen when bound
  status          TEXT NOT NULL,
  attempts        INTEGER NOT NULL,
  round           INTEGER NOT NULL,
  round_attempts  INTEGER NOT NULL,
  -- handed is the run of the server that took the delivery into its memory, or 0.
  -- While attempts is 0 it answers "may this have been sent?" after a crash.
  handed          INTEGER NOT NULL,
  next_attempt_at INTEGER NOT NULL,
  last_attempt_at INTEGER NOT NULL,
  ended           TEXT NOT NULL, -- why it ended, where no attempt says it
  body            BLOB,          -- frozen by the first attempt that did not end it
  test            INTEGER NOT NULL,
  created_at      INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX deliveries_by_project ON deliveries (project_id, created_at);
CREATE INDEX deliveries_by_agent ON deliveries (agent_id, created_at);
-- The dispatcher's clock: what of an endpoint is due, oldest first.
CREATE INDEX deliveries_due ON deliveries (webhook_id, next_attempt_at) WHERE status = 'pending';

CREATE TABLE attempts (
  delivery_id   TEXT NOT NULL,
  number        INTEGER NOT NULL,
  id            TEXT NOT NULL,
  url           TEXT NOT NULL,
  sent_at       INTEGER NOT NULL,
  duration_us   INTEGER NOT NULL,
  legacy        TEXT NOT NULL, -- X-Webhook-Signature as sent
  standard      TEXT NOT NULL, -- webhook-signature as sent
  http_status   INTEGER NOT NULL,
  error         TEXT NOT NULL,
  response_body TEXT NOT NULL,
  PRIMARY KEY (delivery_id, number)
) WITHOUT ROWID;

CREATE TABLE idempotency (
  project_id TEXT NOT NULL,
  key        TEXT NOT NULL,
  answer     TEXT NOT NULL, -- JSON
  created_at INTEGER NOT NULL,
  PRIMARY KEY (project_id, key)
) WITHOUT ROWID;
CREATE INDEX idempotency_by_age ON idempotency (created_at);

-- Counters, kept in the transactions that change what they count. A delivery
-- counts in the hour it was created; unrouted ones do not count.
CREATE TABLE counts_hourly (
  project_id TEXT NOT NULL,
  hour       INTEGER NOT NULL, -- hours since the Unix epoch
  event_type TEXT NOT NULL,
  success    INTEGER NOT NULL,
  failed     INTEGER NOT NULL,
  pending    INTEGER NOT NULL,
  PRIMARY KEY (project_id, hour, event_type)
) WITHOUT ROWID;

CREATE TABLE counts_total (
  project_id TEXT PRIMARY KEY,
  success    INTEGER NOT NULL,
  failed     INTEGER NOT NULL,
  pending    INTEGER NOT NULL
) WITHOUT ROWID;
