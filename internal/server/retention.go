package server

import (
	"context"
	"time"
)

const (
	// pruneEvery is how often the server looks for deliveries that are too old.
	pruneEvery = 10 * time.Minute
	// pruneShare is how much of the time dropping them may take: a slice, then a
	// pause of so many times its length.
	pruneShare = 10
)

// prune drops deliveries past their retention, in the background, until Stop.
func (s *Server) prune(ctx context.Context, retention time.Duration) {
	if retention == 0 {
		return
	}
	ctx, s.stopPrune = context.WithCancel(context.WithoutCancel(ctx))
	s.pruning.Go(func() {
		after := ""
		for wait := time.Duration(0); ; {
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
			start := time.Now()
			next, err := s.store.Prune(ctx, start.Add(-retention), after)
			after, wait = next, pruneShare*time.Since(start)
			switch {
			case err != nil:
				s.logger.Warn("old deliveries could not be dropped: trying again later", "error", err)
				wait = pruneEvery
			case next == "":
				wait = pruneEvery
			}
		}
	})
}
