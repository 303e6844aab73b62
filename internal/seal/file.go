package seal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// maxFile is more than any file of keys needs, in bytes.
const maxFile = 64 << 10

// ReadFile reads the keys in a file. exposed says that others than its owner may
// read it, which is theirs to decide, but worth a word in the log. The error is
// fs.ErrNotExist where there is no such file.
func ReadFile(path string) (r *Ring, exposed bool, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, false, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, false, fmt.Errorf("%s is not a file of keys", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, false, err
	}
	r, err = Parse(string(text))
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", path, err)
	}
	return r, info.Mode().Perm()&0o077 != 0, nil
}

// MakeFile makes a file with a new key, which only its owner may read, and returns
// when it is on disk. It never writes over one that is there.
func MakeFile(path string) (*Ring, error) {
	key := NewKey()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = f.WriteString("# Seals the secrets of Switchhook's webhooks. Keep a copy, but not beside those of the database.\n" + key + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	return Parse(key)
}

// syncDir makes a new name in a folder survive a power cut. Not every file system
// can do that for a folder; such ones need not be asked.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, fs.ErrInvalid) && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}
