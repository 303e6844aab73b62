package phone

import "strings"

// Scopes is what a key may do: a set of the constants below.
type Scopes uint8

// The scopes of a key. Admin includes all, write includes ingest and read.
const (
	// ScopeRead lets a key read everything of its project but secrets, keys and
	// the audit log.
	ScopeRead Scopes = 1 << iota
	// ScopeIngest lets a key hand events in, and nothing else.
	ScopeIngest
	// ScopeWrite lets a key change agents, numbers, conversations and webhooks,
	// and send deliveries again.
	ScopeWrite
	// ScopeAdmin lets a key make and revoke keys and read the audit log too.
	ScopeAdmin
)

// scopeNames are the scopes as they are written, from the least to the most.
var scopeNames = []struct {
	scope Scopes
	name  string
}{{ScopeRead, "read"}, {ScopeIngest, "ingest"}, {ScopeWrite, "write"}, {ScopeAdmin, "admin"}}

// Allow says whether a key with scopes s may do what needs all of need. Where
// need is empty nobody said what is needed, and only admin may.
func (s Scopes) Allow(need Scopes) bool {
	if s&ScopeAdmin != 0 {
		return true
	}
	if s&ScopeWrite != 0 {
		s |= ScopeRead | ScopeIngest
	}
	return need != 0 && s&need == need
}

// Names lists the scopes of a set, from the least to the most; never nil.
func (s Scopes) Names() []string {
	names := []string{}
	for _, n := range scopeNames {
		if s&n.scope != 0 {
			names = append(names, n.name)
		}
	}
	return names
}

// String writes a set as its names, separated by spaces.
func (s Scopes) String() string { return strings.Join(s.Names(), " ") }

// ParseScopes reads what String writes. The error is an *Error with code Invalid
// and no faults.
func ParseScopes(text string) (s Scopes, err error) {
next:
	for field := range strings.FieldsSeq(text) {
		for _, n := range scopeNames {
			if field == n.name {
				s |= n.scope
				continue next
			}
		}
		return 0, Errorf(Invalid, "%.32q is no scope: give admin, write, ingest or read", field)
	}
	return s, nil
}
