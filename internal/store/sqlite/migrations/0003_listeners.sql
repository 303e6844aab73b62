-- A webhook that `switchhook listen` made: it lives as long as its connection, and
-- counts as the agent's own while it does.
ALTER TABLE webhooks ADD COLUMN listener INTEGER NOT NULL DEFAULT 0;
-- The node that has a listener's connection; '' where there is only one.
ALTER TABLE webhooks ADD COLUMN owner TEXT NOT NULL DEFAULT '';

-- At most one live webhook for an agent, one default for a project, and one listener for an agent.
DROP INDEX webhooks_live;
CREATE UNIQUE INDEX webhooks_live ON webhooks (project_id, agent_id, listener) WHERE deleted_at = 0;
