package api

import (
	"testing"

	"switchhook.dev/switchhook/internal/phone"
)

func TestLargeBodiesAreBoundedTogether(t *testing.T) {
	var b bodies
	var leave []func()
	for {
		l, err := b.enter(16 << 20)
		if err != nil {
			if e := phone.CodeOf(err); e != phone.Unavailable {
				t.Fatal(err)
			}
			break
		}
		leave = append(leave, l)
	}
	if len(leave) != maxBodies/(16<<20) {
		t.Errorf("%d bodies of 16 MiB", len(leave))
	}
	// One whose length is not said counts as the largest; a small one is let in.
	if _, err := b.enter(-1); err == nil {
		t.Error("a body of unknown length is let in")
	}
	if _, err := b.enter(smallBody); err != nil {
		t.Error(err)
	}
	for _, l := range leave {
		l()
	}
	if n := b.size.Load(); n != 0 {
		t.Errorf("%d bytes are left", n)
	}
	if _, err := b.enter(-1); err != nil {
		t.Error(err)
	}
}
