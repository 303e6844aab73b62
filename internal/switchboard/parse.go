package switchboard

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"switchhook.dev/switchhook/internal/deliver"
	"switchhook.dev/switchhook/internal/phone"
)

// Limits of what a submission may hold.
const (
	maxMessage = 64 << 10 // bytes of a text: far beyond any channel's own limit
	maxMedia   = 32       // media of one message
	maxURL     = 2048     // characters of a media URL
)

// faults gathers everything that is wrong with a submission.
type faults []phone.Fault

func (f *faults) add(kind, msg string, loc ...any) {
	*f = append(*f, phone.Fault{Loc: append([]any{"body"}, loc...), Msg: msg, Type: kind})
}

func (f faults) err() error {
	if len(f) == 0 {
		return nil
	}
	return &phone.Error{Code: phone.Invalid, Faults: f}
}

// kinds says which events there are, on which channels, and how each is read.
// A new kind of event is a new row.
var kinds = []struct {
	event    phone.EventType
	channels []phone.Channel
	read     func(*reader, *phone.NewEvent)
}{
	{phone.EventMessage, []phone.Channel{phone.ChannelSMS, phone.ChannelMMS, phone.ChannelIMessage}, readMessage},
	{phone.EventMessage, []phone.Channel{phone.ChannelVoice}, readTurn},
	{phone.EventCallEnded, []phone.Channel{phone.ChannelVoice}, readCallEnded},
	{phone.EventReaction, []phone.Channel{phone.ChannelIMessage}, readReaction},
}

// parse checks a submission and makes of it an event ready for the store. The
// error is an *phone.Error with every fault.
func parse(s Submission, now time.Time) (*phone.NewEvent, error) {
	e := &phone.NewEvent{
		ProjectID: s.ProjectID, AgentID: s.AgentID, Type: s.Type, Channel: s.Channel,
		IdempotencyKey: s.IdempotencyKey, ID: phone.NewID(phone.PrefixEvent), At: now,
	}
	var f faults
	read := kindOf(s, &f)
	if read == nil {
		return nil, f.err()
	}
	r := &reader{faults: &f, now: now}
	if len(s.Data) == 0 {
		f.add("missing", "data is required: give the event's data object", "data")
		return nil, f.err()
	}
	if err := json.Unmarshal(s.Data, &r.in); err != nil {
		addJSONFault(&f, err)
		return nil, f.err()
	}
	read(r, e)
	return e, f.err()
}

// kindOf finds the row of an event and channel, or adds what is wrong with them.
func kindOf(s Submission, f *faults) func(*reader, *phone.NewEvent) {
	var channels []string
	for _, k := range kinds {
		if k.event != s.Type {
			continue
		}
		for _, c := range k.channels {
			if c == s.Channel {
				return k.read
			}
			channels = append(channels, string(c))
		}
	}
	switch {
	case s.Type == "":
		f.add("missing", "event is required: one of agent.message, agent.call_ended, agent.reaction", "event")
	case channels == nil:
		f.add("enum", fmt.Sprintf("event %q is unknown: give one of agent.message, agent.call_ended, agent.reaction", clip(string(s.Type))), "event")
	case s.Channel == "":
		f.add("missing", "channel is required: one of "+strings.Join(channels, ", "), "channel")
	default:
		f.add("enum", fmt.Sprintf("%s has no channel %q: give one of %s", s.Type, clip(string(s.Channel)), strings.Join(channels, ", ")), "channel")
	}
	return nil
}

// clip shortens what a caller sent for being quoted back.
func clip(s string) string {
	if len(s) > 64 {
		s = s[:64] + "…"
	}
	return s
}

func addJSONFault(f *faults, err error) {
	if t, ok := err.(*json.UnmarshalTypeError); ok {
		loc := []any{"data"}
		for part := range strings.SplitSeq(t.Field, ".") {
			if part != "" {
				loc = append(loc, part)
			}
		}
		f.add(typeFault(t), fmt.Sprintf("a JSON %s is not accepted here: give a %s", t.Value, jsonName(t)), loc...)
		return
	}
	f.add("json_invalid", "data is not valid JSON", "data")
}

func typeFault(t *json.UnmarshalTypeError) string {
	switch jsonName(t) {
	case "string":
		return "string_type"
	case "number":
		return "number_type"
	case "array":
		return "list_type"
	}
	return "dict_type"
}

func jsonName(t *json.UnmarshalTypeError) string {
	switch t.Type.Kind().String() {
	case "string":
		return "string"
	case "float64", "int":
		return "number"
	case "bool":
		return "boolean"
	case "slice":
		return "array"
	}
	return "object"
}

