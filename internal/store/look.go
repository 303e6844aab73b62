package store

import (
	"time"

	"switchhook.dev/switchhook/internal/phone"
)

// What people look at. Nothing here reads more than it shows, or more than a
// bound that it names: a log of any length costs the same.

// Minute is what happened to a project in one minute.
type Minute struct {
	ProjectID string
	// At is its beginning.
	At time.Time
	// Accepted counts events taken in, Attempts requests made, Success and Failed
	// deliveries that ended by one.
	Accepted, Attempts, Success, Failed int
	// Pending is how many deliveries of the project waited, when last looked at.
	Pending int
	// Latency is of first attempts that were answered: from the acceptance of the
	// event to the first byte of the answer.
	Latency Latency
}

// Add adds what another process, or another minute, counted. Of Pending, which is
// the project's in either, the greater one stays.
func (m *Minute) Add(o Minute) {
	m.Accepted += o.Accepted
	m.Attempts += o.Attempts
	m.Success += o.Success
	m.Failed += o.Failed
	m.Pending = max(m.Pending, o.Pending)
	m.Latency.Add(o.Latency)
}

// Session is somebody signed in to the dashboard.
type Session struct {
	ProjectID string
	// Hash is the SHA-256 of its token, KeyHash that of the API key it was begun with.
	Hash, KeyHash        [32]byte
	CreatedAt, ExpiresAt time.Time
}

// Place is a place in the log of deliveries, which is newest first. The zero
// value is its beginning, or where there is nothing more, its end.
type Place struct {
	At time.Time
	ID string
}

// LookScan is how many deliveries a look goes through, at most, to find those a
// filter selects.
const LookScan = 4_000

// Look is a page of the log.
type Look struct {
	Deliveries []phone.Delivery
	// Next is where the log goes on; zero where it ends.
	Next Place
	// Short says that LookScan deliveries were gone through before the page was
	// full: there may be more that match, from Next on.
	Short bool
}

// LookFilter selects what a look shows. Unlike elsewhere, no Status is every
// status, unrouted too. Offset and OwnWebhook have no meaning here.
type LookFilter struct {
	DeliveryFilter
	// Text is to occur in the event's data (its message, its numbers, its ids),
	// in any case of ASCII letters.
	Text string
	// After is where the page begins: the place itself is not on it.
	After Place
}

// TroubleScan is how many of a project's latest deliveries are looked at for
// endpoints in trouble.
const TroubleScan = 2_000

// Trouble is an endpoint with which something is wrong, or an agent with none.
type Trouble struct {
	// Webhook is nil where AgentID's events go nowhere.
	Webhook *phone.Webhook
	AgentID string
	// Failed, Retrying and Unrouted count, among the project's last TroubleScan
	// deliveries of the time asked for, those of the endpoint that failed, that
	// failed once and will be tried again, and that had nowhere to go.
	Failed, Retrying, Unrouted int
	// Waiting is what of the endpoint waits in the store, at most MaxWaiting.
	Waiting int
	// Last is the latest of these deliveries; its ID is "" where there is none.
	Last phone.Delivery
}

// MaxWaiting is where a store stops counting what of an endpoint waits.
const MaxWaiting = 10_000

// Waiting is what of a webhook waits in the store, besides what is under way.
// Together they are at most MaxWaiting.
type Waiting struct {
	// Fresh was never sent: it would be bound anew if the webhook went. Tried was,
	// or may have been: it would end as failed.
	Fresh, Tried int
}

// AgentScan is how many of an agent's latest deliveries are counted.
const AgentScan = 100

// AgentLook is what became of the last AgentScan deliveries of an agent.
type AgentLook struct {
	Counts
	Unrouted int
	// LastAt is when the latest of them was made; zero for none.
	LastAt time.Time
}

// ConversationScan is up to how many conversations a project may have for their
// list to be exact; of more, those are listed that the latest deliveries are of.
const ConversationScan = 2_000

// MaxCounted is where CountDeliveries stops.
const MaxCounted = 100_000
