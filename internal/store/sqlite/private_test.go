package sqlite_test

import (
	"os"
	"path/filepath"
	"testing"

	"switchhook.dev/switchhook/internal/store/sqlite"
)

// TestFilesAreTheirOwnersAlone: the database, what lies beside it, and a backup.
func TestFilesAreTheirOwnersAlone(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "test.db")
	s, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := sqlite.Backup(t.Context(), path, filepath.Join(dir, "backup.db")); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) < 4 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil || info.Mode().Perm()&0o077 != 0 && info.Size() > 0 {
			t.Errorf("%s is %s: %v", f.Name(), info.Mode(), err)
		}
	}
}
