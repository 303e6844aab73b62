// Package model checks the whole routing and delivery state machine against a
// small model: programs of a few steps, made at random, run on the real store,
// switchboard and dispatcher, in virtual time.
package model

import (
	"fmt"
	"strings"
	"time"
)

// step is one step of a program.
type step struct {
	op op
	// who is an agent, or everybody (the default webhook); which picks among the
	// events accepted so far; how is a mood.
	who, which int
	how        mood
	strict     bool
	wait       time.Duration
}

type op string

const (
	opSet     op = "set webhook"
	opDelete  op = "delete webhook"
	opDisable op = "disable webhook"
	opEnable  op = "enable webhook"
	opAccept  op = "accept"
	opMood    op = "receivers"
	opWait    op = "wait"
	opRetry   op = "retry"
	opLag     op = "store is late by"
	opCrash   op = "crash"
	opRestart op = "stop and start"
)

// mood is how every receiver answers from now on.
type mood string

const (
	well   mood = "answer 200"
	fails  mood = "answer 500"
	gone   mood = "answer 410"
	busy   mood = "answer 429, Retry-After 20 s"
	hangs  mood = "hang for 90 s"
	slow   mood = "answer 200 after 10 s"
	refuse mood = "refuse"
)

// everybody stands for the project, and its default webhook.
const everybody = -1

func (s step) String() string {
	switch s.op {
	case opSet:
		order := ""
		if s.strict {
			order = ", strict"
		}
		return fmt.Sprintf("%s of %s%s", s.op, name(s.who), order)
	case opDelete, opDisable, opEnable:
		return fmt.Sprintf("%s of %s", s.op, name(s.who))
	case opAccept:
		return fmt.Sprintf("%s an event for %s from %d", s.op, name(s.who), s.which)
	case opMood:
		return fmt.Sprintf("%s %s", s.op, s.how)
	case opWait, opLag:
		return fmt.Sprintf("%s %s", s.op, s.wait)
	case opRetry:
		return fmt.Sprintf("%s event %d", s.op, s.which)
	}
	return string(s.op)
}

func name(who int) string {
	if who == everybody {
		return "everybody"
	}
	return fmt.Sprint("agent ", who)
}

// maybe says that it may be disabled without the model knowing.
func (h *hook) maybe() bool { return h != nil && h.unsure }

type program []step

func (p program) String() string {
	var b strings.Builder
	for i, s := range p {
		fmt.Fprintf(&b, "%3d  %s\n", i, s)
	}
	return b.String()
}

// hook is a webhook in the model: alive, enabled or not.
type hook struct {
	who      int
	id       string
	life     int // how many there were before for the same
	disabled bool
	deleted  bool
	strict   bool
	// sets counts how often it was set. A 410 to a request from before the last time
	// disables it when that is on record, and not at once: unsure says that there was
	// one, and the model asks the store.
	sets   int
	unsure bool
}

func (h *hook) String() string {
	if h == nil {
		return "nowhere"
	}
	return fmt.Sprintf("webhook %d of %s", h.life, name(h.who))
}

// state is a delivery's in the model.
type state string

const (
	pending  state = "pending"
	success  state = "success"
	failed   state = "failed"
	unrouted state = "unrouted"
)

// event is an accepted event and its delivery.
type event struct {
	n        int
	who      int
	from     int
	delivery string
	bound    *hook
	state    state
	round    int
	sentEver int // requests, of all rounds
	// answered says that a 2xx was given, in this round, and to whom.
	answered bool
	// unsure says that the server crashed while this was pending: what it held in
	// memory counts as sent then, and the model does not know what that was.
	unsure bool
	// once says that its round is of one attempt: it had succeeded before.
	once bool
	// flying counts requests under way, by URL: a replay by hand may go elsewhere
	// while an attempt from before it is still under way.
	flying map[string]int
	body   string
}

// model is what should be.
type model struct {
	hooks  map[int]*hook // by who, the live ones
	lives  map[int]int
	events []*event
}

func newModel() *model { return &model{hooks: map[int]*hook{}, lives: map[int]int{}} }

// route is the rule.
func (m *model) route(who int) (*hook, state) {
	h := m.hooks[who]
	if h == nil {
		h = m.hooks[everybody]
	}
	switch {
	case h == nil:
		return nil, unrouted
	case h.disabled:
		return h, failed
	}
	return h, pending
}

func (m *model) set(who int, strict bool) *hook {
	h := m.hooks[who]
	if h == nil {
		m.lives[who]++
		h = &hook{who: who, life: m.lives[who]}
		m.hooks[who] = h
	}
	h.disabled, h.strict = false, strict
	h.sets++
	return h
}

// delete ends a webhook. What was sent ends with it, the rest is bound anew; is
// tells what became of those that the model cannot know.
func (m *model) delete(who int, is func(*event) state) {
	h := m.hooks[who]
	h.deleted = true
	delete(m.hooks, who)
	for _, e := range m.events {
		if e.bound != h || e.state != pending {
			continue
		}
		if e.sentEver > 0 || e.unsure && is(e) == failed {
			e.state = failed
			continue
		}
		e.bound, e.state = m.route(e.who)
	}
}

func (m *model) disable(h *hook) {
	h.disabled = true
	for _, e := range m.events {
		if e.bound == h && e.state == pending {
			e.state = failed
		}
	}
}

func (m *model) byDelivery(id string) *event {
	for _, e := range m.events {
		if e.delivery == id {
			return e
		}
	}
	return nil
}
