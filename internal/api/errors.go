package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"switchhook.dev/switchhook/internal/phone"
)

// failure is an error in the contract's shape: detail is a sentence, or for 422
// a list of faults.
type failure struct {
	Detail     any `json:"detail" doc:"A sentence that says what is wrong and how to mend it; for 422 a list of faults, each with loc, msg and type."`
	status     int
	retryAfter time.Duration
}

func (f *failure) Error() string {
	return fmt.Sprint(f.Detail)
}

// GetStatus returns the HTTP status.
func (f *failure) GetStatus() int { return f.status }

// GetHeaders returns the headers that go with the status.
func (f *failure) GetHeaders() http.Header {
	h := http.Header{}
	switch {
	case f.status == http.StatusUnauthorized:
		h.Set("WWW-Authenticate", "Bearer")
	case f.status == http.StatusTooManyRequests || f.status == http.StatusServiceUnavailable:
		h.Set("Retry-After", strconv.Itoa(max(1, int(f.retryAfter/time.Second))))
	}
	return h
}

// statuses maps the kinds of fault to HTTP.
var statuses = map[phone.Code]int{
	phone.Invalid:        http.StatusUnprocessableEntity,
	phone.BadRequest:     http.StatusBadRequest,
	phone.Unauthorized:   http.StatusUnauthorized,
	phone.Forbidden:      http.StatusForbidden,
	phone.NotFound:       http.StatusNotFound,
	phone.Conflict:       http.StatusConflict,
	phone.TooLarge:       http.StatusRequestEntityTooLarge,
	phone.TooMany:        http.StatusTooManyRequests,
	phone.NotImplemented: http.StatusNotImplemented,
	phone.Unavailable:    http.StatusServiceUnavailable,
}

// toStatus makes of any error what the caller gets to see of it.
func toStatus(err error) *failure {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	e, ok := errors.AsType[*phone.Error](err)
	if !ok {
		return &failure{Detail: "the server met a fault of its own: its log says more; please report it", status: http.StatusInternalServerError}
	}
	f := &failure{Detail: e.Message, status: statuses[e.Code], retryAfter: e.RetryAfter}
	if e.Code == phone.Invalid {
		f.Detail = e.Faults
		if len(e.Faults) == 0 {
			f.Detail = []phone.Fault{{Loc: []any{"body"}, Msg: e.Message, Type: "value_error"}}
		}
	}
	return f
}

// failed is toStatus for an error that an operation met; the log gets what the
// caller does not.
func failed(ctx context.Context, operation string, err error) *failure {
	return ctx.Value(handlersInContext{}).(*handlers).failed(ctx, operation, err)
}

func (h *handlers) failed(ctx context.Context, operation string, err error) *failure {
	f := toStatus(err)
	cause := err
	if e, ok := errors.AsType[*phone.Error](err); ok {
		cause = e.Err
	}
	// A caller who has gone away is no fault of anybody's.
	if f.status >= http.StatusInternalServerError && cause != nil && ctx.Err() == nil {
		h.logger.ErrorContext(ctx, "a request failed", "operation", operation, "status", f.status, "error", cause)
	}
	return f
}

// Huma has only this package-level hook for the shape of its errors.
func init() { huma.NewError = newError }

// newError gives what huma finds wrong the contract's shape.
func newError(status int, msg string, errs ...error) huma.StatusError {
	switch {
	case status == http.StatusRequestEntityTooLarge:
		return &failure{Detail: "the body is too large: one event has at most 1 MiB, a batch 16 MiB", status: status}
	case status == http.StatusBadRequest && msg == "request body is required":
		return &failure{Detail: []phone.Fault{{Loc: []any{"body"}, Msg: "a body is required: send a JSON object", Type: "missing"}}, status: http.StatusUnprocessableEntity}
	case len(errs) == 0:
		return &failure{Detail: msg, status: status}
	}
	var faults []phone.Fault
	for _, err := range errs {
		if d, ok := errors.AsType[*faultDetail](err); ok {
			faults = append(faults, phone.Fault{Loc: location(d.Location), Msg: d.Message, Type: d.kind})
			continue
		}
		d, ok := errors.AsType[*huma.ErrorDetail](err)
		if !ok {
			return &failure{Detail: msg + ": " + err.Error(), status: status}
		}
		faults = append(faults, toFault(d, status))
	}
	return &failure{Detail: faults, status: http.StatusUnprocessableEntity}
}

