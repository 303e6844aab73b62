// Package webhook signs and verifies Switchhook's deliveries. It needs nothing
// but the standard library, and is meant for receivers as much as for the server.
//
// A delivery is signed twice, over the same body and with the same secret:
//
//	X-Webhook-Signature  "sha256=" hex(HMAC-SHA256(secret, timestamp "." body))
//	webhook-signature    "v1," base64(HMAC-SHA256(key, id "." timestamp "." body))
//
// The first takes the whole secret string as its key; the second is Standard
// Webhooks 1.0, whose key is what base64 says after "whsec_".
package webhook

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Headers of a delivery. HTTP does not care about their case.
const (
	HeaderID        = "X-Webhook-ID"
	HeaderTimestamp = "X-Webhook-Timestamp"
	HeaderSignature = "X-Webhook-Signature"
	HeaderEvent     = "X-Webhook-Event"

	// Those of Standard Webhooks 1.0.
	HeaderStandardID        = "webhook-id"
	HeaderStandardTimestamp = "webhook-timestamp"
	HeaderStandardSignature = "webhook-signature"
)

// SecretPrefix begins every secret.
const SecretPrefix = "whsec_"

const (
	legacyPrefix   = "sha256="
	standardPrefix = "v1,"
	secretBytes    = 32
)

// ErrBadSecret says that a secret is not "whsec_" and standard base64.
var ErrBadSecret = errors.New(`the secret is not "whsec_" followed by base64: copy it whole from the answer that set the webhook`)

// NewSecret returns a fresh secret: "whsec_" and the standard base64 of 32
// random bytes.
func NewSecret() string {
	b := make([]byte, secretBytes)
	_, _ = rand.Read(b) // never fails: it ends the program instead (Go 1.24)
	return SecretPrefix + base64.StdEncoding.EncodeToString(b)
}

// Signer signs with one secret. It is safe for concurrent use.
type Signer struct {
	whole macs // for the X-Webhook-Signature
	key   macs // for the webhook-signature
}

// macs are the hashes of one key, to be used again: setting one up costs as much
// as signing.
type macs struct {
	key  []byte
	pool *sync.Pool
}

func newMacs(key []byte) macs {
	return macs{key, &sync.Pool{New: func() any { return hmac.New(sha256.New, key) }}}
}

func (m macs) sum(head string, body []byte) []byte {
	h := m.pool.Get().(hash.Hash)
	defer m.pool.Put(h)
	h.Reset()
	_, _ = io.WriteString(h, head)
	h.Write(body)
	return h.Sum(nil)
}

// NewSigner returns a signer, or ErrBadSecret.
func NewSigner(secret string) (*Signer, error) {
	encoded, ok := strings.CutPrefix(secret, SecretPrefix)
	if !ok {
		return nil, ErrBadSecret
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(key) == 0 {
		return nil, ErrBadSecret
	}
	return &Signer{whole: newMacs([]byte(secret)), key: newMacs(key)}, nil
}

// Signature is what signs one attempt.
type Signature struct {
	ID        string
	Timestamp string // Unix seconds
	Legacy    string // the value of X-Webhook-Signature
	Standard  string // the value of webhook-signature: one signature, or several separated by spaces
}

// Sign signs a body sent under a delivery's id at a time.
func (s *Signer) Sign(id string, at time.Time, body []byte) Signature {
	ts := strconv.FormatInt(at.Unix(), 10)
	return Signature{
		ID: id, Timestamp: ts,
		Legacy:   legacyPrefix + hex.EncodeToString(s.legacy(ts, body)),
		Standard: standardPrefix + base64.StdEncoding.EncodeToString(s.standard(id, ts, body)),
	}
}

func (s *Signer) legacy(timestamp string, body []byte) []byte {
	return s.whole.sum(timestamp+".", body)
}

func (s *Signer) standard(id, timestamp string, body []byte) []byte {
	return s.key.sum(id+"."+timestamp+".", body)
}

// canonical are the names of a signature's headers, as http.Header keeps them.
var canonical = func() (names [6]string) {
	for i, name := range []string{
		HeaderID, HeaderTimestamp, HeaderSignature, HeaderStandardID, HeaderStandardTimestamp, HeaderStandardSignature,
	} {
		names[i] = http.CanonicalHeaderKey(name)
	}
	return names
}()

// SetHeaders puts a signature into a request's header, in both schemes.
func (s Signature) SetHeaders(h http.Header) {
	values := []string{s.ID, s.Timestamp, s.Legacy, s.ID, s.Timestamp, s.Standard}
	for i, name := range canonical {
		h[name] = values[i : i+1 : i+1]
	}
}

// Sign signs a body with a secret: for whoever signs once. A server keeps a Signer.
func Sign(secret, id string, at time.Time, body []byte) (Signature, error) {
	s, err := NewSigner(secret)
	if err != nil {
		return Signature{}, fmt.Errorf("webhook: %w", err)
	}
	return s.Sign(id, at, body), nil
}
