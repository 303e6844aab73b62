-- The schema. Times are microseconds since the Unix epoch, UTC; 0 is "none".
-- Ids sort by time, byte by byte, whatever the database's own collation is.
--
-- Every table that grows with use has project_id in every key: a project's rows
-- can be moved together, to a shard of their own.

-- Each start of a server is a run with a number of its own. Every pending delivery
-- names the run that sends it as its owner.
CREATE SEQUENCE runs;

-- The runs that are alive. What a run owns whose lease ended is anybody's to take.
CREATE TABLE nodes (
  run         bigint PRIMARY KEY,
  name        text NOT NULL,
  started_at  bigint NOT NULL,
  lease_until timestamptz NOT NULL -- by the database's clock
);

CREATE TABLE projects (
  project_id text COLLATE "C" PRIMARY KEY,
  name       text NOT NULL,
  created_at bigint NOT NULL
);

CREATE TABLE api_keys (
  project_id text COLLATE "C" NOT NULL,
  id         text COLLATE "C" NOT NULL,
  name       text NOT NULL,
  hash       bytea NOT NULL,
  hint       text NOT NULL,
  operator   boolean NOT NULL,
  created_at bigint NOT NULL,
  revoked_at bigint NOT NULL DEFAULT 0,
  scopes     text NOT NULL, -- admin, write, ingest and read, separated by spaces
  PRIMARY KEY (project_id, id)
);
-- A key is looked up before its project is known: this table is small, and whole everywhere.
CREATE UNIQUE INDEX api_keys_by_hash ON api_keys (hash);

-- Every change of configuration, written in its own transaction and never changed.
CREATE TABLE audit (
  project_id text COLLATE "C" NOT NULL,
  id         text COLLATE "C" NOT NULL, -- sorts by time
  key_id     text NOT NULL, -- '' is the server itself
  key_name   text NOT NULL,
  address    text NOT NULL,
  action     text NOT NULL,
  target     text NOT NULL,
  detail     text NOT NULL,
  at         bigint NOT NULL,
  PRIMARY KEY (project_id, id)
);

CREATE TABLE agents (
  project_id text COLLATE "C" NOT NULL,
  id         text COLLATE "C" NOT NULL,
  name       text NOT NULL,
  settings   bytea NOT NULL, -- a JSON object
  created_at bigint NOT NULL,
  PRIMARY KEY (project_id, id)
);

CREATE TABLE numbers (
  project_id   text COLLATE "C" NOT NULL,
  id           text COLLATE "C" NOT NULL,
  phone_number text COLLATE "C" NOT NULL, -- E.164
  country      text NOT NULL,
  type         text NOT NULL,
  status       text NOT NULL,
  agent_id     text COLLATE "C" NOT NULL, -- '' is unassigned
  created_at   bigint NOT NULL,
  PRIMARY KEY (project_id, id)
);
CREATE UNIQUE INDEX numbers_by_phone ON numbers (project_id, phone_number);
CREATE INDEX numbers_by_agent ON numbers (project_id, agent_id);

