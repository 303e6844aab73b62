package move

// table says how a table moves. Columns of the same name move as they are, so
// only differences are named here. A test compares the lists with both schemas.
type table struct {
	// name is the table's name in SQLite.
	name string
	// to is its name in PostgreSQL, where that is another, and rows the condition
	// that tells its rows there from those of other tables that went to the same.
	to, rows string
	// projectID is the expression in SQLite of the project a row belongs to;
	// "" where the table has a column project_id.
	projectID string
	// columns fills columns of PostgreSQL with other expressions over SQLite's row.
	columns map[string]string
	// left are columns of SQLite that PostgreSQL has no use for.
	left []string
	// defaults are columns of PostgreSQL that are left to their default.
	defaults []string
	// loose are columns of PostgreSQL that nodes may change as soon as a row is
	// there, so that they are not compared.
	loose []string
	// last says that the table moves at the very end, all of it in the transaction
	// that brings the projects to life: without keys nobody can ask for them, and
	// without webhooks nothing of them is sent.
	last bool
}

// tables are what moves, in order.
var tables = []table{
	{name: "agents"},
	{name: "numbers"},
	{
		name: "conversations", defaults: []string{"owner"}, // no run: whoever has an event for it looks
		left: []string{"last_seq"},
	},
	{
		name: "messages", projectID: "(SELECT c.project_id FROM conversations c WHERE c.id = messages.conversation_id)",
		left: []string{"seq", "prior"}, // places in SQLite's own file; n is the one in the conversation
	},
	{name: "events"},
	{
		name: "deliveries",
		columns: map[string]string{
			// No run has the number -1: what is pending is anybody's to take, and what an
			// earlier server had in hand may have been sent, whichever run it was.
			"owner":  "CASE status WHEN 'pending' THEN -1 ELSE 0 END",
			"handed": "CASE WHEN handed > 0 THEN -1 ELSE 0 END",
		},
		left:  []string{"prior"},
		loose: []string{"owner"},
	},
	{name: "attempts", projectID: "(SELECT d.project_id FROM deliveries d WHERE d.id = attempts.delivery_id)"},
	{name: "idempotency"},
	{
		name: "counts_hourly", to: "counts", rows: "hour >= 0",
		columns: map[string]string{"slot": "0"},
	},
	{
		name: "counts_total", to: "counts", rows: "hour = -1",
		columns: map[string]string{"hour": "-1", "event_type": "''", "slot": "0"},
	},
	{name: "audit"},
	{name: "minutes"},
	{name: "sessions"},
	{name: "calls"},
	{name: "turns"},
	{name: "projects", projectID: "id", columns: map[string]string{"project_id": "id"}, last: true, defaults: []string{"routing"}}, // counted where it is used
	{name: "api_keys", last: true},
	{name: "webhooks", last: true, defaults: []string{"changed_at"}}, // now: by it nodes find what is new
}

// leftBehind are tables of SQLite that do not move, and why.
var leftBehind = map[string]string{
	"meta":      "counts the starts of the server on this file",
	"agent_log": "is an index, which PostgreSQL has as one",
}

// ownTables are tables that only PostgreSQL has, and why.
var ownTables = map[string]string{
	progressTable:       "the move's own",
	"schema_migrations": "which migrations were applied",
	"nodes":             "the nodes that are alive",
	"given":             "what nodes hand to each other",
}
