package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"switchhook.dev/switchhook/internal/store/sqlite"
)

// restoreWithin is how long a running server may take to go over to a restored
// database: attempts in flight may finish first.
const restoreWithin = 2 * time.Minute

// Backup writes a database as it is at one moment to a new file, whether a server
// runs on it or not.
func Backup(ctx context.Context, database, to string) error {
	path, err := databaseFile(database, "pg_dump")
	if err != nil {
		return err
	}
	return sqlite.Backup(ctx, path, to)
}

// Restore puts a backup in the place of a database, which is kept aside. A server
// that runs on it goes over by itself; Restore returns when that is done. running
// says whether there was one.
func Restore(ctx context.Context, backup, database string) (running bool, err error) {
	path, err := databaseFile(database, "pg_restore")
	if err != nil {
		return false, err
	}
	if err := sqlite.Stage(ctx, backup, path); err != nil {
		return false, err
	}
	if running = sqlite.InUse(path); running {
		if !sqlite.TakenWithin(ctx, path, restoreWithin) {
			return true, fmt.Errorf("the server on %s has not taken the backup up: restart it, and it will", path)
		}
		return true, nil
	}
	s, err := sqlite.Open(ctx, path)
	if err != nil {
		return false, err
	}
	return false, s.Close()
}

// Restored says whether a restored database waits for the server to go over to it:
// it is stopped and started anew for that.
func Restored(database string) bool {
	path, err := databaseFile(database, "")
	return err == nil && sqlite.Staged(path)
}

// databaseFile is the file of a SQLite URL; for others there is a better tool.
func databaseFile(database, tool string) (string, error) {
	scheme, rest, ok := strings.Cut(database, ":")
	switch {
	case !ok || rest == "":
		return "", fmt.Errorf("--database %q is no database URL: write it as sqlite:FILE", database)
	case scheme == "sqlite":
		return strings.TrimPrefix(rest, "//"), nil
	}
	return "", errors.New("this is for SQLite files: for PostgreSQL use " + tool + ", or what your provider has for it")
}
