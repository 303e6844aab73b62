package sqlite

import (
	"context"
	"slices"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
	"zombiezen.com/go/sqlite"
)

// Due hands up to limit of a webhook's due deliveries to the dispatcher, oldest
// first. They are held from then on, and marked as handed over before this
// returns: each may have been sent, whatever happens to the process. Where the
// order is strict, what comes behind a delivery that waits for its next attempt
// is made to wait as long.
func (s *Store) Due(ctx context.Context, webhookID string, now time.Time, limit int, strict bool) (b store.Batch, err error) {
	err = s.writeHot(ctx, func(t *tx) error {
		b = store.Batch{}
		// What is being settled is nobody's to send.
		if settling, err := one(t.Conn, "settling", func(*row) {}, webhookID); err != nil || settling {
			return err
		}
		var rows []jobRow
		err := each(t.Conn, "due", func(r *row) error { rows = append(rows, readJob(r)); return nil }, webhookID, micros(now), limit)
		if err != nil {
			return err
		}
		b.More = len(rows) == limit
		if strict {
			free, err := deferBlocked(t, webhookID, rows)
			if err != nil {
				return err
			}
			// What was made to wait may wait for one that is due itself.
			b.More = b.More || len(free) < len(rows)
			rows = free
		}
		for i := range rows {
			rows[i].Handed = true
			b.Jobs = append(b.Jobs, &rows[i].Job)
		}
		for _, j := range b.Jobs {
			if err := exec(t.Conn, "hold", j.DeliveryID, t.run); err != nil {
				return err
			}
		}
		if b.More {
			return nil
		}
		_, err = one(t.Conn, "nextDue", func(r *row) { b.NextDue = fromMicros(r.int64()) }, webhookID)
		return err
	})
	return b, err
}

// deferBlocked puts what follows a waiting delivery of its conversation behind
// it, and returns the rest.
func deferBlocked(t *tx, webhookID string, rows []jobRow) (free []jobRow, err error) {
	for _, j := range rows {
		until := int64(0)
		if j.ConversationID != "" {
			_, err := one(t.Conn, "blockedUntil", func(r *row) { until = r.int64() }, j.ConversationID, j.DeliveryID, j.next, webhookID)
			if err != nil {
				return nil, err
			}
		}
		if until == 0 {
			free = append(free, j)
		} else if err := exec(t.Conn, "defer", j.DeliveryID, until); err != nil {
			return nil, err
		}
	}
	return free, nil
}

