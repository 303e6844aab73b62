package switchboard_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"switchhook.dev/switchhook/internal/deliver"
	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
	"switchhook.dev/switchhook/internal/store/sqlite"
	"switchhook.dev/switchhook/internal/switchboard"
)

// stuck is a store whose accepts wait until they are let go.
type stuck struct {
	*sqlite.Store
	entered, free chan struct{}
}

func (s *stuck) Accept(ctx context.Context, events []*phone.NewEvent, room store.Room) []phone.Accepted {
	select {
	case s.entered <- struct{}{}:
	default:
	}
	<-s.free
	return s.Store.Accept(ctx, events, room)
}

// While the disk is slow only so much waits in memory. Who comes after is told to
// come back, and nothing of what was told so is kept.
func TestAFullQueueSendsCallersAway(t *testing.T) {
	for _, c := range []struct {
		name string
		data int // bytes of each event's data
		most int
	}{
		{"by bytes", 1 << 20, 66},
		{"by number", 0, 4100},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBoard(t, nil)
			b.agent(ours)
			st := &stuck{Store: b.store, entered: make(chan struct{}, 1), free: make(chan struct{})}
			d := deliver.New(deliver.Config{Store: st})
			if err := d.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			full := switchboard.New(switchboard.Config{Store: st, Dispatcher: d})
			data := text(theirs, ours, "", "hi")
			data = append(data[:len(data)-1:len(data)-1], json.RawMessage(`,"pad":"`+strings.Repeat("x", c.data)+`"}`)...)
			sub := switchboard.Submission{ProjectID: b.project, Type: phone.EventMessage, Channel: phone.ChannelSMS, Data: data}

			refused := make(chan error, c.most)
			taken := make(chan phone.Accepted, c.most)
			var callers sync.WaitGroup
			call := func() {
				if a, err := full.Accept(context.Background(), sub); err != nil {
					refused <- err
				} else {
					taken <- a
				}
			}
			callers.Go(call)
			<-st.entered // with one event, and no more: the queue is empty
			for range c.most - 1 {
				callers.Go(call)
			}
			err := <-refused // all the others wait, or are refused too
			e, ok := err.(*phone.Error)
			if !ok || e.Code != phone.Unavailable || e.RetryAfter <= 0 || !strings.Contains(e.Message, "try again") {
				t.Errorf("%#v", err)
			}
			close(st.free)
			callers.Wait()
			if _, err := full.Accept(t.Context(), sub); err != nil {
				t.Error("with room again:", err)
			}
			full.Close()
			if err := d.Stop(t.Context()); err != nil {
				t.Error(err)
			}
			_, kept, err := b.store.Deliveries(t.Context(), store.DeliveryFilter{ProjectID: b.project, Status: phone.Unrouted, Limit: 1})
			if err != nil || kept != len(taken)+1 {
				t.Errorf("%d kept of %d taken: %v", kept, len(taken), err)
			}
		})
	}
}
