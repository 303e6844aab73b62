package webhook

import (
	"crypto/hmac"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// DefaultTolerance is how far a timestamp may be from now, either way: what
// Standard Webhooks 1.0 and its libraries use.
const DefaultTolerance = 5 * time.Minute

// Why a delivery does not verify. Answer 401 to any of them.
var (
	ErrNoSignature  = errors.New("the request carries no signature: it is not a delivery, or a proxy dropped its headers")
	ErrBadTimestamp = errors.New("the timestamp is not a number of seconds: the request is not a delivery")
	ErrTooOld       = errors.New("the timestamp is too far in the past: the request was replayed, or this machine's clock is ahead")
	ErrTooNew       = errors.New("the timestamp is too far in the future: this machine's clock is behind")
	ErrMismatch     = errors.New("the signature does not match: check that the secret is this webhook's present one, and that the body is verified byte for byte as it came")
)

// Option changes how Verify judges.
type Option func(*verifier)

// Tolerance replaces DefaultTolerance.
func Tolerance(d time.Duration) Option { return func(v *verifier) { v.tolerance = d } }

// Now replaces the clock.
func Now(now func() time.Time) Option { return func(v *verifier) { v.now = now } }

type verifier struct {
	tolerance time.Duration
	now       func() time.Time
}

// Verify says whether a request is a delivery signed with one of the secrets;
// give the present one and, after a change, the previous one. It verifies by
// Standard Webhooks where the request has its headers, and by X-Webhook-Signature
// otherwise. body is the raw body, before any decoding. It takes the same time
// wherever a signature differs.
func Verify(h http.Header, body []byte, secrets []string, options ...Option) error {
	if h.Get(HeaderStandardSignature) != "" {
		return VerifyStandard(h, body, secrets, options...)
	}
	return VerifyLegacy(h, body, secrets, options...)
}

// VerifyStandard verifies the webhook-signature alone. It may hold several
// signatures, separated by spaces; those of unknown versions are passed over.
func VerifyStandard(h http.Header, body []byte, secrets []string, options ...Option) error {
	id, ts := h.Get(HeaderStandardID), h.Get(HeaderStandardTimestamp)
	var given [][]byte
	for s := range strings.FieldsSeq(h.Get(HeaderStandardSignature)) {
		encoded, ok := strings.CutPrefix(s, standardPrefix)
		if !ok {
			continue
		}
		if sig, err := base64.StdEncoding.DecodeString(encoded); err == nil {
			given = append(given, sig)
		}
	}
	if id == "" || ts == "" || h.Get(HeaderStandardSignature) == "" {
		return fmt.Errorf("webhook: %w", ErrNoSignature)
	}
	return verify(ts, given, secrets, options, func(s *Signer) []byte { return s.standard(id, ts, body) })
}

// VerifyLegacy verifies the X-Webhook-Signature alone.
func VerifyLegacy(h http.Header, body []byte, secrets []string, options ...Option) error {
	ts := h.Get(HeaderTimestamp)
	encoded, ok := strings.CutPrefix(h.Get(HeaderSignature), legacyPrefix)
	if !ok || ts == "" {
		return fmt.Errorf("webhook: %w", ErrNoSignature)
	}
	var given [][]byte
	if sig, err := hex.DecodeString(encoded); err == nil {
		given = append(given, sig)
	}
	return verify(ts, given, secrets, options, func(s *Signer) []byte { return s.legacy(ts, body) })
}

func verify(timestamp string, given [][]byte, secrets []string, options []Option, expected func(*Signer) []byte) error {
	v := verifier{tolerance: DefaultTolerance, now: time.Now}
	for _, o := range options {
		o(&v)
	}
	if err := v.checkTime(timestamp); err != nil {
		return fmt.Errorf("webhook: %w", err)
	}
	for _, secret := range secrets {
		s, err := NewSigner(secret)
		if err != nil {
			return fmt.Errorf("webhook: %w", err)
		}
		want := expected(s)
		for _, got := range given {
			if hmac.Equal(want, got) {
				return nil
			}
		}
	}
	return fmt.Errorf("webhook: %w", ErrMismatch)
}

func (v *verifier) checkTime(timestamp string) error {
	secs, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil {
		return ErrBadTimestamp
	}
	switch at, now := time.Unix(secs, 0), v.now(); {
	case at.Before(now.Add(-v.tolerance)):
		return ErrTooOld
	case at.After(now.Add(v.tolerance)):
		return ErrTooNew
	}
	return nil
}