// faultTypes names what huma says in the vocabulary that the vendor's SDKs know,
// by how its message begins.
var faultTypes = []struct{ prefix, kind string }{
	{"expected number <=", "less_than_equal"},
	{"expected number >=", "greater_than_equal"},
	{"expected length <=", "string_too_long"},
	{"expected length >=", "string_too_short"},
	{"expected array length <=", "too_long"},
	{"expected array length >=", "too_short"},
	{"expected integer", "int_type"},
	{"expected number", "float_type"},
	{"expected string to be RFC 3339", "datetime_parsing"},
	{"expected string to match", "string_pattern_mismatch"},
	{"expected string", "string_type"},
	{"expected boolean", "bool_type"},
	{"expected array", "list_type"},
	{"expected object", "dict_type"},
	{"expected value to be one of", "enum"},
	{"invalid integer", "int_parsing"},
	{"invalid boolean", "bool_parsing"},
	{"invalid date/time", "datetime_parsing"},
}

// faultDetail is a fault that knows its type.
type faultDetail struct {
	huma.ErrorDetail
	kind string
}

// How the messages begin that name a place which is not in huma's location.
const (
	missingPrefix   = "expected required property "
	wrongTypePrefix = "wrong type at "
)

// unmarshal is json.Unmarshal that speaks of places in the body, not of Go types.
// Huma checks types before; what is left are integers written as 10.0 or 1e1.
func unmarshal(data []byte, into any) error {
	if tooDeep(data) {
		return errors.New(deepMessage)
	}
	err := json.Unmarshal(data, into)
	if t, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return errors.New(wrongTypePrefix + t.Field)
	}
	return err
}

func toFault(d *huma.ErrorDetail, status int) phone.Fault {
	f := phone.Fault{Loc: location(d.Location), Msg: d.Message, Type: "value_error"}
	if rest, ok := strings.CutPrefix(d.Message, missingPrefix); ok {
		name, _, _ := strings.Cut(rest, " ")
		f.Loc, f.Msg, f.Type = append(f.Loc, name), name+" is required", "missing"
		return f
	}
	if place, ok := strings.CutPrefix(d.Message, wrongTypePrefix); ok {
		f.Loc, f.Msg, f.Type = append(f.Loc, location(place)...), "expected integer", "int_type"
		return f
	}
	if d.Message == deepMessage {
		f.Type = "json_invalid"
		return f
	}
	if status == http.StatusBadRequest && d.Location == "body" {
		f.Msg, f.Type = "the body is not valid JSON: "+d.Message, "json_invalid"
		return f
	}
	for _, t := range faultTypes {
		if strings.HasPrefix(d.Message, t.prefix) {
			f.Type = t.kind
			if t.kind == "datetime_parsing" {
				f.Msg = "expected a time in RFC 3339, like 2025-01-15T11:00:00Z"
			}
			break
		}
	}
	return f
}

// location reads huma's "body.media[2].url" as the contract's path.
func location(s string) []any {
	var loc []any
	for part := range strings.SplitSeq(s, ".") {
		name, index, found := strings.Cut(part, "[")
		if name != "" {
			loc = append(loc, name)
		}
		for found {
			var number string
			number, index, _ = strings.Cut(index, "]")
			if n, err := strconv.Atoi(number); err == nil {
				loc = append(loc, n)
			}
			_, index, found = strings.Cut(index, "[")
		}
	}
	return loc
}

// invalid is one fault of a body.
func invalid(kind, msg string, loc ...any) error {
	return &phone.Error{Code: phone.Invalid, Faults: []phone.Fault{{Loc: append([]any{"body"}, loc...), Msg: msg, Type: kind}}}
}

// notFound answers unknown paths and methods in the contract's shape.
func notFound(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		probe := &probe{header: http.Header{}}
		mux.ServeHTTP(probe, r)
		if probe.status == http.StatusMethodNotAllowed {
			w.Header().Set("Allow", probe.header.Get("Allow"))
			writeDetail(w, http.StatusMethodNotAllowed, "this path takes no "+r.Method+", only "+probe.header.Get("Allow"))
			return
		}
		writeDetail(w, http.StatusNotFound, "there is nothing at this path: see /docs for what there is")
	})
}

// probe learns what the mux would answer.
type probe struct {
	header http.Header
	status int
}

func (p *probe) Header() http.Header         { return p.header }
func (p *probe) Write(b []byte) (int, error) { return len(b), nil }
func (p *probe) WriteHeader(status int)      { p.status = status }

func writeDetail(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(failure{Detail: detail})
}
