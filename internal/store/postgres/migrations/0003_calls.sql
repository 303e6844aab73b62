-- Calls and their turns.

CREATE TABLE calls (
  project_id       text COLLATE "C" NOT NULL,
  id               text COLLATE "C" NOT NULL, -- the carrier's
  agent_id         text COLLATE "C" NOT NULL,
  number_id        text COLLATE "C" NOT NULL,
  phone_number     text NOT NULL,
  participant      text NOT NULL,
  direction        text NOT NULL,
  status           text NOT NULL,
  started_at       bigint NOT NULL,
  ended_at         bigint NOT NULL, -- 0 while it goes on; what follows is told with the end
  duration_seconds double precision,
  reason           bytea,
  summary          bytea,
  sentiment        bytea,
  successful       bytea, -- JSON
  transcript       bytea, -- JSON: every word of the call
  snippet          bytea NOT NULL,
  PRIMARY KEY (project_id, id)
);
CREATE INDEX calls_by_project ON calls (project_id, started_at, id);
CREATE INDEX calls_by_agent ON calls (project_id, agent_id, started_at, id);
CREATE INDEX calls_by_number ON calls (project_id, number_id, started_at, id);

-- A turn is a delivery seen from its call. Delivery ids sort by time.
CREATE TABLE turns (
  project_id  text COLLATE "C" NOT NULL,
  call_id     text COLLATE "C" NOT NULL,
  delivery_id text COLLATE "C" NOT NULL,
  question    bytea NOT NULL,
  confidence  double precision,
  asked_at    bigint NOT NULL,
  status      text NOT NULL,
  answer      bytea NOT NULL,
  reply       bytea, -- JSON: what a repeat is answered; null while it is under way
  answered_at bigint NOT NULL,
  PRIMARY KEY (project_id, call_id, delivery_id)
);
