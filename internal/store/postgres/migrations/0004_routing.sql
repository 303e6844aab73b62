-- By which a node knows whether what it remembers of a project's routing is still so: the
-- number of the transaction that changed it last. Whoever changes numbers, agents or
-- webhooks under the project's lock sets it (tx.go); the triggers do it for nodes of the
-- version before, and for whoever writes to the tables by hand.
ALTER TABLE projects ADD COLUMN routing bigint NOT NULL DEFAULT 0;

CREATE FUNCTION routing_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP <> 'INSERT' THEN
    UPDATE projects SET routing = txid_current() WHERE project_id = OLD.project_id AND routing <> txid_current();
  END IF;
  IF TG_OP <> 'DELETE' THEN
    UPDATE projects SET routing = txid_current() WHERE project_id = NEW.project_id AND routing <> txid_current();
  END IF;
  RETURN NULL;
END $$;

-- Citus takes no triggers on tables that it spreads: nodes there are all of one version.
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') THEN
    RETURN;
  END IF;
  CREATE TRIGGER routing_changed AFTER INSERT OR DELETE OR UPDATE OF project_id, id, phone_number, agent_id ON numbers
    FOR EACH ROW EXECUTE FUNCTION routing_changed();
  CREATE TRIGGER routing_changed AFTER INSERT OR DELETE OR UPDATE OF project_id, id ON agents
    FOR EACH ROW EXECUTE FUNCTION routing_changed();
  CREATE TRIGGER routing_changed AFTER INSERT OR DELETE OR UPDATE OF project_id, id, agent_id, url, secret, status, context_limit, timeout_s,
      revision, ordering, rate_limit, listener, owner, previous_secret, previous_until, deleted_at ON webhooks
    FOR EACH ROW EXECUTE FUNCTION routing_changed();
END $$;