// HandBack takes back deliveries that the dispatcher held and whose attempt did
// not begin. One that has moved on meanwhile is left alone.
func (s *Store) HandBack(ctx context.Context, jobs []*phone.Job) error {
	for chunk := range slices.Chunk(jobs, 500) {
		err := s.writeHot(ctx, func(t *tx) error {
			for _, j := range chunk {
				if err := exec(t.Conn, "handBack", j.DeliveryID, j.WebhookID, j.Round, t.run, micros(time.Now())); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Hurry makes everything of a webhook that waits for its next attempt due at
// once, in the order of acceptance; in slices.
func (s *Store) Hurry(ctx context.Context, webhookID string, now time.Time) error {
	for {
		var later []string
		err := s.writeHot(ctx, func(t *tx) error {
			later = later[:0]
			err := each(t.Conn, "dueLast", func(r *row) error {
				if id := r.text(); r.int64() > micros(now) {
					later = append(later, id)
				}
				return nil
			}, webhookID, settleSlice)
			if err != nil {
				return err
			}
			for _, id := range later {
				if err := exec(t.Conn, "dueNow", id, micros(now)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil || len(later) < settleSlice {
			return err
		}
	}
}

// Content returns what the body of a delivery is rendered from. Nothing of it
// changes while the delivery lives: messages are only ever appended, and events
// and the limit of history are frozen when the delivery is bound.
func (s *Store) Content(ctx context.Context, projectID, deliveryID string) (out phone.Content, err error) {
	err = s.readLoose(ctx, func(c *sqlite.Conn) error {
		limit, prior := 0, int64(0)
		ok, err := one(c, "content", func(r *row) {
			limit, out.Body = r.int(), r.bytes()
			out.Event = phone.Event{
				ID: phone.EventID(deliveryID), ProjectID: r.text(), AgentID: r.text(), Type: phone.EventType(r.text()),
				Channel: phone.Channel(r.text()), Direction: phone.Direction(r.text()), ConversationID: r.text(), MessageID: r.text(),
				Data: r.bytes(), State: r.bytes(), HistoryBefore: r.int64(), At: fromMicros(r.int64()),
			}
			prior = r.int64()
		}, deliveryID)
		if err := orNotFound(ok && out.Event.ProjectID == projectID, err, "delivery", deliveryID); err != nil {
			return err
		}
		// The end of a call carries its whole transcript instead of any history.
		if out.Body != nil || out.Event.Type == phone.EventCallEnded {
			return nil
		}
		if prior == noPrior && out.Event.ConversationID != "" {
			if prior, err = priorTo(c, out.Event); err != nil {
				return err
			}
		}
		out.History, err = history(c, out.Event.ConversationID, prior, limit)
		return err
	})
	return out, err
}

// Record writes what came of attempts, in one transaction. Where a webhook was
// disabled by it, Settle is to be called after.
func (s *Store) Record(ctx context.Context, results []*phone.Result) (out []store.Recorded, err error) {
	err = s.writeLazy(ctx, func(t *tx) error {
		out = make([]store.Recorded, len(results))
		for i, r := range results {
			if err := recordOne(ctx, t, r, &out[i]); err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}

// recordOne moves a delivery to its result, where it is still of the round the
// attempt was made in, and logs the attempt in any case.
func recordOne(ctx context.Context, t *tx, res *phone.Result, out *store.Recorded) error {
	j, a := res.Job, &res.Attempt
	sent := micros(a.SentAt)
	got := func(r *row) { out.Number = r.int() }
	values := []any{j.DeliveryID, j.Round, string(res.Status), sent, micros(res.NextAttemptAt), res.Body, !res.Probe}
	err := exec(t.Conn, "recordKnown", append(values, j.Attempts)...)
	if err != nil {
		return err
	}
	ok := t.Changes() == 1
	if out.Number = j.Attempts + 1; !ok {
		if ok, err = one(t.Conn, "recordResult", got, values...); err != nil {
			return err
		}
	}
	from := phone.Pending
	if !ok && res.Status == phone.Success {
		from = phone.Failed
		ok, err = one(t.Conn, "recordLateSuccess", got, j.DeliveryID, j.Round, sent)
		if err != nil {
			return err
		}
	}
	if ok {
		out.Applied, out.Status = true, res.Status
		t.count(j.ProjectID, micros(j.CreatedAt), string(j.EventType), from, res.Status, 1)
	} else {
		known, err := one(t.Conn, "recordLate", func(r *row) { got(r); out.Status = phone.DeliveryStatus(r.text()) }, j.DeliveryID, sent)
		if err != nil || !known {
			return err
		}
	}
	err = insertAttempt(t, j.DeliveryID, out.Number, a)
	if err != nil || !res.DisableWebhook {
		return err
	}
	return goneWebhook(ctx, t, j.WebhookID, a.URL)
}

func insertAttempt(t *tx, deliveryID string, number int, a *phone.Attempt) error {
	return exec(t.Conn, "insertAttempt", deliveryID, number, a.ID, a.URL, micros(a.SentAt), a.Duration.Microseconds(),
		a.Legacy, a.Standard, a.HTTPStatus, a.Error, a.ResponseBody,
		a.Timing.DNS.Microseconds(), a.Timing.Connect.Microseconds(), a.Timing.TLS.Microseconds(), a.Timing.FirstByte.Microseconds())
}

// goneWebhook disables a webhook that answered 410 from a URL.
func goneWebhook(ctx context.Context, t *tx, id, url string) error {
	w, err := webhookByID(t.Conn, id)
	if err != nil || w == nil || w.Status == phone.WebhookDisabled || w.URL != url {
		// Gone already, or set anew since: the 410 came from where it no longer points.
		return err
	}
	t.cache.clear()
	return disableWebhook(ctx, t, *w, w.URL+" answered 410 Gone")
}

// CreateTest makes a delivery that tests a webhook: bound to it, of one attempt,
// and out of the lanes' sight for as long as that attempt can take.
func (s *Store) CreateTest(ctx context.Context, e phone.Event, w phone.Webhook, j *phone.Job, notBefore time.Time) error {
	return s.writeHot(ctx, func(t *tx) error {
		return insertDelivery(t, j, e, noPrior, phone.Binding{Webhook: &w, Status: phone.Pending}, true, micros(notBefore))
	})
}

// Retry asks for a delivery to be sent again: a pending one now, a finished one
// in a fresh round of attempts, routed by today's rule. attempts is how many a
// round has; a delivery that succeeded gets one. It answers the job as it is now;
// Conflict where there is nothing to send it to.
func (s *Store) Retry(ctx context.Context, projectID, id string, now time.Time, attempts int) (j phone.Job, err error) {
	err = s.writeHot(ctx, func(t *tx) error {
		row, err := jobByID(t.Conn, projectID, id)
		if err != nil {
			return err
		}
		j, err = retry(t, row, now, attempts)
		return err
	})
	return j, err
}

func jobByID(c *sqlite.Conn, projectID, id string) (j jobRow, err error) {
	ok, err := one(c, "job", func(r *row) { j = readJob(r) }, id)
	return j, orNotFound(ok && j.ProjectID == projectID, err, "delivery", id)
}

func retry(t *tx, j jobRow, now time.Time, attempts int) (phone.Job, error) {
	if j.Channel == phone.ChannelVoice && j.EventType == phone.EventMessage {
		return j.Job, phone.Errorf(phone.Conflict, "a turn of a call is asked once, while the caller waits: it cannot be sent again")
	}
	if j.status == phone.Pending {
		return j.Job, exec(t.Conn, "hurry", j.DeliveryID, micros(now))
	}
	c, err := candidatesFor(t.Conn, j.ProjectID, j.AgentID)
	if err != nil {
		return j.Job, err
	}
	b := phone.Route(c.listener, c.own, c.def)
	switch b.Status {
	case phone.Unrouted:
		return j.Job, phone.Errorf(phone.Conflict, "there is no webhook to send this to: set one for the agent or for the project first")
	case phone.Failed:
		return j.Job, phone.Errorf(phone.Conflict, "its webhook is disabled: enable it, or set it anew, first")
	}
	spent := 0
	if j.status == phone.Success {
		spent = attempts - 1
	}
	t.count(j.ProjectID, micros(j.CreatedAt), string(j.EventType), j.status, phone.Pending, 1)
	j.WebhookID, j.Round, j.RoundAttempts = b.Webhook.ID, j.Round+1, spent
	return j.Job, exec(t.Conn, "replay", j.DeliveryID, b.Webhook.ID, b.Webhook.ContextLimit, spent, micros(now), isStrict(b))
}

// RetryAll retries what a filter selects, in slices, and answers how many and
// which webhooks have work now. What cannot be sent anywhere is left alone.
func (s *Store) RetryAll(ctx context.Context, f store.DeliveryFilter, now time.Time, attempts int) (n int, webhooks []string, err error) {
	const slice = 200
	// Later deliveries are not the caller's: they came after the call.
	if f.Until.IsZero() || f.Until.After(now) {
		f.Until = now
	}
	statuses := []phone.DeliveryStatus{f.Status}
	if f.Status == "" {
		statuses = []phone.DeliveryStatus{phone.Failed, phone.Unrouted}
	}
	seen := map[string]bool{}
	for _, f.Status = range statuses {
		after := store.Place{}
		for {
			ids, last, err := s.deliveryIDs(ctx, f, after, slice)
			if err != nil || len(ids) == 0 {
				if err != nil {
					return n, webhooks, err
				}
				break
			}
			after = last
			sliceCount := 0
			err = s.writeHot(ctx, func(t *tx) error {
				sliceCount = 0
				for _, id := range ids {
					row, err := jobByID(t.Conn, f.ProjectID, id)
					if err == nil && row.status == f.Status {
						var j phone.Job
						if j, err = retry(t, row, now, attempts); err == nil {
							sliceCount++
							if !seen[j.WebhookID] {
								seen[j.WebhookID] = true
								webhooks = append(webhooks, j.WebhookID)
							}
						}
					}
					if err != nil && phone.CodeOf(err) == "" {
						return err
					}
				}
				return nil
			})
			if err != nil {
				return n, webhooks, err
			}
			n += sliceCount
			if f.Progress != nil {
				f.Progress(n)
			}
		}
	}
	return n, webhooks, nil
}
