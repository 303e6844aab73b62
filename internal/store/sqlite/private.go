package sqlite

import (
	"errors"
	"io/fs"
	"os"
)

// makePrivate makes a database file that is not there yet, for its owner alone:
// there are conversations in it. SQLite would make it for whoever the umask lets,
// and gives the files beside it the mode that it finds.
func makePrivate(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.Close()
}
