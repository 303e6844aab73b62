-- What an event writes, made less: fewer rows, fewer indexes, fewer pages.

-- n counts a conversation's messages from 1, so that an event can say which came
-- before it without having seen them. Rows are appended; only indexes are random.
CREATE TABLE messages_lean (
  seq             INTEGER PRIMARY KEY,
  conversation_id TEXT NOT NULL,
  n               INTEGER NOT NULL,
  id              TEXT NOT NULL,
  number_id       TEXT NOT NULL,
  direction       TEXT NOT NULL,
  channel         TEXT NOT NULL,
  sender          TEXT NOT NULL,
  recipient       TEXT NOT NULL,
  body            TEXT NOT NULL,
  media_urls      TEXT NOT NULL, -- a JSON array, or '' for none
  at              INTEGER NOT NULL
);
INSERT INTO messages_lean
  SELECT seq, conversation_id, row_number() OVER (PARTITION BY conversation_id ORDER BY seq),
    id, number_id, direction, channel, sender, recipient, body, media_urls, at
  FROM messages ORDER BY seq;

-- A delivery holds its event: they are one to one, and made together.
--
-- A pending delivery is either in the store's hands or in the dispatcher's. In the
-- store's, next_attempt_at says when it is due. In the dispatcher's (held) it is 0;
-- a start of the server takes everything back that an earlier run held.
CREATE TABLE deliveries_lean (
  id              TEXT PRIMARY KEY, -- the event's with another prefix: an event has one delivery
  project_id      TEXT NOT NULL,
  agent_id        TEXT NOT NULL,
  webhook_id      TEXT NOT NULL, -- '' while unrouted
  conversation_id TEXT NOT NULL,
  message_id      TEXT NOT NULL,
  event_type      TEXT NOT NULL,
  channel         TEXT NOT NULL,
  direction       TEXT NOT NULL,
  context_limit   INTEGER NOT NULL, -- frozen when bound
  history_before  INTEGER NOT NULL, -- history is messages with a smaller n
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
  test            INTEGER NOT NULL,
  strict          INTEGER NOT NULL, -- its webhook asked for strict order when it was bound
  created_at      INTEGER NOT NULL,
  data            BLOB NOT NULL,
  state           BLOB,
  body            BLOB -- frozen by the first attempt that did not end it
) WITHOUT ROWID;
INSERT INTO deliveries_lean
  SELECT d.id, d.project_id, d.agent_id, d.webhook_id, d.conversation_id, d.message_id, d.event_type, d.channel, e.direction,
    d.context_limit,
    1 + (SELECT count(*) FROM messages m WHERE m.conversation_id = e.conversation_id AND m.seq < e.history_before),
    d.status, d.attempts, d.round, d.round_attempts, d.handed, d.next_attempt_at, d.last_attempt_at, d.ended, d.test, 0, d.created_at,
    e.data, e.state, d.body
  FROM deliveries d JOIN events e ON e.id = 'evt_' || substr(d.id, 5);

-- What remains are events that are delivered to nobody: what agents say themselves.
DELETE FROM events WHERE 'del_' || substr(id, 5) IN (SELECT id FROM deliveries);

DROP TABLE messages;
DROP TABLE deliveries;
ALTER TABLE messages_lean RENAME TO messages;
ALTER TABLE deliveries_lean RENAME TO deliveries;

CREATE UNIQUE INDEX messages_by_conversation ON messages (conversation_id, n);
CREATE INDEX messages_by_number ON messages (number_id, seq);
CREATE INDEX deliveries_by_project ON deliveries (project_id, created_at);
CREATE INDEX deliveries_by_agent ON deliveries (agent_id, created_at);
-- The dispatcher's clock: what of an endpoint is due, oldest first. What the
-- dispatcher holds is not in it, so that a fresh delivery never touches it.
CREATE INDEX deliveries_due ON deliveries (webhook_id, next_attempt_at) WHERE next_attempt_at > 0;
-- For strict order, and only for it (its pages are anywhere): what of a conversation waits.
CREATE INDEX deliveries_waiting ON deliveries (conversation_id, id) WHERE next_attempt_at > 0 AND strict = 1;
-- What the dispatcher holds: it grows and shrinks at its right edge.
CREATE INDEX deliveries_held ON deliveries (id) WHERE status = 'pending' AND next_attempt_at = 0;

ALTER TABLE webhooks ADD COLUMN ordering TEXT NOT NULL DEFAULT 'relaxed';
ALTER TABLE webhooks ADD COLUMN rate_limit INTEGER NOT NULL DEFAULT 0; -- a second; 0 is none
ALTER TABLE webhooks ADD COLUMN failing_since INTEGER NOT NULL DEFAULT 0;
-- 1 while pending deliveries of a webhook that is gone or disabled are left to settle.
ALTER TABLE webhooks ADD COLUMN settling INTEGER NOT NULL DEFAULT 0;
