package sqlite

import (
	"slices"
	"testing"

	"switchhook.dev/switchhook/internal/store"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitemigration"
	"zombiezen.com/go/sqlite/sqlitex"
)

// Two conversations of one number, in a file from before messages were linked.
const beforeLinks = `
INSERT INTO projects VALUES ('prj_1', 'p', 0);
INSERT INTO numbers VALUES ('num_1', 'prj_1', '+12025550101', 'US', 'local', 'active', 'agt_1', 0);
INSERT INTO conversations (id, project_id, agent_id, number_id, phone_number, participant, message_count, last_at, last_preview, created_at)
  VALUES ('conv_1', 'prj_1', 'agt_1', 'num_1', '+12025550101', '+12025550191', 3, 5, 'e', 1),
         ('conv_2', 'prj_1', 'agt_1', 'num_1', '+12025550101', '+12025550192', 2, 4, 'd', 2),
         ('conv_3', 'prj_1', 'agt_1', 'num_1', '+12025550101', '+12025550193', 0, 4, '', 2);
INSERT INTO messages (conversation_id, n, id, number_id, direction, channel, sender, recipient, body, media_urls, at)
  VALUES ('conv_1', 1, 'msg_1', 'num_1', 'inbound', 'sms', '', '', 'a', '', 1),
         ('conv_2', 1, 'msg_2', 'num_1', 'inbound', 'sms', '', '', 'b', '', 2),
         ('conv_1', 2, 'msg_3', 'num_1', 'inbound', 'sms', '', '', 'c', '', 3),
         ('conv_2', 2, 'msg_4', 'num_1', 'inbound', 'sms', '', '', 'd', '', 4),
         ('conv_1', 3, 'msg_5', 'num_1', 'inbound', 'sms', '', '', 'e', '', 5);
INSERT INTO deliveries (id, project_id, agent_id, webhook_id, conversation_id, message_id, event_type, channel, direction,
  context_limit, history_before, status, attempts, round, round_attempts, handed, next_attempt_at, last_attempt_at, ended,
  test, strict, created_at, data)
  VALUES ('del_3', 'prj_1', 'agt_1', 'wh_1', 'conv_1', 'msg_3', 'agent.message', 'sms', 'inbound', 10, 2, 'success', 1, 1, 1, 1, 0, 0, '', 0, 0, 3, '{}'),
         ('del_5', 'prj_1', 'agt_1', 'wh_1', 'conv_1', 'msg_5', 'agent.message', 'sms', 'inbound', 10, 3, 'success', 1, 1, 1, 1, 0, 0, '', 0, 0, 5, '{}'),
         ('del_1', 'prj_1', 'agt_1', 'wh_1', 'conv_1', 'msg_1', 'agent.message', 'sms', 'inbound', 10, 1, 'success', 1, 1, 1, 1, 0, 0, '', 0, 0, 1, '{}');
`

func TestMessagesFromBeforeTheLinksAreLinked(t *testing.T) {
	path := t.TempDir() + "/old.db"
	c, err := sqlite.OpenConn(path, sqlite.OpenReadWrite|sqlite.OpenCreate|sqlite.OpenWAL)
	if err != nil {
		t.Fatal(err)
	}
	schema := sqlitemigration.Schema{AppID: appID}
	for _, name := range []string{"0001_schema", "0002_lean", "0003_listeners", "0004_doors", "0005_look", "0006_calls"} {
		b, err := migrations.ReadFile("migrations/" + name + ".sql")
		if err != nil {
			t.Fatal(err)
		}
		schema.Migrations = append(schema.Migrations, string(b))
	}
	if err := sqlitemigration.Migrate(t.Context(), c, schema); err != nil {
		t.Fatal(err)
	}
	if err := sqlitex.ExecuteScript(c, beforeLinks, nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for id, want := range map[string][]string{"conv_1": {"e", "c", "a"}, "conv_2": {"d", "b"}, "conv_3": nil, "num_1": {"e", "d", "c", "b", "a"}} {
		read := s.Messages
		if id == "num_1" {
			read = s.NumberMessages
		}
		got, _, err := read(t.Context(), "prj_1", id, store.Page{Limit: 10})
		var bodies []string
		for _, m := range got {
			bodies = append(bodies, m.Body)
		}
		if err != nil || !slices.Equal(bodies, want) {
			t.Errorf("%s: %v, %v, want %v", id, bodies, err, want)
		}
	}
	for id, want := range map[string][]string{"del_1": nil, "del_3": {"a"}, "del_5": {"a", "c"}} {
		content, err := s.Content(t.Context(), "prj_1", id)
		var bodies []string
		for _, m := range content.History {
			bodies = append(bodies, m.Body)
		}
		if err != nil || !slices.Equal(bodies, want) {
			t.Errorf("%s is delivered with %v, %v, want %v", id, bodies, err, want)
		}
	}
}
