PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -262144;
DROP INDEX deliveries_by_project;
-- One agent of the team each, with its number and webhook.
CREATE TEMP TABLE team AS
  SELECT row_number() OVER (ORDER BY a.id) - 1 AS i, a.project_id, a.id AS agent, n.id AS number, n.phone_number AS phone, w.id AS webhook
  FROM agents a JOIN numbers n ON n.agent_id = a.id JOIN webhooks w ON w.agent_id = a.id;
CREATE UNIQUE INDEX temp.team_by_i ON team (i);
CREATE TEMP TABLE start AS SELECT coalesce(max(seq), 0) AS seq FROM messages;
-- Ten old conversations of each, which all of the old messages are of.
INSERT INTO conversations (id, project_id, agent_id, number_id, phone_number, participant, message_count, last_at, last_preview, last_seq, created_at)
  WITH RECURSIVE k(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM k WHERE i < 999)
  SELECT printf('conv_%026d', k.i), project_id, agent, number, phone, printf('+1404%07d', 2000000 + k.i), ?1 / 1000, 0, 'old', start.seq + (k.i + 1) * (?1 / 1000), 0
  FROM start, k JOIN team ON team.i = k.i % 100;
INSERT INTO messages (seq, prior, conversation_id, n, id, number_id, direction, channel, sender, recipient, body, media_urls, at)
  WITH RECURSIVE k(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM k WHERE i < ?1 - 1)
  SELECT start.seq + k.i + 1, iif(k.i % (?1 / 1000), start.seq + k.i, 0), printf('conv_%026d', k.i / (?1 / 1000)), 1 + k.i % (?1 / 1000), printf('msg_%026d', k.i), number, 'inbound', 'sms',
    printf('+1404%07d', 2000000 + k.i / (?1 / 1000)), phone, 'Hello there, where is my order? I have been waiting for it.', '', 1700000000000000 + k.i
  FROM start, k JOIN team ON team.i = k.i / (?1 / 1000) % 100;
INSERT INTO deliveries (id, project_id, agent_id, webhook_id, conversation_id, message_id, event_type, channel, direction, context_limit,
    history_before, status, attempts, round, round_attempts, handed, next_attempt_at, last_attempt_at, ended, test, strict, created_at, data, state, body)
  WITH RECURSIVE k(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM k WHERE i < ?1 - 1)
  SELECT printf('del_%026d', k.i), project_id, agent, webhook, printf('conv_%026d', k.i % 1000), printf('msg_%026d', k.i), 'agent.message',
    'sms', 'inbound', 10, 1, 'success', 1, 1, 1, 1, 0, 1700000000000000 + k.i * 100000, '', 0, 0, 1700000000000000 + k.i * 100000,
    CAST('{"messageId":"msg_00000000000000000000000000","conversationId":"conv_00000000000000000000000000","numberId":"num_00000000000000000000000000","from":"+14042000000","to":"+12025550000","contact":null,"message":"Hello there, where is my order? I have been waiting for it.","mediaUrl":null,"mediaUrls":[],"direction":"inbound","receivedAt":"2026-01-02T03:04:05Z"}' AS BLOB), NULL, NULL
  FROM k JOIN team ON team.i = k.i % 100;
INSERT INTO attempts (delivery_id, number, id, url, sent_at, duration_us, legacy, standard, http_status, error, response_body)
  WITH RECURSIVE k(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM k WHERE i < ?1 - 1)
  SELECT printf('del_%026d', k.i), 1, printf('att_%026d', k.i), 'http://127.0.0.1/hook', 1700000000000000 + k.i * 100000, 1000,
    'sha256=0000000000000000000000000000000000000000000000000000000000000000', 'v1,00000000000000000000000000000000000000000000', 200, '', ''
  FROM k;
CREATE INDEX deliveries_by_project ON deliveries (project_id, created_at);
INSERT INTO agent_log SELECT agent_id, created_at, id FROM deliveries WHERE created_at < 1700000000000000 + ?1 * 100000 ORDER BY 1, 2, 3;
INSERT INTO counts_hourly (project_id, hour, event_type, success, failed, pending)
  SELECT project_id, created_at / 3600000000, 'agent.message', count(*), 0, 0 FROM deliveries
  WHERE created_at < 1700000000000000 + ?1 * 100000 GROUP BY 1, 2
  ON CONFLICT DO UPDATE SET success = success + excluded.success;
UPDATE counts_total SET success = success + ?1;
PRAGMA journal_mode = WAL;
