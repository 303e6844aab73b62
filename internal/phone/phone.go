// Package phone is Switchhook's domain: projects, agents, their numbers, the
// conversations on them, the events that happen and the deliveries they cause.
//
// It holds the nouns, their ids, and the two rules that everything else rests
// on: how numbers are written (number.go) and which webhook an event goes to
// (routing.go). It knows nothing of HTTP, SQL or time passing, and must stay so:
// every other package imports this one, and this one imports none of them.
package phone

import (
	"encoding/base32"
	"encoding/binary"
	"strings"
	"time"

	"github.com/google/uuid"
)

func init() { uuid.EnableRandPool() }

// Prefixes of ids, as the contract lists them. An id is a prefix, "_" and an
// opaque part that sorts by time of creation.
const (
	PrefixProject      = "prj"
	PrefixKey          = "key"
	PrefixAgent        = "agt"
	PrefixNumber       = "num"
	PrefixConversation = "conv"
	PrefixMessage      = "msg"
	PrefixCall         = "call"
	PrefixEvent        = "evt"
	PrefixWebhook      = "wh"
	PrefixDelivery     = "del"
	PrefixAttempt      = "att"
	PrefixChange       = "aud"
)

// idEncoding keeps the order of the bytes it encodes: base32hex, lower case.
var idEncoding = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// NewID returns a fresh id with the given prefix. Its opaque part is a UUIDv7
// (RFC 9562) in 26 lower-case base32hex digits, so ids made by one process sort
// in the order they were made.
func NewID(prefix string) string {
	u, err := uuid.NewV7()
	if err != nil {
		panic("phone: the system gives no random bytes: " + err.Error())
	}
	b := make([]byte, 0, len(prefix)+27)
	b = append(b, prefix...)
	b = append(b, '_')
	return string(idEncoding.AppendEncode(b, u[:]))
}

// DeliveryID returns the id of the one delivery an event can have. The two
// share their opaque part: the primary key of deliveries is thereby the unique
// key that keeps an event from ever being delivered twice.
func DeliveryID(eventID string) string {
	return PrefixDelivery + strings.TrimPrefix(eventID, PrefixEvent)
}

// FirstID is the opaque part, with its "_", that ids made at or after a time sort
// behind: of a UUIDv7 the first 48 bits are milliseconds (RFC 9562, 5.7).
func FirstID(at time.Time) string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(at.UnixMilli())<<16)
	return "_" + idEncoding.EncodeToString(b[:])
}

// EventID is the inverse of DeliveryID.
func EventID(deliveryID string) string {
	return PrefixEvent + strings.TrimPrefix(deliveryID, PrefixDelivery)
}

// Project is the wall between tenants: every other noun belongs to one.
type Project struct {
	ID        string
	Name      string
	CreatedAt time.Time
}

// Key is an API key. The key itself is shown once, when it is made; what is
// kept is its hash.
type Key struct {
	ID        string
	ProjectID string
	Name      string
	// Hash is the SHA-256 of the whole key.
	Hash [32]byte
	// Hint is the first characters of the key, to tell keys apart in a list.
	Hint string
	// Operator marks the key of the person who runs the server, made or given
	// at its first start. Only such a key may create further projects.
	Operator bool
	// Scopes is what the key may do.
	Scopes    Scopes
	CreatedAt time.Time
	// RevokedAt is zero while the key is good.
	RevokedAt time.Time
}

// Agent is what events happen to.
type Agent struct {
	ID        string
	ProjectID string
	Name      string
	// Settings is the JSON object of everything else the agent was created or
	// patched with (voice, systemPrompt, …), kept and echoed, never interpreted.
	Settings  []byte
	CreatedAt time.Time
	// Numbers are the numbers attached to the agent, oldest first.
	Numbers []Number
}

// Number is a phone number of a project, attached to one agent or none.
type Number struct {
	ID        string
	ProjectID string
	// PhoneNumber is in E.164: "+15551234567".
	PhoneNumber string
	// Country is the ISO 3166-1 alpha-2 code, "US".
	Country string
	Type    string
	Status  string
	// AgentID is empty while the number is unassigned.
	AgentID   string
	CreatedAt time.Time
}

// Conversation is one participant on one number.
type Conversation struct {
	ID        string
	ProjectID string
	// AgentID is the agent the last event of the conversation belonged to.
	AgentID  string
	NumberID string
	// PhoneNumber is the number's, in E.164.
	PhoneNumber string
	// Participant is the other side: E.164 where it is a phone number, else as
	// given (a short code, a sender's name, an e-mail address on iMessage).
	Participant        string
	LastMessageAt      time.Time
	LastMessagePreview string
	MessageCount       int
	// Metadata is a JSON object, or nil. Receivers get it as conversationState.
	Metadata  []byte
	CreatedAt time.Time
}

// Message is one entry of a conversation's history. Messages are never changed
// once written: bodies that are sent again rest on that.
type Message struct {
	// Seq counts from 1 within the conversation.
	Seq            int64
	ID             string
	ConversationID string
	NumberID       string
	Direction      Direction
	Channel        Channel
	From, To       string
	Body           string
	MediaURLs      []string
	At             time.Time
}
