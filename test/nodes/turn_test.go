package nodes

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"switchhook.dev/switchhook/internal/store/postgres/pgtest"
)

// ask asks a turn of a call through a node, and returns the answer as it comes.
func (f *fleet) ask(n *node, call, transcript string) (*http.Response, *bufio.Reader) {
	f.t.Helper()
	body := fmt.Sprintf(`{"event":"agent.message","channel":"voice","data":{"callId":%q,"from":"+13035550001","to":"+12025550000","transcript":%q}}`, call, transcript)
	resp := f.stream(n, http.MethodPost, "/v1/events", "application/x-ndjson", strings.NewReader(body))
	return resp, bufio.NewReader(resp.Body)
}

// TestANewQuestionThroughAnotherNodeEndsTheAnswer: the program that has the call
// speaks to whichever node the balancer picks.
func TestANewQuestionThroughAnotherNodeEndsTheAnswer(t *testing.T) {
	f := newFleetOf(t, pgtest.Start(t, pgtest.Options{}).Database(t), 2, "20s")
	gone := make(chan struct{}, 1)
	webhook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/x-ndjson")
		if !strings.Contains(string(body), `"transcript":"first"`) {
			_, _ = io.WriteString(w, `{"text":"second answered"}`+"\n")
			return
		}
		_, _ = io.WriteString(w, `{"text":"Let me","interim":true}`+"\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		gone <- struct{}{}
	}))
	t.Cleanup(func() { webhook.CloseClientConnections(); webhook.Close() })
	agent := f.agent("+12025550000")
	// The other node must know the webhook as it is: this is not about that.
	if err := f.must("POST", "/v1/agents/"+agent+"/webhook", "", object{"url": webhook.URL}, nil); err != nil {
		t.Fatal(err)
	}
	first, in := f.ask(f.nodes[0], "call_1", "first")
	if l, err := in.ReadString('\n'); !strings.Contains(l, "Let me") {
		t.Fatal(l, err)
	}
	_, second := f.ask(f.nodes[1], "call_1", "second")
	if l, err := second.ReadString('\n'); !strings.Contains(l, "second answered") {
		t.Error(l, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	context.AfterFunc(ctx, func() { first.Body.Close() })
	rest, err := io.ReadAll(in)
	if !strings.Contains(string(rest), "superseded: another turn of the call began") || err != nil {
		t.Errorf("the first answer ends with %q (%v)", rest, err)
	}
	select {
	case <-gone:
	case <-time.After(patience):
		t.Error("the webhook still speaks")
	}
	var d struct{ Status, ErrorMessage string }
	for deadline := time.Now().Add(patience); d.Status != "failed"; time.Sleep(10 * time.Millisecond) {
		if err := f.must("GET", "/v1/deliveries/"+first.Header.Get("Switchhook-Delivery-Id"), "", nil, &d); err != nil || time.Now().After(deadline) {
			t.Fatalf("the first is %+v (%v)", d, err)
		}
	}
	if !strings.HasPrefix(d.ErrorMessage, "superseded") {
		t.Errorf("%+v", d)
	}
}
