package postgres

import (
	"context"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
)

// errNoTurns is what turns and calls are answered with until they are kept here too.
func errNoTurns() error {
	return phone.Errorf(phone.NotImplemented, "calls are not kept in PostgreSQL by this version: start the server with --database sqlite:FILE to answer them")
}

// AcceptTurn refuses a turn.
func (s *Store) AcceptTurn(context.Context, *phone.NewEvent) phone.Accepted {
	return phone.Accepted{Err: errNoTurns()}
}

// AcceptAnswer refuses an answer.
func (s *Store) AcceptAnswer(context.Context, *phone.TurnResult) (store.Recorded, error) {
	return store.Recorded{}, errNoTurns()
}

// SettleTurns has none to settle.
func (s *Store) SettleTurns(context.Context, time.Time) (int, error) { return 0, nil }

// RepeatedTurn knows of none.
func (s *Store) RepeatedTurn(context.Context, string, string, time.Time) (phone.Accepted, bool, error) {
	return phone.Accepted{}, false, nil
}

// Turn refuses.
func (s *Store) Turn(context.Context, string, string, string) (phone.Turn, error) {
	return phone.Turn{}, errNoTurns()
}

// Call refuses.
func (s *Store) Call(context.Context, string, string) (phone.Call, []phone.Turn, error) {
	return phone.Call{}, nil, errNoTurns()
}

// Calls refuses.
func (s *Store) Calls(context.Context, store.CallFilter) ([]phone.Call, int, error) {
	return nil, 0, errNoTurns()
}
