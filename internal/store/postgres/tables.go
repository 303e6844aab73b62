package postgres

import (
	"encoding/json"
	"time"

	"switchhook.dev/switchhook/internal/phone"
)

// How rows become the nouns of the domain: one function a table, its columns in
// the order of the queries.

func readProject(r *row) phone.Project {
	return phone.Project{ID: r.text(), Name: r.text(), CreatedAt: fromMicros(r.int64())}
}

func readKey(r *row) phone.Key {
	k := phone.Key{ID: r.text(), ProjectID: r.text(), Name: r.text()}
	copy(k.Hash[:], r.bytes())
	k.Hint, k.Operator = r.text(), r.bool()
	k.CreatedAt, k.RevokedAt = fromMicros(r.int64()), fromMicros(r.int64())
	// Written by this package; what cannot be read allows nothing.
	k.Scopes, _ = phone.ParseScopes(r.text())
	return k
}

func readAgent(r *row) phone.Agent {
	return phone.Agent{ID: r.text(), ProjectID: r.text(), Name: r.text(), Settings: r.bytes(), CreatedAt: fromMicros(r.int64())}
}

func readNumber(r *row) phone.Number {
	return phone.Number{
		ID: r.text(), ProjectID: r.text(), PhoneNumber: r.text(), Country: r.text(),
		Type: r.text(), Status: r.text(), AgentID: r.text(), CreatedAt: fromMicros(r.int64()),
	}
}

func readConversation(r *row) phone.Conversation {
	return phone.Conversation{
		ID: r.text(), ProjectID: r.text(), AgentID: r.text(), NumberID: r.text(), PhoneNumber: r.text(),
		Participant: r.text(), LastMessageAt: fromMicros(r.int64()), LastMessagePreview: r.text(),
		MessageCount: r.int(), Metadata: r.bytes(), CreatedAt: fromMicros(r.int64()),
	}
}

func readMessage(r *row) phone.Message {
	m := phone.Message{
		Seq: r.int64(), ID: r.text(), ConversationID: r.text(), NumberID: r.text(),
		Direction: phone.Direction(r.text()), Channel: phone.Channel(r.text()),
		From: r.text(), To: r.text(), Body: r.text(),
	}
	if urls := r.text(); urls != "" {
		// Written by this package; what cannot be read is shown as no media.
		_ = json.Unmarshal([]byte(urls), &m.MediaURLs)
	}
	m.At = fromMicros(r.int64())
	return m
}

func readWebhook(r *row) phone.Webhook {
	return phone.Webhook{
		ID: r.text(), ProjectID: r.text(), AgentID: r.text(), URL: r.text(), Secret: r.text(),
		Status: phone.WebhookStatus(r.text()), ContextLimit: r.int(),
		Timeout: time.Duration(r.int64()) * time.Second, CreatedAt: fromMicros(r.int64()), Revision: r.int64(),
		Ordering: phone.Ordering(r.text()), RateLimit: r.int(), FailingSince: fromMicros(r.int64()),
		Listener: r.bool(), Owner: r.text(), PreviousSecret: r.text(), PreviousUntil: fromMicros(r.int64()),
	}
}

// jobRow is a job with what only the store looks at.
type jobRow struct {
	phone.Job
	status phone.DeliveryStatus
	next   int64
}

func readJob(r *row) jobRow {
	j := jobRow{Job: phone.Job{
		DeliveryID: r.text(), ProjectID: r.text(), AgentID: r.text(), WebhookID: r.text(),
		ConversationID: r.text(), MessageID: r.text(), EventType: phone.EventType(r.text()),
		Channel: phone.Channel(r.text()), Attempts: r.int(), RoundAttempts: r.int(), Round: r.int(),
		CreatedAt: fromMicros(r.int64()),
	}}
	j.status, j.next = phone.DeliveryStatus(r.text()), r.int64()
	return j
}

func readAttempt(r *row) phone.Attempt {
	a := phone.Attempt{
		ID: r.text(), DeliveryID: r.text(), Number: r.int(), URL: r.text(), SentAt: fromMicros(r.int64()),
		Duration: time.Duration(r.int64()) * time.Microsecond, Legacy: r.text(), Standard: r.text(),
		HTTPStatus: r.int(), Error: r.text(), ResponseBody: r.text(),
	}
	for _, d := range []*time.Duration{&a.Timing.DNS, &a.Timing.Connect, &a.Timing.TLS, &a.Timing.FirstByte} {
		*d = time.Duration(r.int64()) * time.Microsecond
	}
	return a
}

func readChange(r *row) phone.Change {
	c := phone.Change{ProjectID: r.text(), ID: r.text()}
	c.Actor = phone.Actor{KeyID: r.text(), KeyName: r.text(), Address: r.text()}
	c.Action, c.Target, c.Detail, c.At = phone.Action(r.text()), r.text(), r.text(), fromMicros(r.int64())
	return c
}
