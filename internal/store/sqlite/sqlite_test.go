package sqlite_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store/sqlite"
	"switchhook.dev/switchhook/internal/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T, place string) storetest.Store {
		s, err := sqlite.Open(context.Background(), filepath.Join(place, "test.db"))
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

func TestOpenSaysWhatIsWrongWithAFile(t *testing.T) {
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage.db")
	if err := os.WriteFile(garbage, []byte(strings.Repeat("this is no database. ", 500)), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, says := range map[string]string{
		garbage:                            "damaged or not a Switchhook database",
		filepath.Join(dir, "none", "x.db"): "is the folder there",
	} {
		s, err := sqlite.Open(t.Context(), path)
		if err == nil {
			_ = s.Close()
			t.Errorf("%s was opened", path)
		} else if !strings.Contains(err.Error(), says) {
			t.Errorf("%q does not say %q", err, says)
		}
	}
}

// A file that was good once, and is not any more, is not served from.
func TestOpenNoticesDamage(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "whole.db")
	st, err := sqlite.Open(t.Context(), whole)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		name := strings.Repeat(fmt.Sprint("project ", i, " "), 100)
		if err := st.CreateProject(t.Context(), phone.Project{ID: phone.NewID(phone.PrefixProject), Name: name},
			phone.Key{ID: phone.NewID(phone.PrefixKey), Hash: [32]byte{byte(i)}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	const page = 4096
	damage := map[string]func([]byte) []byte{
		"cut off":          func(b []byte) []byte { return b[:len(b)/2/page*page] },
		"without a header": func(b []byte) []byte { return append(make([]byte, 100), b[100:]...) },
		"with garbage in the middle": func(b []byte) []byte {
			for i := len(b) / 2 / page * page; i < len(b)-page; i++ {
				b[i] = byte(i * 7)
			}
			return b
		},
	}
	for name, hurt := range damage {
		path := filepath.Join(t.TempDir(), "hurt.db")
		if err := os.WriteFile(path, hurt(slices.Clone(good)), 0o600); err != nil {
			t.Fatal(err)
		}
		st, err := sqlite.Open(t.Context(), path)
		if err == nil {
			_ = st.Close()
			t.Errorf("a file %s was opened", name)
		} else if !strings.Contains(err.Error(), "damaged") || !strings.Contains(err.Error(), "restore a backup") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %q is no sentence that says it is damaged", name, err)
		}
	}
}
