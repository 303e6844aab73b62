package api

import (
	"context"
	"errors"
	"testing"

	"switchhook.dev/switchhook/internal/phone"
)

// keys is a store of one answer about keys.
type keys struct {
	Store
	err error
}

func (k keys) KeyByHash(context.Context, [32]byte) (phone.Key, error) { return phone.Key{}, k.err }

// TestAStreamEndsWithItsKey: and not because the database is away for a moment.
func TestAStreamEndsWithItsKey(t *testing.T) {
	for want, err := range map[bool]error{true: phone.Errorf(phone.NotFound, "revoked"), false: errors.New("disk I/O error")} {
		h := &handlers{store: keys{err: err}}
		if h.revoked(t.Context(), phone.Key{}) != want {
			t.Errorf("%v: want %v", err, want)
		}
	}
	if (&handlers{store: keys{}}).revoked(t.Context(), phone.Key{}) {
		t.Error("a good key")
	}
}
