package deliver

import (
	"context"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
)

// record writes results, in batches: while one is being committed the next
// gathers. It ends when Stop closes recorderWake and everything is written.
func (d *Dispatcher) record() {
	defer close(d.recorderDone)
	for {
		_, more := <-d.recorderWake
		for batch := d.takeResults(); len(batch) > 0; batch = d.takeResults() {
			d.write(batch, more)
		}
		if !more {
			return
		}
	}
}

func (d *Dispatcher) takeResults() []outcome {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := min(len(d.results), maxRecorded)
	batch := d.results[:n:n]
	d.results = d.results[n:]
	if len(d.results) == 0 {
		d.results = nil
	}
	return batch
}

// write records a batch. A store that cannot take it is asked again until it
// can: the deliveries stay held meanwhile and are not sent twice. While the
// server stops there is one try only; what is not written is sent again after
// the next start, under the same id.
func (d *Dispatcher) write(batch []outcome, keepTrying bool) {
	ctx := d.ctx()
	results := make([]*phone.Result, len(batch))
	for i, o := range batch {
		results[i] = o.Result
	}
	for {
		recorded, err := d.cfg.Store.Record(context.Background(), results)
		if err == nil {
			d.recorded(batch, recorded)
			d.cfg.Recorded(results, recorded)
			return
		}
		d.cfg.Logger.Error("results of attempts could not be written: trying again", "results", len(results), "error", err)
		if !keepTrying {
			return
		}
		select {
		case <-time.After(storePause):
		case <-ctx.Done():
			keepTrying = false
		}
	}
}

// recorded lets go of what is on disk.
func (d *Dispatcher) recorded(batch []outcome, recorded []store.Recorded) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, o := range batch {
		if o.done != nil {
			o.done <- recorded[i]
		}
		if o.DisableWebhook && !d.halted {
			d.work.Add(1)
			go func() {
				defer d.work.Done()
				d.reread(o.Job.WebhookID)
			}()
		}
		if o.Status == phone.Failed {
			d.cfg.Logger.Warn("delivery failed: it can be replayed", "delivery", o.Job.DeliveryID, "webhook", o.Job.WebhookID,
				"attempts", recorded[i].Number, "error", o.Attempt.Error, "webhook_disabled", o.DisableWebhook)
		}
		l := o.lane
		if l == nil {
			continue
		}
		l.forget(o.Job.DeliveryID)
		if o.Probe {
			l.probing = false
		}
		if l.strict() && o.Status == phone.Pending && l.open {
			// What follows in this conversation waits in the store, behind it.
			d.handBack(l, l.evict(o.Job.ConversationID))
		}
		l.release(o.Job)
		switch {
		case !recorded[i].Applied:
			// It was replayed while this attempt was under way: it may be due again.
			l.stored = true
		case o.Status == phone.Pending:
			d.wakeAt(l, o.NextAttemptAt)
		}
		d.load(l)
		d.pump(l)
	}
}

// reread settles a webhook that was disabled by its endpoint: it may have been
// set anew meanwhile, and then goes on. A store that fails is asked again.
func (d *Dispatcher) reread(id string) {
	for {
		err := d.cfg.Store.Settle(d.ctx(), id)
		var w *phone.Webhook
		if err == nil {
			w, err = d.cfg.Store.WebhookByID(d.ctx(), id)
		}
		if err == nil {
			if w != nil {
				d.refresh(*w, false)
			}
			return
		}
		d.cfg.Logger.Error("disabled webhook could not be settled: trying again", "webhook", id, "error", err)
		d.mu.Lock()
		halted := d.halted
		d.mu.Unlock()
		if halted {
			return // the next start settles it
		}
		select {
		case <-time.After(storePause):
		case <-d.ctx().Done():
			return
		}
	}
}
