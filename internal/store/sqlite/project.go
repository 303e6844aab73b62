package sqlite

import (
	"context"
	"fmt"
	"sync"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"zombiezen.com/go/sqlite"
)

// CreateProject adds a project with its first key.
func (s *Store) CreateProject(ctx context.Context, p phone.Project, k phone.Key) error {
	return s.write(ctx, func(t *tx) error { return createProject(ctx, t, p, k) })
}

// CreateFirstProject adds a project with its first key where there is none yet, and
// says whether it did.
func (s *Store) CreateFirstProject(ctx context.Context, p phone.Project, k phone.Key) (made bool, err error) {
	err = s.write(ctx, func(t *tx) error {
		there, err := one(t.Conn, "firstProject", func(*row) {})
		if made = !there; err != nil || there {
			return err
		}
		return createProject(ctx, t, p, k)
	})
	return made && err == nil, err
}

func createProject(ctx context.Context, t *tx, p phone.Project, k phone.Key) error {
	if err := insertKey(t, k); err != nil {
		return err
	}
	if err := exec(t.Conn, "insertProject", p.ID, p.Name, micros(p.CreatedAt)); err != nil {
		return err
	}
	if err := t.note(ctx, p.ID, phone.ProjectCreated, p.ID, p.Name); err != nil {
		return err
	}
	return noteKey(ctx, t, k)
}

// Project returns a project; NotFound where there is none.
func (s *Store) Project(ctx context.Context, id string) (p phone.Project, err error) {
	err = s.read(ctx, func(c *sqlite.Conn) error {
		ok, err := one(c, "project", func(r *row) { p = readProject(r) }, id)
		return orNotFound(ok, err, "project", id)
	})
	return p, err
}

// FirstProject returns the oldest project, and whether there is any.
func (s *Store) FirstProject(ctx context.Context) (p phone.Project, found bool, err error) {
	err = s.read(ctx, func(c *sqlite.Conn) (err error) {
		found, err = one(c, "firstProject", func(r *row) { p = readProject(r) })
		return err
	})
	return p, found, err
}

// KeyByHash returns the key with that hash; NotFound where it is unknown or
// revoked. It is asked for every request, so known keys stay in memory.
func (s *Store) KeyByHash(ctx context.Context, hash [32]byte) (k phone.Key, err error) {
	k, known, turn := s.keys.get(hash)
	if known {
		return k, nil
	}
	err = s.readLoose(ctx, func(c *sqlite.Conn) error {
		ok, err := one(c, "keyByHash", func(r *row) { k = readKey(r) }, hash[:])
		if err == nil && !ok {
			return phone.Errorf(phone.NotFound, "this API key is unknown or revoked")
		}
		return err
	})
	if err == nil {
		s.keys.put(k, turn)
	}
	return k, err
}

// keyCache holds keys that were asked for. A revocation empties it; what was read
// before one is not put in after it.
type keyCache struct {
	mu   sync.RWMutex
	turn int
	keys map[[32]byte]phone.Key
}

// maxKeys bounds the keys in memory.
const maxKeys = 10_000

func (c *keyCache) get(hash [32]byte) (k phone.Key, known bool, turn int) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	k, known = c.keys[hash]
	return k, known, c.turn
}

func (c *keyCache) put(k phone.Key, turn int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if turn != c.turn {
		return
	}
	if c.keys == nil || len(c.keys) >= maxKeys {
		c.keys = map[[32]byte]phone.Key{}
	}
	c.keys[k.Hash] = k
}

func (c *keyCache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turn++
	c.keys = nil
}

// Keys returns a project's keys, oldest first, revoked ones too.
func (s *Store) Keys(ctx context.Context, projectID string) (keys []phone.Key, err error) {
	err = s.read(ctx, func(c *sqlite.Conn) error {
		return each(c, "keys", func(r *row) error {
			keys = append(keys, readKey(r))
			return nil
		}, projectID)
	})
	return keys, err
}

// CreateKey adds a key; Conflict where the same key exists.
func (s *Store) CreateKey(ctx context.Context, k phone.Key) error {
	return s.write(ctx, func(t *tx) error {
		if err := insertKey(t, k); err != nil {
			return err
		}
		return noteKey(ctx, t, k)
	})
}

func noteKey(ctx context.Context, t *tx, k phone.Key) error {
	return t.note(ctx, k.ProjectID, phone.KeyCreated, k.ID, fmt.Sprintf("%s (%s): %s", k.Name, k.Hint, k.Scopes))
}

func insertKey(t *tx, k phone.Key) error {
	known, err := one(t.Conn, "keyHashKnown", func(*row) {}, k.Hash[:])
	if err != nil {
		return err
	}
	if known {
		return phone.Errorf(phone.Conflict, "this API key is in use already: choose another one")
	}
	return exec(t.Conn, "insertKey", k.ID, k.ProjectID, k.Name, k.Hash[:], k.Hint, k.Operator, micros(k.CreatedAt), k.Scopes.String())
}

// RevokeKey ends a key from this moment on; NotFound where it is unknown or
// revoked already.
func (s *Store) RevokeKey(ctx context.Context, projectID, id string, at time.Time) error {
	defer s.keys.clear()
	return s.write(ctx, func(t *tx) error {
		name := ""
		ok, err := one(t.Conn, "revokeKey", func(r *row) { name = r.text() }, projectID, id, micros(at))
		if err := orNotFound(ok, err, "key", id); err != nil {
			return err
		}
		return t.note(ctx, projectID, phone.KeyRevoked, id, name)
	})
}

// orNotFound turns "no row" into the fault a caller sees.
func orNotFound(found bool, err error, noun, id string) error {
	if err == nil && !found {
		return phone.Errorf(phone.NotFound, "there is no %s %q in this project: check the id, and that the API key is of the right project", noun, id)
	}
	return err
}
