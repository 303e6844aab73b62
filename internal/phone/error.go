package phone

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Code says what kind of fault an Error is. The API maps it to a status.
type Code string

// The kinds of fault a caller may branch on.
const (
	Invalid        Code = "invalid"         // 422, with Faults
	BadRequest     Code = "bad_request"     // 400
	Unauthorized   Code = "unauthorized"    // 401
	Forbidden      Code = "forbidden"       // 403
	NotFound       Code = "not_found"       // 404
	Conflict       Code = "conflict"        // 409
	TooLarge       Code = "too_large"       // 413
	TooMany        Code = "too_many"        // 429
	NotImplemented Code = "not_implemented" // 501
	Unavailable    Code = "unavailable"     // 503
)

// Fault is one thing wrong with a request, in the contract's 422 shape.
type Fault struct {
	// Loc is the path to the value, starting with "body", "query" or "path";
	// its elements are strings and ints.
	Loc  []any  `json:"loc"`
	Msg  string `json:"msg"`
	Type string `json:"type"`
}

// Error is a fault that is the caller's to mend. Message is one sentence that
// says what is wrong and how to mend it; it holds nothing internal.
type Error struct {
	Code    Code
	Message string
	Faults  []Fault
	// RetryAfter says, for TooMany and Unavailable, when to come back.
	RetryAfter time.Duration
	// Err is the cause, for the log only.
	Err error
}

func (e *Error) Error() string {
	if e.Message == "" && len(e.Faults) > 0 {
		msgs := make([]string, len(e.Faults))
		for i, f := range e.Faults {
			msgs[i] = fmt.Sprintf("%v: %s", f.Loc, f.Msg)
		}
		return strings.Join(msgs, "; ")
	}
	return e.Message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf returns an Error with a formatted message.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// CodeOf returns the code of the first Error in err's chain, or "".
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}
