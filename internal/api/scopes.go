package api

import (
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"switchhook.dev/switchhook/internal/phone"
)

// scopes says what a key must be allowed for each operation. A server with an
// operation that is missing here does not start.
var scopes = map[string]phone.Scopes{
	"create-event":  phone.ScopeIngest,
	"create-events": phone.ScopeIngest,

	"list-projects":              phone.ScopeRead,
	"list-agents":                phone.ScopeRead,
	"get-agent":                  phone.ScopeRead,
	"list-numbers":               phone.ScopeRead,
	"get-number":                 phone.ScopeRead,
	"list-number-messages":       phone.ScopeRead,
	"list-conversations":         phone.ScopeRead,
	"list-calls":                 phone.ScopeRead,
	"get-call":                   phone.ScopeRead,
	"get-call-transcript":        phone.ScopeRead,
	"list-agent-calls":           phone.ScopeRead,
	"list-number-calls":          phone.ScopeRead,
	"list-agent-conversations":   phone.ScopeRead,
	"get-conversation":           phone.ScopeRead,
	"list-conversation-messages": phone.ScopeRead,
	"get-default-webhook":        phone.ScopeRead,
	"get-agent-webhook":          phone.ScopeRead,
	"list-deliveries":            phone.ScopeRead,
	"list-agent-deliveries":      phone.ScopeRead,
	"delivery-stats":             phone.ScopeRead,
	"delivery-totals":            phone.ScopeRead,
	"get-delivery":               phone.ScopeRead,
	"stream-deliveries":          phone.ScopeRead,
	"get-agent-listener":         phone.ScopeRead,

	"listen":                 phone.ScopeWrite,
	"create-agent":           phone.ScopeWrite,
	"update-agent":           phone.ScopeWrite,
	"delete-agent":           phone.ScopeWrite,
	"create-number":          phone.ScopeWrite,
	"delete-number":          phone.ScopeWrite,
	"attach-number":          phone.ScopeWrite,
	"detach-number":          phone.ScopeWrite,
	"update-conversation":    phone.ScopeWrite,
	"set-default-webhook":    phone.ScopeWrite,
	"patch-default-webhook":  phone.ScopeWrite,
	"delete-default-webhook": phone.ScopeWrite,
	"test-default-webhook":   phone.ScopeWrite,
	"set-agent-webhook":      phone.ScopeWrite,
	"patch-agent-webhook":    phone.ScopeWrite,
	"delete-agent-webhook":   phone.ScopeWrite,
	"test-agent-webhook":     phone.ScopeWrite,
	"retry-delivery":         phone.ScopeWrite,
	"retry-deliveries":       phone.ScopeWrite,

	"list-keys":      phone.ScopeAdmin,
	"create-key":     phone.ScopeAdmin,
	"revoke-key":     phone.ScopeAdmin,
	"list-changes":   phone.ScopeAdmin,
	"create-project": phone.ScopeAdmin, // and an operator's key
}

// checkScope refuses a key that may not do an operation.
func checkScope(k phone.Key, op *huma.Operation) error {
	need := scopes[op.OperationID]
	if k.Scopes.Allow(need) {
		return nil
	}
	has := "no scope at all"
	if k.Scopes != 0 {
		has = "the scope " + strings.Join(k.Scopes.Names(), " and ")
	}
	return phone.Errorf(phone.Forbidden,
		"this key has %s and this needs the scope %s: use another key, or make one with `switchhook keys create --scope %s`", has, need, need)
}

// describeScope says in the document what an operation needs.
func describeScope(op *huma.Operation) {
	need := scopes[op.OperationID]
	if need == 0 {
		panic("api: nobody said which scope " + op.OperationID + " needs: add it to scopes.go")
	}
	if op.Description != "" {
		op.Description += "\n\n"
	}
	op.Description += "Needs the scope `" + need.String() + "`."
}
