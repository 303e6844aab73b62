package postgres

import (
	"context"
	"encoding/json"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
)

// callColumns are what a list shows of a call c; of one that goes on the snippet is
// the last turn's.
const callColumns = `c.id, c.project_id, c.agent_id, c.number_id, c.phone_number, c.participant, c.direction, c.status,
  c.started_at, c.ended_at, c.duration_seconds, c.reason, c.summary, c.sentiment, c.successful,
  coalesce(nullif(c.snippet, ''::bytea), (SELECT coalesce(nullif(t.answer, ''::bytea), t.question) FROM turns t
    WHERE t.project_id = c.project_id AND t.call_id = c.id ORDER BY t.delivery_id DESC LIMIT 1), ''::bytea)`

func readCall(r *row) phone.Call {
	c := phone.Call{
		ID: r.text(), ProjectID: r.text(), AgentID: r.text(), NumberID: r.text(), PhoneNumber: r.text(), Participant: r.text(),
		Direction: phone.Direction(r.text()), Status: r.text(), StartedAt: fromMicros(r.int64()), EndedAt: fromMicros(r.int64()),
		DurationSeconds: r.floatOrNil(), DisconnectionReason: r.textOrNil(), Summary: r.textOrNil(), UserSentiment: r.textOrNil(),
		CallSuccessful: r.bytes(),
	}
	c.LastSnippet = string(preview(r.text()))
	return c
}

func readTurn(r *row) phone.Turn {
	return phone.Turn{
		DeliveryID: r.text(), CallID: r.text(), Question: r.text(), Confidence: r.floatOrNil(), AskedAt: fromMicros(r.int64()),
		Status: phone.DeliveryStatus(r.text()), Answer: r.text(), Reply: r.bytes(), AnsweredAt: fromMicros(r.int64()),
	}
}

func whereCalls(f store.CallFilter) where {
	var w where
	w.and("c.project_id = ?", f.ProjectID)
	if f.AgentID != "" {
		w.and("c.agent_id = ?", f.AgentID)
	}
	if f.NumberID != "" {
		w.and("c.number_id = ?", f.NumberID)
	}
	if f.Status != "" {
		w.and("c.status = ?", f.Status)
	}
	if f.Direction != "" {
		w.and("c.direction = ?", string(f.Direction))
	}
	if f.Search != "" {
		w.and("(strpos(c.participant, ?) > 0 OR strpos(c.phone_number, ?) > 0)", f.Search, f.Search)
	}
	return w
}

// Calls returns a page of calls, the latest first, and how many the filter
// selects, counted up to MaxFilteredTotal. Served by calls_by_agent,
// calls_by_number or calls_by_project.
func (s *Store) Calls(ctx context.Context, f store.CallFilter) (out []phone.Call, total int, err error) {
	w := whereCalls(f)
	err = s.read(ctx, func(c *tx) error {
		q := "SELECT " + callColumns + " FROM calls c" + w.sql() + " ORDER BY c.started_at DESC, c.id DESC LIMIT ? OFFSET ?"
		err := eachText(c, q, func(r *row) error { out = append(out, readCall(r)); return nil }, append(w.values, f.Limit, f.Offset)...)
		if err != nil {
			return err
		}
		q = "SELECT count(*) FROM (SELECT 1 FROM calls c" + w.sql() + " LIMIT ?) AS c"
		return eachText(c, q, func(r *row) error { total = r.int(); return nil }, append(w.values, store.MaxFilteredTotal)...)
	})
	return out, total, err
}

// Call returns a call with its turns, oldest first.
func (s *Store) Call(ctx context.Context, projectID, id string) (out phone.Call, turns []phone.Turn, err error) {
	err = s.read(ctx, func(c *tx) error {
		found := false
		q := "SELECT " + callColumns + ", c.transcript FROM calls c WHERE c.project_id = ? AND c.id = ?"
		err := eachText(c, q, func(r *row) error {
			out, found = readCall(r), true
			if b := r.bytes(); b != nil {
				// Written by this package; what cannot be read is shown as the turns alone.
				_ = json.Unmarshal(b, &out.Transcript)
			}
			return nil
		}, projectID, id)
		if err := orNotFound(found, err, "call", id); err != nil {
			return err
		}
		return each(c, "turnsOf", func(r *row) error { turns = append(turns, readTurn(r)); return nil }, projectID, id)
	})
	return out, turns, err
}
