package move

import (
	"strings"
	"testing"
	"time"

	"switchhook.dev/switchhook/internal/store/sqlite"
)

func TestPlanFaults(t *testing.T) {
	from := map[string]sqlite.Table{}
	to := map[string]target{}
	for _, x := range tables {
		from[x.name] = sqlite.Table{Name: x.name, Columns: []string{"id"}, Key: []string{"id"}}
		to[x.into()] = target{columns: []targetColumn{{name: "id", kind: "text"}}}
	}
	from["agents"] = sqlite.Table{Name: "agents", Columns: []string{"id", "mood"}, Key: []string{"id"}}
	to["numbers"] = target{columns: []targetColumn{{name: "id", kind: "json"}, {name: "colour", kind: "text"}}}
	from["extra"], to["more"] = sqlite.Table{}, target{}
	delete(to, "webhooks")
	_, err := plan(from, to)
	if err == nil {
		t.Fatal("no fault")
	}
	for _, want := range []string{
		"column agents.mood of SQLite has no partner", "column numbers.colour of PostgreSQL has no partner", "column numbers.id has the type json",
		"table extra of SQLite is in no list", "table more of PostgreSQL is in no list", "table webhooks is listed, but is not in both stores",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no word of: %s\n%v", want, err)
		}
	}
}

func TestSumKnowsRowsNotTheirOrder(t *testing.T) {
	rows := [][]any{{"a", int64(1), nil}, {"b", int64(2), []byte("x")}, {"", true, time.UnixMicro(5)}}
	hash := func(rows ...[]any) sum {
		var s sum
		for _, r := range rows {
			if err := s.add(r); err != nil {
				t.Fatal(err)
			}
		}
		return s
	}
	want := hash(rows...)
	if hash(rows[2], rows[0], rows[1]) != want {
		t.Error("the order counts")
	}
	for i, changed := range [][]any{{"a", int64(2), nil}, {"b", int64(2), "x"}, {"", false, time.UnixMicro(5)}} {
		other := append([][]any{}, rows...)
		other[i] = changed
		if hash(other...) == want {
			t.Errorf("row %d may change unseen", i)
		}
	}
	if hash(rows[0], rows[0], rows[1]) == want || hash(rows[0], rows[1]) == want || hash([]any{"ab", ""}) == hash([]any{"a", "b"}) {
		t.Error("rows are taken for others")
	}
}

func TestConvert(t *testing.T) {
	for _, c := range []struct {
		v    any
		kind string
		want any
	}{
		{int64(3), "int4", int64(3)}, {int64(1), "bool", true}, {int64(0), "bool", false}, {nil, "int8", nil},
		{int64(0), "timestamptz", nil}, {int64(7), "timestamptz", time.UnixMicro(7).UTC()},
		{"a\x00b\xff", "text", "a\uFFFDb\uFFFD"}, {[]byte("{}"), "text", "{}"}, {nil, "text", nil}, {nil, "bytea", nil},
	} {
		if got, err := convert(c.v, c.kind); err != nil || got != c.want {
			t.Errorf("%v as %s: %v, %v", c.v, c.kind, got, err)
		}
	}
	if _, err := convert("x", "int8"); err == nil {
		t.Error("a text became a number")
	}
}

func TestPlaces(t *testing.T) {
	key := []any{int64(0), "", "é\x00", int64(-5)}
	s, err := encodePlace(key)
	if err != nil {
		t.Fatal(err)
	}
	back, err := decodePlace(s)
	if err != nil || len(back) != len(key) {
		t.Fatal(back, err)
	}
	for i := range key {
		if back[i] != key[i] {
			t.Errorf("%v became %v", key[i], back[i])
		}
	}
	if back, err := decodePlace("[]"); back != nil || err != nil {
		t.Error(back, err)
	}
}
