package storetest

import (
	"sync"

	"switchhook.dev/switchhook/internal/phone"
)

// Of servers that start together on an empty database one makes the first project.
func firstProject(b *bench) {
	s := b.open(b.T, b.TempDir())
	b.Cleanup(func() { _ = s.Close() })
	var mu sync.Mutex
	made := map[string]bool{}
	var starting sync.WaitGroup
	for i := range 4 {
		starting.Go(func() {
			p := phone.Project{ID: phone.NewID(phone.PrefixProject), Name: "default", CreatedAt: b.now}
			k := phone.Key{ID: phone.NewID(phone.PrefixKey), ProjectID: p.ID, Name: "operator", Hash: [32]byte{byte(i)}, CreatedAt: b.now}
			first, err := s.CreateFirstProject(b.Context(), p, k)
			if err != nil {
				b.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if first {
				made[p.ID] = true
			}
			if known, err := s.KeyByHash(b.Context(), k.Hash); first && (err != nil || known.ProjectID != p.ID) || !first && phone.CodeOf(err) != phone.NotFound {
				b.Errorf("first: %v, and its key: %+v %v", first, known, err)
			}
		})
	}
	starting.Wait()
	if p, found, err := s.FirstProject(b.Context()); err != nil || !found || len(made) != 1 || !made[p.ID] {
		b.Errorf("%d were made, the first is %+v (%v)", len(made), p, err)
	}
}
