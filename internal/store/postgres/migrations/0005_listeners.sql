-- Those who listen: few, and looked for whenever a run is over.
CREATE INDEX webhooks_listeners ON webhooks (project_id, agent_id) WHERE listener AND deleted_at = 0;
