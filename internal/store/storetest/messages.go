package storetest

import (
	"fmt"
	"slices"

	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store"
)

// messages reads conversations and a number page by page, newest first.
func messages(b *bench) {
	ctx := b.Context()
	b.hook("")
	participants := []string{"+12025550191", "+12025550192", "+12025550193"}
	all := map[string][]string{} // texts, oldest first, by conversation; "" is the number's
	ids, conversations := map[string]string{}, map[string]string{}
	for i := range 20 {
		e := b.event(fmt.Sprint("text ", i))
		e.Participant = participants[i*7%10%3]
		a := b.Accept(ctx, []*phone.NewEvent{e}, &room{})[0]
		b.must(a.Err)
		ids[e.Body], conversations[e.Participant] = a.MessageID, a.ConversationID
		for _, key := range []string{a.ConversationID, ""} {
			all[key] = append(all[key], e.Body)
		}
		if i == 11 {
			b.restart()
		}
	}
	numbers, _, err := b.Numbers(ctx, b.project, 10, 0)
	b.must(err)
	for key, texts := range all {
		read := func(p store.Page) ([]phone.Message, bool, error) {
			if key == "" {
				return b.NumberMessages(ctx, b.project, numbers[0].ID, p)
			}
			return b.Messages(ctx, b.project, key, p)
		}
		slices.Reverse(texts)
		middle := len(texts) / 2
		for _, c := range []struct {
			page store.Page
			want []string
		}{
			{store.Page{Limit: 100}, texts},
			{store.Page{Limit: 3}, texts},
			{store.Page{Limit: 3, Offset: 2}, texts[2:]},
			{store.Page{Limit: 2, Before: ids[texts[middle]]}, texts[middle+1:]},
			{store.Page{Limit: 2, After: ids[texts[middle]]}, texts[:middle]},
			{store.Page{Limit: 5, Offset: len(texts)}, nil},
		} {
			got, more, err := read(c.page)
			b.must(err)
			var bodies []string
			for _, m := range got {
				bodies = append(bodies, m.Body)
			}
			want := c.want[:min(len(c.want), c.page.Limit)]
			if !slices.Equal(bodies, want) || more != (len(c.want) > c.page.Limit) {
				b.Errorf("%q, %+v: %v, more %v, want %v", key, c.page, bodies, more, want)
			}
		}
	}
	if len(all) != 1+len(conversations) || len(conversations) != 3 {
		b.Errorf("%d conversations and %v", len(all)-1, conversations)
	}
}
