// Package seal keeps secrets sealed where they rest: AES-256-GCM under a key that
// is not in the database, so that who reads the database, or a copy of it, reads
// no secret.
//
// A Ring holds one key or more: the first seals, all open. A secret is bound to
// what it belongs to: put in another row it does not open. The package must never
// write a key or a plain secret into an error.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// KeySize is how long a key is, in bytes: AES-256.
const KeySize = 32

// prefix begins everything sealed; a key's id, "." and base64 follow.
const prefix = "sealed1."

// encoding has one text for each value, so that no two texts open alike.
var encoding = base64.RawStdEncoding.Strict()

// Why something cannot be opened.
var (
	// ErrPlain says that it was never sealed.
	ErrPlain = errors.New("it is not sealed")
	// ErrUnknownKey says that none of the ring's keys sealed it.
	ErrUnknownKey = errors.New("it was sealed under a key that is not given here")
	// ErrDamaged says that it was changed, or sealed for something else.
	ErrDamaged = errors.New("it was changed since it was sealed, or belongs to something else")
)

// Ring seals and opens. It is safe for concurrent use.
type Ring struct{ keys []key }

type key struct {
	id   string // tells which key sealed something, and nothing about the key
	aead cipher.AEAD
}

// NewKey makes a key, as Parse reads it: the standard base64 of 32 random bytes.
func NewKey() string {
	b := make([]byte, KeySize)
	_, _ = rand.Read(b) // never fails: it ends the program instead
	return base64.StdEncoding.EncodeToString(b)
}

// Parse reads keys: each the standard base64 of 32 bytes, separated by white space
// or commas. The rest of a line after # is a comment.
func Parse(text string) (*Ring, error) {
	r := &Ring{}
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		for field := range strings.FieldsFuncSeq(line, func(c rune) bool { return c == ',' || c <= ' ' }) {
			raw, err := base64.StdEncoding.DecodeString(field)
			if err != nil || len(raw) != KeySize {
				return nil, fmt.Errorf("key %d is not the base64 of %d bytes: make one with `openssl rand -base64 %d`", len(r.keys)+1, KeySize, KeySize)
			}
			k, err := newKey(raw)
			if err != nil {
				return nil, err
			}
			r.keys = append(r.keys, k)
		}
	}
	if len(r.keys) == 0 {
		return nil, fmt.Errorf("there is no key in it: make one with `openssl rand -base64 %d`", KeySize)
	}
	return r, nil
}

func newKey(raw []byte) (key, error) {
	block, err := aes.NewCipher(raw)
	if err != nil {
		return key{}, err
	}
	// A random nonce of 96 bits, before the text: good for 2^32 secrets under one key
	// (NIST SP 800-38D, 8.3).
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return key{}, err
	}
	mac := hmac.New(sha256.New, raw)
	mac.Write([]byte("switchhook: the id of a key"))
	return key{hex.EncodeToString(mac.Sum(nil)[:6]), aead}, nil
}

// Seal seals a secret for its owner, under the first key.
func (r *Ring) Seal(owner, secret string) string {
	k := r.keys[0]
	sealed := k.aead.Seal(nil, nil, []byte(secret), bound(owner))
	return prefix + k.id + "." + encoding.EncodeToString(sealed)
}

// Open opens what was sealed for an owner. The error is one of those above.
func (r *Ring) Open(owner, sealed string) (string, error) {
	id, text, ok := split(sealed)
	if !ok {
		return "", ErrPlain
	}
	for _, k := range r.keys {
		if k.id != id {
			continue
		}
		raw, err := encoding.DecodeString(text)
		if err != nil {
			return "", ErrDamaged
		}
		plain, err := k.aead.Open(nil, nil, raw, bound(owner))
		if err != nil {
			return "", ErrDamaged
		}
		return string(plain), nil
	}
	return "", ErrUnknownKey
}

// IsSealed says whether s is something sealed, under whatever key.
func IsSealed(s string) bool {
	_, _, ok := split(s)
	return ok
}

// Current says whether something sealed is so under the key that seals now.
func (r *Ring) Current(sealed string) bool {
	id, _, ok := split(sealed)
	return ok && id == r.keys[0].id
}

func split(sealed string) (keyID, text string, ok bool) {
	rest, ok := strings.CutPrefix(sealed, prefix)
	if !ok {
		return "", "", false
	}
	return strings.Cut(rest, ".")
}

// bound is the additional data that ties a secret to its owner.
func bound(owner string) []byte { return []byte("switchhook webhook secret\x00" + owner) }