-- No index holds what an event changes here, so that a change stays on its page.
CREATE TABLE conversations (
  project_id    text COLLATE "C" NOT NULL,
  id            text COLLATE "C" NOT NULL,
  agent_id      text COLLATE "C" NOT NULL,
  number_id     text COLLATE "C" NOT NULL,
  phone_number  text NOT NULL,
  participant   text COLLATE "C" NOT NULL,
  metadata      bytea, -- a JSON object
  message_count bigint NOT NULL,
  last_at       bigint NOT NULL,
  last_preview  bytea NOT NULL,
  created_at    bigint NOT NULL,
  PRIMARY KEY (project_id, id)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
-- A conversation is one participant on one number.
CREATE UNIQUE INDEX conversations_by_pair ON conversations (project_id, number_id, participant);

-- Append-only: bodies that are rendered again rest on messages never changing.
-- n counts a conversation's messages from 1. What people write may hold NUL, which
-- text cannot.
CREATE TABLE messages (
  project_id      text COLLATE "C" NOT NULL,
  conversation_id text COLLATE "C" NOT NULL,
  n               bigint NOT NULL,
  id              text COLLATE "C" NOT NULL,
  number_id       text COLLATE "C" NOT NULL,
  direction       text NOT NULL,
  channel         text NOT NULL,
  sender          text NOT NULL,
  recipient       text NOT NULL,
  body            bytea NOT NULL,
  media_urls      text NOT NULL, -- a JSON array, or '' for none
  at              bigint NOT NULL,
  PRIMARY KEY (project_id, conversation_id, n)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.1);
CREATE INDEX messages_by_number ON messages (project_id, number_id, id);

CREATE TABLE webhooks (
  project_id    text COLLATE "C" NOT NULL,
  id            text COLLATE "C" NOT NULL,
  agent_id      text COLLATE "C" NOT NULL, -- '' is the project's default
  url           text NOT NULL,
  secret        text NOT NULL,
  status        text NOT NULL,
  context_limit bigint NOT NULL,
  timeout_s     bigint NOT NULL,
  created_at    bigint NOT NULL,
  revision      bigint NOT NULL,
  ordering      text NOT NULL,
  rate_limit    bigint NOT NULL, -- a second; 0 is none
  failing_since bigint NOT NULL DEFAULT 0,
  -- A webhook that `switchhook listen` made: it lives as long as its connection, and
  -- counts as the agent's own while it does. owner is the node that has the connection.
  listener      boolean NOT NULL,
  owner         text NOT NULL,
  -- true while pending deliveries of a webhook that is gone or disabled are left to settle.
  settling      boolean NOT NULL DEFAULT false,
  -- The secret before the present one, which deliveries are signed with too for a day.
  previous_secret text NOT NULL DEFAULT '',
  previous_until  bigint NOT NULL DEFAULT 0, -- 0 is none
  deleted_at    bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (project_id, id)
);
-- At most one live webhook for an agent, one default for a project, and one listener for an agent.
CREATE UNIQUE INDEX webhooks_live ON webhooks (project_id, agent_id, listener) WHERE deleted_at = 0;
CREATE INDEX webhooks_by_agent ON webhooks (project_id, agent_id);
-- For whose project is not known: it never changes, and is asked once.
CREATE INDEX webhooks_by_id ON webhooks (id);
CREATE INDEX webhooks_settling ON webhooks (project_id) WHERE settling;
CREATE INDEX webhooks_troubled ON webhooks (project_id) WHERE deleted_at = 0 AND (failing_since > 0 OR status = 'disabled');

-- Events that are delivered to nobody: what agents say themselves.
CREATE TABLE events (
  project_id      text COLLATE "C" NOT NULL,
  id              text COLLATE "C" NOT NULL,
  agent_id        text COLLATE "C" NOT NULL,
  type            text NOT NULL,
  channel         text NOT NULL,
  direction       text NOT NULL,
  conversation_id text COLLATE "C" NOT NULL,
  message_id      text COLLATE "C" NOT NULL,
  data            bytea NOT NULL,
  state           bytea,
  history_before  bigint NOT NULL,
  at              bigint NOT NULL,
  PRIMARY KEY (project_id, id)
) PARTITION BY RANGE (id);

-- A delivery holds its event: they are one to one, and made together. Its id is the
-- event's with another prefix, so the primary key lets an event have only one.
--
-- A pending delivery is either in the store's hands (next_attempt_at says when it is
-- due) or in its owner's dispatcher's (held: next_attempt_at is 0).
CREATE TABLE deliveries (
  project_id      text COLLATE "C" NOT NULL,
  id              text COLLATE "C" NOT NULL,
  agent_id        text COLLATE "C" NOT NULL,
  webhook_id      text COLLATE "C" NOT NULL, -- '' while unrouted
  conversation_id text COLLATE "C" NOT NULL,
  message_id      text COLLATE "C" NOT NULL,
  event_type      text NOT NULL,
  channel         text NOT NULL,
  direction       text NOT NULL,
  context_limit   bigint NOT NULL, -- frozen when bound
  history_before  bigint NOT NULL, -- history is messages with a smaller n
  status          text NOT NULL,
  attempts        bigint NOT NULL,
  round           bigint NOT NULL,
  round_attempts  bigint NOT NULL,
  owner           bigint NOT NULL, -- the run that sends it, and nobody else does; 0 once it ended
  -- handed is the run that took the delivery into its memory last, or 0. While
  -- attempts is 0 it answers "may this have been sent?" after a crash.
  handed          bigint NOT NULL,
  next_attempt_at bigint NOT NULL,
  last_attempt_at bigint NOT NULL,
  ended           text NOT NULL, -- why it ended, where no attempt says it
  test            boolean NOT NULL,
  strict          boolean NOT NULL, -- its webhook asked for strict order when it was bound
  created_at      bigint NOT NULL,
  data            bytea NOT NULL,
  state           bytea,
  body            bytea, -- frozen by the first attempt that did not end it
  PRIMARY KEY (project_id, id)
) PARTITION BY RANGE (id);
CREATE INDEX deliveries_by_project ON deliveries (project_id, created_at, id);
CREATE INDEX deliveries_by_agent ON deliveries (project_id, agent_id, created_at, id);
-- These two hold exceptions only: an event that is delivered at once is never in them.
CREATE INDEX deliveries_failed ON deliveries (project_id, created_at, id) WHERE status = 'failed';
CREATE INDEX deliveries_unrouted ON deliveries (project_id, created_at, id) WHERE status = 'unrouted';
-- The dispatchers' clock: what of an endpoint is due, oldest first. What a
-- dispatcher holds is not in it, so that a fresh delivery never touches it.
CREATE INDEX deliveries_due ON deliveries (project_id, webhook_id, owner, next_attempt_at, id) WHERE next_attempt_at > 0;
-- What of a conversation is pending: order within it holds across nodes.
CREATE INDEX deliveries_waiting ON deliveries (project_id, conversation_id, id) WHERE status = 'pending';
-- What each run owns.
CREATE INDEX deliveries_owned ON deliveries (owner, project_id, webhook_id) WHERE status = 'pending';

