package dashboard

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
	"switchhook.dev/switchhook/internal/switchboard"
)

const (
	// conversationsLength and threadLength are how many conversations, and messages
	// of one, a page shows.
	conversationsLength = 50
	threadLength        = 50
	// numberChoices is how many numbers the box for a test text offers.
	numberChoices = 100
)

func (d *Dashboard) registerConversations() {
	d.on("GET /conversations", phone.ScopeRead, d.showConversations)
	d.on("POST /conversations", phone.ScopeWrite, d.sendFirst)
	d.on("GET /conversations/{id}", phone.ScopeRead, d.showConversation)
	d.on("GET /conversations/{id}/thread", phone.ScopeRead, d.showThread)
	d.on("POST /conversations/{id}", phone.ScopeWrite, d.sendNext)
}

type conversationRow struct {
	phone.Conversation
	Agent string
}

type conversationsPage struct {
	Rows          []conversationRow
	Agents        []phone.Agent
	AgentID, With string
	Exact, May    bool
	Numbers       []phone.Number
	Scan          int
	Now           time.Time
}

func (d *Dashboard) showConversations(v *visit) error {
	p := conversationsPage{
		AgentID: v.FormValue("agent"), With: strings.TrimSpace(v.FormValue("with")), Exact: true, May: v.may(phone.ScopeWrite),
		Scan: store.TroubleScan, Now: v.now,
	}
	var found []phone.Conversation
	var err error
	if p.With != "" {
		participant := p.With
		if p, err := phone.ParseParticipant(participant); err == nil {
			participant = p
		}
		found, err = d.store.ConversationsWith(v.Context(), v.project(), participant, conversationsLength)
	} else {
		found, p.Exact, err = d.store.RecentConversations(v.Context(), v.project(), p.AgentID, conversationsLength)
	}
	if err != nil {
		return err
	}
	names := d.names(v)
	for _, c := range found {
		row := conversationRow{Conversation: c}
		if c.AgentID != "" {
			if row.Agent, err = names.of(c.AgentID); err != nil {
				return err
			}
		}
		p.Rows = append(p.Rows, row)
	}
	if p.Agents, _, err = d.store.Agents(v.Context(), v.project(), agentChoices, 0); err != nil {
		return err
	}
	numbers, _, err := d.store.Numbers(v.Context(), v.project(), numberChoices, 0)
	if err != nil {
		return err
	}
	// Only what reaches an agent can be tried.
	p.Numbers = slices.DeleteFunc(numbers, func(n phone.Number) bool { return n.AgentID == "" })
	d.page(v, http.StatusOK, "conversations", "Conversations", p)
	return nil
}

// messageView is a message with what became of it.
type messageView struct {
	phone.Message
	Delivery *phone.Delivery
	// Day is set on the first message of a day.
	Day string
}

type conversationPage struct {
	phone.Conversation
	Agent    string
	Messages []messageView
	// Older leads to the messages before these; "" where there are none.
	Older  string
	Latest bool
	May    bool
	Now    time.Time
}

func (d *Dashboard) conversation(v *visit) (p conversationPage, err error) {
	p.Now, p.May = v.now, v.may(phone.ScopeWrite)
	id, before := v.PathValue("id"), v.FormValue("before")
	if p.Conversation, err = d.store.Conversation(v.Context(), v.project(), id); err != nil {
		return p, err
	}
	if p.AgentID != "" {
		if p.Agent, err = d.names(v).of(p.AgentID); err != nil {
			return p, err
		}
	}
	messages, more, err := d.store.Messages(v.Context(), v.project(), id, store.Page{Limit: threadLength, Before: before})
	if err != nil {
		return p, err
	}
	deliveries, err := d.store.MessageDeliveries(v.Context(), v.project(), messages)
	if err != nil {
		return p, err
	}
	p.Latest = before == ""
	if more {
		p.Older = "/conversations/" + id + "?before=" + messages[len(messages)-1].ID
	}
	slices.Reverse(messages)
	day := ""
	for _, m := range messages {
		view := messageView{Message: m}
		if x, ok := deliveries[m.ID]; ok {
			view.Delivery = &x
		}
		if today := m.At.UTC().Format("Monday, 2 January 2006"); today != day {
			day, view.Day = today, today
		}
		p.Messages = append(p.Messages, view)
	}
	return p, nil
}

func (d *Dashboard) showConversation(v *visit) error {
	p, err := d.conversation(v)
	if err == nil {
		d.page(v, http.StatusOK, "conversation", p.Participant, p)
	}
	return err
}

func (d *Dashboard) showThread(v *visit) error {
	p, err := d.conversation(v)
	if err == nil {
		d.fragment(v, http.StatusOK, "thread", p)
	}
	return err
}

// text hands a text in as a customer's, by the way every event comes.
func (d *Dashboard) text(v *visit, from, to string) (phone.Accepted, error) {
	data, err := json.Marshal(map[string]string{"from": from, "to": to, "message": v.PostFormValue("message")})
	if err != nil {
		return phone.Accepted{}, err
	}
	return d.board.Accept(v.Context(), switchboard.Submission{ProjectID: v.project(), Type: phone.EventMessage, Channel: phone.ChannelSMS, Data: data})
}

func (d *Dashboard) sendFirst(v *visit) error {
	a, err := d.text(v, v.PostFormValue("from"), v.PostFormValue("to"))
	if err != nil {
		return err
	}
	return d.redirect(v, "/conversations/"+a.ConversationID)
}

func (d *Dashboard) sendNext(v *visit) error {
	c, err := d.store.Conversation(v.Context(), v.project(), v.PathValue("id"))
	if err != nil {
		return err
	}
	if _, err := d.text(v, c.Participant, c.PhoneNumber); err != nil {
		return err
	}
	return d.showThread(v)
}
