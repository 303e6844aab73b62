package postgres

import (
	"context"
	"fmt"
	"sync"
	"time"

	"switchhook.dev/switchhook/internal/phone"
)

// CreateProject adds a project with its first key.
func (s *Store) CreateProject(ctx context.Context, p phone.Project, k phone.Key) error {
	return s.write(ctx, func(t *tx) error { return createProject(ctx, t, p, k) })
}

// CreateFirstProject adds a project with its first key where there is none yet, and
// says whether it did: of nodes that start together on an empty database one does.
func (s *Store) CreateFirstProject(ctx context.Context, p phone.Project, k phone.Key) (made bool, err error) {
	err = s.write(ctx, func(t *tx) error {
		exec(t, "lockMigrations")
		there, err := one(t, "firstProject", func(*row) {})
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
	if err := exec(t, "insertProject", p.ID, p.Name, micros(p.CreatedAt)); err != nil {
		return err
	}
	if err := t.note(ctx, p.ID, phone.ProjectCreated, p.ID, p.Name); err != nil {
		return err
	}
	return noteKey(ctx, t, k)
}

// Project returns a project; NotFound where there is none.
func (s *Store) Project(ctx context.Context, id string) (p phone.Project, err error) {
	err = s.read(ctx, func(c *tx) error {
		ok, err := one(c, "project", func(r *row) { p = readProject(r) }, id)
		return orNotFound(ok, err, "project", id)
	})
	return p, err
}

// FirstProject returns the oldest project, and whether there is any.
func (s *Store) FirstProject(ctx context.Context) (p phone.Project, found bool, err error) {
	err = s.read(ctx, func(c *tx) (err error) {
		found, err = one(c, "firstProject", func(r *row) { p = readProject(r) })
		return err
	})
	return p, found, err
}

// KeyByHash returns the key with that hash; NotFound where it is unknown or
// revoked. It is asked for every request, so known keys stay in memory for a
// moment: a key that is revoked through another node is good here for keysKept more.
func (s *Store) KeyByHash(ctx context.Context, hash [32]byte) (k phone.Key, err error) {
	asked := time.Now()
	k, known, turn := s.keys.get(hash)
	if known {
		return k, nil
	}
	err = s.readOne(ctx, func(c *tx) error {
		ok, err := one(c, "keyByHash", func(r *row) { k = readKey(r) }, hash[:])
		if err == nil && !ok {
			return phone.Errorf(phone.NotFound, "this API key is unknown or revoked")
		}
		return err
	})
	if err == nil {
		s.keys.put(k, turn, asked)
	}
	return k, err
}

// keyCache holds keys that were asked for. A revocation by this node empties it; what
// was read before one is not put in after it.
type keyCache struct {
	mu   sync.RWMutex
	turn int
	keys map[[32]byte]knownKey
}

// knownKey is a key, and when the database was asked for it.
type knownKey struct {
	phone.Key
	asked time.Time
}

const (
	// maxKeys bounds the keys in memory.
	maxKeys = 10_000
	// keysKept is how long a key is not asked for again.
	keysKept = time.Second
)

func (c *keyCache) get(hash [32]byte) (k phone.Key, known bool, turn int) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	kept, known := c.keys[hash]
	return kept.Key, known && time.Since(kept.asked) < keysKept, c.turn
}

func (c *keyCache) put(k phone.Key, turn int, asked time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if turn != c.turn {
		return
	}
	if c.keys == nil || len(c.keys) >= maxKeys {
		c.keys = map[[32]byte]knownKey{}
	}
	c.keys[k.Hash] = knownKey{k, asked}
}

func (c *keyCache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turn++
	c.keys = nil
}

// Keys returns a project's keys, oldest first, revoked ones too.
func (s *Store) Keys(ctx context.Context, projectID string) (keys []phone.Key, err error) {
	err = s.read(ctx, func(c *tx) error {
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
	known, err := one(t, "keyHashKnown", func(*row) {}, k.Hash[:])
	if err != nil {
		return err
	}
	if known {
		return phone.Errorf(phone.Conflict, "this API key is in use already: choose another one")
	}
	return exec(t, "insertKey", k.ID, k.ProjectID, k.Name, k.Hash[:], k.Hint, k.Operator, micros(k.CreatedAt), k.Scopes.String())
}

// RevokeKey ends a key from this moment on; NotFound where it is unknown or
// revoked already.
func (s *Store) RevokeKey(ctx context.Context, projectID, id string, at time.Time) error {
	defer s.keys.clear()
	return s.write(ctx, func(t *tx) error {
		name := ""
		ok, err := one(t, "revokeKey", func(r *row) { name = r.text() }, projectID, id, micros(at))
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
