package postgres

import (
	"testing"
	"testing/synctest"
	"time"

	"switchhook.dev/switchhook/internal/phone"
)

func TestKeysAreKeptForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c keyCache
		k := phone.Key{ID: "key_1", Hash: [32]byte{1}}
		known := func() bool { _, known, _ := c.get(k.Hash); return known }
		_, _, turn := c.get(k.Hash)
		c.put(k, turn, time.Now())
		if !known() {
			t.Error("not kept")
		}
		time.Sleep(keysKept)
		if known() {
			t.Error("another node may have revoked it, and it is still good here")
		}
		c.put(k, turn, time.Now())
		c.clear()
		c.put(k, turn, time.Now())
		if known() {
			t.Error("what was read before a revocation was kept after it")
		}
	})
}