// input is every field that data may have, of all kinds of event. Which are read
// depends on the kind; others are ignored.
type input struct {
	From       string          `json:"from"`
	To         string          `json:"to"`
	Contact    json.RawMessage `json:"contact"`
	Message    *string         `json:"message"`
	MediaURL   *string         `json:"mediaUrl"`
	MediaURLs  []string        `json:"mediaUrls"`
	Direction  string          `json:"direction"`
	ReceivedAt string          `json:"receivedAt"`

	CallID     string   `json:"callId"`
	Status     *string  `json:"status"`
	Confidence *float64 `json:"confidence"`
	// Transcript is a string in a turn and a list at a call's end.
	Transcript json.RawMessage `json:"transcript"`

	StartedAt           *string         `json:"startedAt"`
	EndedAt             *string         `json:"endedAt"`
	DurationSeconds     *float64        `json:"durationSeconds"`
	DisconnectionReason *string         `json:"disconnectionReason"`
	Summary             *string         `json:"summary"`
	UserSentiment       *string         `json:"userSentiment"`
	CallSuccessful      json.RawMessage `json:"callSuccessful"`

	ReactionType     string   `json:"reactionType"`
	FromNumber       string   `json:"fromNumber"`
	ToNumber         string   `json:"toNumber"`
	MessageID        string   `json:"messageId"`
	MessageBody      *string  `json:"messageBody"`
	MessageMediaURL  *string  `json:"messageMediaUrl"`
	MessageMediaURLs []string `json:"messageMediaUrls"`
	CreatedAt        *string  `json:"createdAt"`
}

// reader reads the fields of one submission and gathers their faults.
type reader struct {
	*faults
	in  input
	now time.Time
}

// parties reads direction and both numbers: ours and the participant's.
func (r *reader) parties(e *phone.NewEvent, from, to, fromName, toName string) {
	switch d := phone.Direction(r.in.Direction); d {
	case "":
		e.Direction = phone.Inbound
	case phone.Inbound, phone.Outbound:
		e.Direction = d
	default:
		r.add("enum", fmt.Sprintf("direction %q is unknown: give inbound or outbound", clip(r.in.Direction)), "data", "direction")
		return
	}
	ours, ourName, theirs, theirName := to, toName, from, fromName
	if e.Direction == phone.Outbound {
		ours, ourName, theirs, theirName = from, fromName, to, toName
	}
	var err error
	if ours == "" {
		r.add("missing", ourName+" is required: the project's own number, like +15551234567", "data", ourName)
	} else if e.Number, err = phone.LookupNumber(ours); err != nil {
		r.add("phone_number", err.Error(), "data", ourName)
	}
	if theirs == "" {
		r.add("missing", theirName+" is required: the other side's number, like +15559876543", "data", theirName)
	} else if e.Participant, err = phone.ParseParticipant(theirs); err != nil {
		r.add("phone_number", theirName+": "+err.Error(), "data", theirName)
	}
}

// fromTo is the pair as it is sent on: both in E.164 where they are numbers.
func fromTo(e *phone.NewEvent) (from, to string) {
	if e.Direction == phone.Outbound {
		return e.Number, e.Participant
	}
	return e.Participant, e.Number
}

// time reads an optional time; absent is now.
func (r *reader) time(s, name string) string {
	if s == "" {
		return deliver.FormatTime(r.now)
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		r.add("datetime_parsing", fmt.Sprintf("%s %q is not a time: write it as 2025-01-15T11:00:00Z", name, clip(s)), "data", name)
		return ""
	}
	return deliver.FormatTime(t)
}

// optionalTime is time for a field that may be absent and then stays null.
func (r *reader) optionalTime(s *string, name string) *string {
	if s == nil {
		return nil
	}
	t := r.time(*s, name)
	return &t
}

func (r *reader) media() (first *string, all []string) {
	all = r.in.MediaURLs
	if all == nil {
		all = []string{}
	}
	if r.in.MediaURL != nil && *r.in.MediaURL != "" && len(all) == 0 {
		all = []string{*r.in.MediaURL}
	}
	if len(all) > maxMedia {
		r.add("too_long", fmt.Sprintf("a message has at most %d media", maxMedia), "data", "mediaUrls")
	}
	for i, u := range all {
		if len(u) > maxURL {
			r.add("string_too_long", fmt.Sprintf("a media URL has at most %d characters", maxURL), "data", "mediaUrls", i)
		}
	}
	if len(all) > 0 {
		first = &all[0]
	}
	return first, all
}

func (r *reader) text(s, name string) string {
	if len(s) > maxMessage {
		r.add("string_too_long", fmt.Sprintf("%s is longer than %d KiB: shorten it", name, maxMessage>>10), "data", name)
	}
	return s
}

// callID reads the id that ties the turns of a call together, or makes one.
func (r *reader) callID() string {
	id := r.in.CallID
	if id == "" {
		return phone.NewID(phone.PrefixCall)
	}
	if len(id) > 128 || strings.ContainsFunc(id, func(c rune) bool { return c <= ' ' || c > '~' }) {
		r.add("string_pattern_mismatch", "callId is 1 to 128 visible ASCII characters", "data", "callId")
	}
	return id
}

// nullable passes JSON on as it came; absent is null.
func nullable(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return json.RawMessage("null")
	}
	return raw
}

// encode writes a data object. Its fields come from JSON or are plain strings,
// so it cannot fail.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("switchboard: data cannot be encoded: " + err.Error())
	}
	return b
}
