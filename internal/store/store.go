// Package store holds what every store speaks: the filters and counts that its
// readers and the stores themselves share. The stores are in sqlite/ (and, to
// come, postgres/); what they must do is written down as tests, in storetest/.
//
// Interfaces to a store are declared where they are used, with only the methods
// used there.
package store

import (
	"time"

	"switchhook.dev/switchhook/internal/phone"
)

// Counts counts deliveries by state. Unrouted ones do not count.
type Counts struct{ Success, Failed, Pending int }

// Total is the sum.
func (c Counts) Total() int { return c.Success + c.Failed + c.Pending }

// HourCount is the counts of one event type's deliveries created in one hour.
type HourCount struct {
	Hour      time.Time
	EventType phone.EventType
	Counts
}

// DeliveryFilter selects deliveries of a project, newest first. Empty fields
// select everything, except that unrouted deliveries come only where Status
// asks for them.
type DeliveryFilter struct {
	ProjectID string
	AgentID   string
	WebhookID string
	Status    phone.DeliveryStatus
	EventType phone.EventType
	Channel   phone.Channel
	// OwnWebhook selects, with AgentID, what was bound to a webhook of the agent's own.
	OwnWebhook bool
	// Since is inclusive, Until exclusive.
	Since, Until time.Time
	Limit        int
	Offset       int
	// Progress, where set, is told by RetryAll, again and again, how many it has
	// taken so far.
	Progress func(taken int)
}

// CallFilter selects calls of a project, the latest first. Empty fields select
// everything.
type CallFilter struct {
	ProjectID string
	AgentID   string
	NumberID  string
	Status    string
	Direction phone.Direction
	// Search is part of either side's number.
	Search        string
	Limit, Offset int
}

// MaxFilteredTotal is where a store stops counting what a filter selects.
const MaxFilteredTotal = 10_000

// DeliveryDetail is one delivery with all that is known of it.
type DeliveryDetail struct {
	phone.Delivery
	// Log is every attempt, oldest first.
	Log []phone.Attempt
	// WebhookURL is the bound webhook's today; "" where unrouted.
	WebhookURL string
}

// Page cuts a list that is newest first.
type Page struct {
	Limit, Offset int
	// Before and After are ids; "" is no bound.
	Before, After string
}

// Batch is what a dispatcher takes from the store for one endpoint.
type Batch struct {
	Jobs []*phone.Job
	// More says that further deliveries are due already.
	More bool
	// NextDue is when the next delivery that is not yet due will be; zero for none,
	// and where there is more.
	NextDue time.Time
}

// Recorded says what became of a result.
type Recorded struct {
	// Applied is false where the delivery had moved on without this attempt
	// (ended by hand, or replayed): the attempt is then only logged.
	Applied bool
	// Status is the delivery's state after it.
	Status phone.DeliveryStatus
	// Number is the attempt's number on record.
	Number int
}

// Adopted is what a node took over of nodes that are gone.
type Adopted struct {
	Deliveries int
	// Webhooks are those the deliveries are bound to.
	Webhooks []string
	// More says that there may be more to adopt.
	More bool
}

// Room is the dispatcher's memory, as an accept transaction sees it.
type Room interface {
	// Reserve promises room for a delivery of a webhook, where there is any.
	Reserve(webhookID string) bool
	// Release returns a promise that is not needed after all.
	Release(webhookID string)
}

// Secret is what is kept of a webhook's secrets.
type Secret struct {
	WebhookID string
	Secret    string
	// Previous is "" where there is none.
	Previous string
}
