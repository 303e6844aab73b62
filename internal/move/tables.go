package move

// table says how a table moves. Columns of the same name move as they are, so
// only differences are named here. A test compares the lists with both schemas.
type table struct {
	name string
	// projectID is the expression in SQLite of the project a row belongs to;
	// "" where the table has a column project_id.
	projectID string
	// columns fills columns of PostgreSQL with other expressions over SQLite's row.
	columns map[string]string
	// left are columns of SQLite that PostgreSQL has no use for.
	left []string
	// defaults are columns of PostgreSQL that are left to their default.
	defaults []string
	// last says that the table moves at the very end, all of it in the transaction
	// that brings the projects to life: without keys nobody can ask for them, and
	// without webhooks nothing of them is sent.
	last bool
}

// tables are what moves, in order.
var tables = []table{
	{name: "agents"},
	{name: "numbers"},
	{name: "conversations"},
	{name: "messages", projectID: "(SELECT c.project_id FROM conversations c WHERE c.id = messages.conversation_id)"},
	{name: "events"},
	{name: "deliveries"},
	{name: "attempts", projectID: "(SELECT d.project_id FROM deliveries d WHERE d.id = attempts.delivery_id)"},
	{name: "idempotency"},
	{name: "counts_hourly"},
	{name: "counts_total"},
	{name: "audit"},
	{name: "minutes"},
	{name: "sessions"},
	{name: "projects", projectID: "id", last: true},
	{name: "api_keys", last: true},
	{name: "webhooks", last: true},
}

// leftBehind are tables of SQLite that do not move, and why.
var leftBehind = map[string]string{
	"meta": "counts the starts of the server on this file",
}

// ownTables are tables that only PostgreSQL has, and why.
var ownTables = map[string]string{
	progressTable: "the move's own",
}
