package postgres

import (
	"context"
	"crypto/x509"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"switchhook.dev/switchhook/internal/phone"
)

// What PostgreSQL says in its codes (Appendix A of its manual).
const (
	codeUniqueViolation   = "23505"
	codeCheckViolation    = "23514"
	codeReadOnly          = "25006"
	codeInvalidSchema     = "3F000"
	codeDenied            = "42501"
	codeSerialization     = "40001"
	codeDeadlock          = "40P01"
	codeDiskFull          = "53100"
	codeTooManyConns      = "53300"
	codeLockNotAvailable  = "55P03"
	codeUndefinedTable    = "42P01"
	codeInvalidPassword   = "28P01"
	codeNotLetIn          = "28000"
	codeInvalidCharacters = "22021"
	codeUntranslatable    = "22P05"
)

func codeOf(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}

// again says whether a transaction that failed so is worth doing again at once:
// others were in its way.
func again(err error) bool {
	switch codeOf(err) {
	case codeSerialization, codeDeadlock, codeUniqueViolation:
		return true
	}
	return false
}

// lost says whether the connection is gone, or ends with this error, as it does
// when the server restarts or fails over: not what the server says of a statement.
func lost(err error) bool {
	code := codeOf(err)
	if code == "" {
		return true
	}
	switch {
	case code == codeReadOnly, code[:2] == "57", code[:2] == "08": // shut down, starting up; connection exceptions
		return true
	}
	return false
}

// unavailable wraps a fault of the database itself.
func unavailable(err error) error {
	message := "the database does not answer: try again in a second"
	switch codeOf(err) {
	case codeDiskFull:
		message = "the database's disk is full, so nothing can be accepted: free some room; the server goes on by itself"
	case codeTooManyConns:
		message = "the database takes no more connections: raise its max_connections or lower pool_max_conns; the server goes on by itself"
	case codeReadOnly:
		return errReadOnly(err)
	case codeInvalidCharacters, codeUntranslatable:
		return &phone.Error{Code: phone.BadRequest, Message: "a text holds a character that the database cannot keep, such as U+0000: leave it out", Err: err}
	}
	if codeOf(err) == "" && errors.Is(err, context.DeadlineExceeded) {
		message = "the database is too slow to answer, or all connections to it are in use: try again in a second"
	}
	return &phone.Error{Code: phone.Unavailable, Message: message, Err: err, RetryAfter: time.Second}
}

func errReadOnly(err error) error {
	return &phone.Error{
		Code: phone.Unavailable, Err: err, RetryAfter: time.Second,
		Message: "the database is read-only, as after a failover: name all its hosts in --database, with target_session_attrs=read-write; the server goes on by itself once one takes writes",
	}
}

// explainOpen says what to do about a database that a start cannot use, in one
// sentence. The cause holds no password.
func explainOpen(err error) error {
	// The driver lists what it tried, line by line.
	cause := strings.Join(strings.Fields(err.Error()), " ")
	return &openError{message: adviceFor(err, cause), cause: err}
}

// openError is an error whose cause is in its message already.
type openError struct {
	message string
	cause   error
}

func (e *openError) Error() string { return e.message }
func (e *openError) Unwrap() error { return e.cause }

func adviceFor(err error, cause string) string {
	_, unknownAuthority := errors.AsType[x509.UnknownAuthorityError](err)
	_, otherName := errors.AsType[x509.HostnameError](err)
	invalid, isInvalid := errors.AsType[x509.CertificateInvalidError](err)
	switch {
	case unknownAuthority:
		return "the certificate of the database is by an authority that this machine does not know: name the file of the authority's own with sslrootcert in --database: " + cause
	case otherName:
		return "the certificate of the database is not for the host that --database names: connect to a name that it is for, or have one issued for this one: " + cause
	case isInvalid && invalid.Reason == x509.Expired:
		return "the certificate of the database has expired, or is not valid yet: renew it, and look at the clocks: " + cause
	case strings.Contains(cause, "server refused TLS connection"):
		return "the database speaks no TLS, and sslmode in --database asks for it: switch ssl on in its postgresql.conf: " + cause
	}
	switch codeOf(err) {
	case codeDenied:
		return "the database refuses what the start needs: let the user of --database own its schema: " + cause
	case codeInvalidPassword:
		return "the database refuses the user or password of --database: " + cause
	case codeNotLetIn:
		return "the database does not let this user in from here, or not in this way: look at its pg_hba.conf, and at sslmode, sslcert and sslkey in --database: " + cause
	case codeInvalidSchema:
		return "there is no schema to keep anything in: create one for the user of --database, or name it with ?schema=: " + cause
	}
	return "cannot open the database of --database: does it run, and may this machine connect to it? " + cause
}
