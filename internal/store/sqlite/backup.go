package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// A backup is a database file of its own, as it was at one moment. A restored one
// is laid beside the database, as FILE.restore; whoever opens the database next
// puts it in its place, and what was there aside. A running server looks for it
// (Staged), and opens the database anew. So nothing is ever written under a server,
// and nothing is lost by a restore that was a mistake.
const (
	stagedSuffix  = ".restore"
	partialSuffix = ".partial"
)

// Backup writes the database at path, as it is at one moment, to a new file. It
// may be in use meanwhile, by a server or by nobody: the copy is made in one read
// transaction. The new file appears once it is whole and on disk.
func Backup(ctx context.Context, path, to string) error {
	if _, err := os.Stat(to); err == nil {
		return fmt.Errorf("%s is there already: name a new file", to)
	}
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("there is no database to back up at %s: name it with --database: %w", path, err)
	}
	partial := to + partialSuffix
	_ = os.Remove(partial)
	err := vacuumInto(ctx, path, partial)
	if err == nil {
		err = verify(ctx, partial)
	}
	if err == nil {
		err = moveIntoPlace(partial, to)
	}
	if err != nil {
		_ = os.Remove(partial)
		return fmt.Errorf("no backup was made of %s: %w", path, err)
	}
	return nil
}

func vacuumInto(ctx context.Context, path, to string) error {
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadWrite)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetInterrupt(ctx.Done())
	if err := isOurs(conn); err != nil {
		return err
	}
	// SQLite fills an empty file as it is.
	if err := makePrivate(to); err != nil {
		return err
	}
	return sqlitex.ExecuteTransient(conn, "VACUUM INTO ?", &sqlitex.ExecOptions{Args: []any{to}})
}

// isOurs says whether a file is a database of Switchhook's.
func isOurs(conn *sqlite.Conn) error {
	id := int64(0)
	err := sqlitex.ExecuteTransient(conn, "PRAGMA application_id", &sqlitex.ExecOptions{
		ResultFunc: func(st *sqlite.Stmt) error { id = st.ColumnInt64(0); return nil },
	})
	if err == nil && id != appID {
		return errors.New("it is no database of Switchhook's")
	}
	return err
}

// verify looks at all of a file.
func verify(ctx context.Context, path string) error {
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadOnly)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetInterrupt(ctx.Done())
	if err := isOurs(conn); err != nil {
		return err
	}
	return check(conn)
}

// Stage lays a backup beside the database at path, where whoever opens that next
// takes it from. The backup is looked at first, all of it, and stays.
func Stage(ctx context.Context, backup, path string) error {
	if _, err := os.Stat(backup); err != nil {
		return fmt.Errorf("there is no backup at %s: %w", backup, err)
	}
	if _, err := os.Stat(filepath.Dir(path)); err != nil {
		return fmt.Errorf("cannot restore to %s: is the folder there?: %w", path, err)
	}
	staged := path + stagedSuffix
	partial := staged + partialSuffix
	err := copyFile(backup, partial)
	if err == nil {
		err = verify(ctx, partial) // the copy: a read of a backup that lies on a read-only disk may not work
	}
	if err == nil {
		err = moveIntoPlace(partial, staged)
	}
	if err != nil {
		_ = os.Remove(partial)
		return fmt.Errorf("%s cannot be restored: %w", backup, err)
	}
	return nil
}

// Staged says whether a restored database waits to be taken.
func Staged(path string) bool {
	_, err := os.Stat(path + stagedSuffix)
	return err == nil
}

// InUse says whether a server runs on the database at path.
func InUse(path string) bool {
	lock := flock.New(path + ".lock")
	ok, err := lock.TryLock()
	if ok {
		_ = lock.Unlock()
	}
	return err == nil && !ok
}

// takeRestored puts a restored database in its place, where one waits. What was
// there goes aside, under a name that tells when the restored one came: a crash at
// any line is made good by the next call, which goes by the same names.
func takeRestored(path string) error {
	staged := path + stagedSuffix
	info, err := os.Stat(staged)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot look for a restored database: %w", err)
	}
	aside := path + ".before-" + info.ModTime().UTC().Format("20060102T150405.000000000")
	for _, suffix := range []string{"", "-wal"} {
		if err := os.Rename(path+suffix, aside+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot put the old database aside for the restored one: %w", err)
		}
	}
	// It speaks of the old file, and is made anew.
	if err := os.Remove(path + "-shm"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot put the old database aside for the restored one: %w", err)
	}
	return moveIntoPlace(staged, path)
}

// copyFile copies a file and sees it on disk.
func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if _, err = io.Copy(out, in); err != nil {
		return err
	}
	return out.Sync()
}

// moveIntoPlace renames a file, and sees both it and its new name on disk.
func moveIntoPlace(from, to string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	err = errors.Join(f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(from, to)
	}
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// TakenWithin waits until a staged database was taken.
func TakenWithin(ctx context.Context, path string, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for Staged(path) {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(50 * time.Millisecond):
		}
	}
	return true
}