-- An attempt lies in the partition of its delivery's time, and goes with it.
CREATE TABLE attempts (
  project_id    text COLLATE "C" NOT NULL,
  delivery_id   text COLLATE "C" NOT NULL,
  number        bigint NOT NULL,
  id            text COLLATE "C" NOT NULL,
  url           text NOT NULL,
  sent_at       bigint NOT NULL,
  duration_us   bigint NOT NULL,
  legacy        text NOT NULL, -- X-Webhook-Signature as sent
  standard      text NOT NULL, -- webhook-signature as sent
  http_status   bigint NOT NULL,
  error         bytea NOT NULL,
  response_body bytea NOT NULL,
  dns_us        bigint NOT NULL,
  connect_us    bigint NOT NULL,
  tls_us        bigint NOT NULL,
  first_byte_us bigint NOT NULL,
  PRIMARY KEY (project_id, delivery_id, number)
) PARTITION BY RANGE (delivery_id);

-- A net for ids of a time that nobody made a partition for.
CREATE TABLE events_rest PARTITION OF events DEFAULT;
CREATE TABLE deliveries_rest PARTITION OF deliveries DEFAULT WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);
CREATE TABLE attempts_rest PARTITION OF attempts DEFAULT;

CREATE TABLE idempotency (
  project_id text COLLATE "C" NOT NULL,
  key        text COLLATE "C" NOT NULL,
  answer     text NOT NULL, -- JSON
  created_at bigint NOT NULL,
  PRIMARY KEY (project_id, key)
) WITH (autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX idempotency_by_age ON idempotency (created_at);

-- Counters, kept in the transactions that change what they count. A delivery counts
-- in the hour it was created (hours since the Unix epoch), and with hour -1 and no
-- type in the total of all time; unrouted ones do not count. Transactions that go on
-- at once count in slots of their own, so that none waits for another: the sum counts.
CREATE TABLE counts (
  project_id text COLLATE "C" NOT NULL,
  hour       bigint NOT NULL,
  event_type text COLLATE "C" NOT NULL,
  slot       bigint NOT NULL,
  success    bigint NOT NULL,
  failed     bigint NOT NULL,
  pending    bigint NOT NULL,
  PRIMARY KEY (project_id, hour, event_type, slot)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

-- What happened in a minute, as one process counted it: its row is written over
-- while the minute lasts. Readers add the processes up.
CREATE TABLE minutes (
  project_id text COLLATE "C" NOT NULL,
  minute     bigint NOT NULL, -- minutes since the Unix epoch
  process    text COLLATE "C" NOT NULL,
  accepted   bigint NOT NULL,
  attempts   bigint NOT NULL,
  success    bigint NOT NULL,
  failed     bigint NOT NULL,
  pending    bigint NOT NULL, -- of the project, when the row was written
  latency    bytea NOT NULL,  -- a histogram, see store.Latency
  PRIMARY KEY (project_id, minute, process)
) WITH (fillfactor = 70);

-- Who is signed in to the dashboard: of a session's token and of its key only hashes.
CREATE TABLE sessions (
  project_id text COLLATE "C" NOT NULL,
  hash       bytea NOT NULL,
  key_hash   bytea NOT NULL,
  created_at bigint NOT NULL,
  expires_at bigint NOT NULL,
  PRIMARY KEY (project_id, hash)
);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);
