package sqlite

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"switchhook.dev/switchhook/internal/phone"
)

func TestDumpPagesThroughATable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dump.db")
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, id := range []string{"prj_a", "prj_b", "prj_c", "prj_d"} {
		k := phone.Key{ID: "key_" + id, ProjectID: id, Hash: [32]byte{id[4]}, CreatedAt: time.Unix(1, 0)}
		if err := s.CreateProject(t.Context(), phone.Project{ID: id, Name: id, CreatedAt: time.Unix(1, 0)}, k); err != nil {
			t.Fatal(err)
		}
	}
	tables, err := s.Tables(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if a := tables["attempts"]; !slices.Equal(a.Key, []string{"delivery_id", "number"}) || !slices.Contains(a.Columns, "response_body") {
		t.Errorf("%+v", a)
	}
	var pages []string
	var after []any
	for {
		page := ""
		err := s.Dump(t.Context(), tables["projects"], []string{"id", "created_at", "NULL"}, "id <> ?", []any{"prj_b"}, after, 2, func(row []any) error {
			if row[1] != int64(1_000_000) || row[2] != nil {
				t.Errorf("%v", row)
			}
			page += row[0].(string)
			after = row[:1]
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if page == "" {
			break
		}
		pages = append(pages, page)
	}
	if !slices.Equal(pages, []string{"prj_aprj_c", "prj_d"}) {
		t.Error(pages)
	}
	if err := s.DeleteRows(t.Context(), tables["projects"], "id = ?", "prj_a"); err != nil {
		t.Fatal(err)
	}
	if p, _, err := s.FirstProject(t.Context()); err != nil || p.ID != "prj_b" {
		t.Error(p, err)
	}
	if err := s.MarkMoved(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), path); err == nil || !strings.Contains(err.Error(), "moved to PostgreSQL at ") {
		t.Errorf("a file that has moved opens: %v", err)
	}
	if _, err := Open(t.Context(), path); err == nil || strings.Contains(err.Error(), "another Switchhook") {
		t.Errorf("the lock is left: %v", err)
	}
}

// A move that goes on must know whether a server changed the file meanwhile.
func TestAServerBetweenIsRemembered(t *testing.T) {
	path := filepath.Join(t.TempDir(), "between.db")
	open := func(how func(context.Context, string) (*Store, error)) *Store {
		t.Helper()
		s, err := how(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	between := func(s *Store, want bool) {
		t.Helper()
		if got, err := s.ServerBetween(t.Context()); got != want || err != nil {
			t.Errorf("a server between: %v, want %v (%v)", got, want, err)
		}
	}
	s := open(Open)
	between(s, true)
	if err := errors.Join(s.BeginMoving(t.Context()), s.Close()); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		s = open(OpenToMove)
		between(s, false)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := open(Open).Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s = open(OpenToMove)
		between(s, true)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s = open(OpenToMove)
	if err := s.BeginMoving(t.Context()); err != nil {
		t.Fatal(err)
	}
	between(s, false)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
