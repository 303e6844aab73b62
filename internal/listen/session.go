package listen

import (
	"context"
	"sync"
	"time"

	"github.com/coder/websocket"
	"switchhook.dev/switchhook/internal/phone"
)

// session is one client that listens, over one connection after another.
//
//	open ─▶ connected ──lost──▶ waiting ──grace is over──▶ gone
//	           ▲   │               │                         ▲
//	           └───┼──taken up─────┘                         │
//	               └──bye: what is under way may finish──────┘
//
// Its lane in the dispatcher is paused whenever there is no connection.
type session struct {
	hub     *Hub
	webhook phone.Webhook
	token   string
	link    *link
	gone    chan struct{} // closed at the end

	mu        sync.Mutex
	exchanges map[string]*exchange
	idle      chan struct{} // closed when the last exchange ends; nil where nobody waits
	drop      context.CancelFunc
	dropped   chan struct{} // closed when the connection's run has ended
	expire    *time.Timer
	leaving   bool
	isGone    bool
}

func (s *session) connected() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.drop != nil && !s.isGone
}

func (s *session) ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.isGone
}

func (s *session) stopTimer() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.expire != nil {
		s.expire.Stop()
	}
}

// serve carries the session over a connection until that ends. A connection that
// is still there gives way: its end was not noticed yet.
func (s *session) serve(conn *websocket.Conn, first hello, resumed bool) {
	ctx, cancel := context.WithCancel(s.hub.ctx)
	defer cancel()
	done := make(chan struct{})
	defer close(done)
	if !s.connect(cancel, done) {
		_ = conn.Close(websocket.StatusGoingAway, "the session has ended")
		return
	}
	answer := ready{Session: s.token, Received: s.link.last(), Resumed: resumed, WebhookID: s.webhook.ID, Secret: s.webhook.Secret}
	err := writeJSON(ctx, conn, answer)
	if err == nil && resumed {
		if err := s.hub.board.ResumeListener(ctx, s.webhook); err != nil {
			s.hub.cfg.Logger.Warn("a listener came back, and could not be sent to", "webhook", s.webhook.ID, "error", err)
		}
	}
	if err == nil {
		received := first.Received
		if !resumed {
			received = 0
		}
		err = s.link.run(ctx, conn, received, s.hub.cfg.Ping, s.take)
	}
	s.disconnect(done, err)
}

// connect makes a connection the session's.
func (s *session) connect(cancel context.CancelFunc, done chan struct{}) bool {
	for {
		s.mu.Lock()
		if s.isGone {
			s.mu.Unlock()
			return false
		}
		if s.drop == nil {
			s.drop, s.dropped = cancel, done
			if s.expire != nil {
				s.expire.Stop()
			}
			s.mu.Unlock()
			return true
		}
		drop, dropped := s.drop, s.dropped
		s.mu.Unlock()
		drop()
		<-dropped
	}
}

// disconnect pauses the session, for the time of grace.
func (s *session) disconnect(done chan struct{}, why error) {
	s.hub.board.PauseListener(s.hub.ctx, s.webhook)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dropped == done {
		s.drop, s.dropped = nil, nil
	}
	if s.isGone || s.leaving || s.hub.ctx.Err() != nil {
		return
	}
	s.hub.cfg.Logger.Info("a listener lost its connection: its deliveries wait for it", "webhook", s.webhook.ID, "for", s.hub.cfg.Grace.String(), "error", why)
	s.expire = time.AfterFunc(s.hub.cfg.Grace, s.expired)
}

// expired ends a session whose client did not come back.
func (s *session) expired() {
	s.hub.opening.Lock()
	defer s.hub.opening.Unlock()
	if s.connected() || s.ended() || s.hub.ctx.Err() != nil {
		return
	}
	if err := s.remove(); err != nil {
		s.hub.cfg.Logger.Error("a listener could not be removed: trying again", "webhook", s.webhook.ID, "error", err)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.expire = time.AfterFunc(s.hub.cfg.Grace, s.expired)
	}
}

// remove takes the session's row away, then ends it.
func (s *session) remove() error {
	if err := s.hub.board.RemoveListener(s.hub.ctx, s.webhook); err != nil {
		return err
	}
	s.end()
	s.hub.cfg.Logger.Info("a listener was removed", "webhook", s.webhook.ID)
	return nil
}

// lose ends a session whose row is gone, and its connection.
func (s *session) lose() {
	s.end()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.drop != nil {
		s.drop()
	}
}

// end lets go of everything that waits for the client.
func (s *session) end() {
	s.hub.mu.Lock()
	delete(s.hub.sessions, s.webhook.ID)
	s.hub.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.isGone {
		s.isGone = true
		close(s.gone)
	}
}

// take takes a frame of the client.
func (s *session) take(f frame) {
	switch f.Kind {
	case kindHead, kindBody, kindEnd:
		s.mu.Lock()
		e := s.exchanges[f.Exchange]
		s.mu.Unlock()
		if e != nil {
			e.take(f)
		}
	case kindBye:
		s.mu.Lock()
		again := s.leaving
		s.leaving = true
		s.mu.Unlock()
		if !again {
			s.hub.work.Add(1)
			go s.leave()
		}
	}
}

// leave ends the session as its client asked: what is under way may finish first.
func (s *session) leave() {
	defer s.hub.work.Done()
	s.hub.board.PauseListener(s.hub.ctx, s.webhook)
	s.mu.Lock()
	idle := make(chan struct{})
	if len(s.exchanges) == 0 {
		close(idle)
	} else {
		s.idle = idle
	}
	s.mu.Unlock()
	timer := time.NewTimer(drainTimeout)
	defer timer.Stop()
	select {
	case <-idle:
	case <-timer.C:
	case <-s.hub.ctx.Done():
		return
	}
	s.hub.opening.Lock()
	err := s.remove()
	s.hub.opening.Unlock()
	last := frame{Kind: kindGone}
	if err != nil {
		s.hub.cfg.Logger.Error("a listener could not be removed: trying again when its connection has ended", "webhook", s.webhook.ID, "error", err)
		last.Error = "the server could not remove the listener yet: its log says more"
		s.mu.Lock()
		s.leaving = false
		s.mu.Unlock()
	}
	s.link.send(last)
}

// begin makes room for an exchange; false where the session has ended.
func (s *session) begin(e *exchange) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isGone {
		return false
	}
	s.exchanges[e.id] = e
	return true
}

// finish lets go of an exchange, and tells the client where it was not complete.
func (s *session) finish(e *exchange) {
	s.mu.Lock()
	_, known := s.exchanges[e.id]
	delete(s.exchanges, e.id)
	if len(s.exchanges) == 0 && s.idle != nil {
		close(s.idle)
		s.idle = nil
	}
	s.mu.Unlock()
	if known && !e.complete() {
		s.link.send(frame{Kind: kindCancel, Exchange: e.id})
	}
}
