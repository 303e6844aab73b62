package postgres

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"switchhook.dev/switchhook/internal/phone"
	"switchhook.dev/switchhook/internal/store/postgres/pgtest"
)

// columns are of every kind that is sent, one of each length.
func columns(n int) []any {
	text, blob, long, short, yes := make([]string, n), make([][]byte, n), make([]int64, n), make([]int, n), make([]bool, n)
	for i := range n {
		text[i], long[i], short[i], yes[i] = strings.Repeat(`a "quoted" {é},\ word`, i%7), math.MinInt64+int64(i), -i, i%3 == 0
		if i%4 > 0 {
			blob[i] = bytes.Repeat([]byte{0, 0xff, byte(i)}, i%5)
		}
	}
	return []any{text, blob, long, short, yes}
}

// TestColumnsAreWhatTheDriverWouldSend: read by the driver, an array is what it was.
func TestColumnsAreWhatTheDriverWouldSend(t *testing.T) {
	b := &buffers{}
	for _, n := range []int{0, 1, 2, 100, 20_000} {
		for i, value := range columns(n) {
			array := []uint32{pgtype.TextArrayOID, pgtype.ByteaArrayOID, pgtype.Int8ArrayOID, pgtype.Int8ArrayOID, pgtype.BoolArrayOID}[i]
			element := []uint32{pgtype.TextOID, pgtype.ByteaOID, pgtype.Int8OID, pgtype.Int8OID, pgtype.BoolOID}[i]
			m := pgtype.NewMap()
			of, _ := m.TypeForOID(array)
			before := []byte("what was there")
			sent, err := columnCodec{of.Codec, element, b}.Encode(value, before)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.HasPrefix(sent, before) {
				t.Fatalf("%d of %T: what came before them is gone", n, value)
			}
			if sent = sent[len(before):]; len(sent) > sizeOf(value) {
				t.Errorf("%d of %T take %d bytes, and room was made for %d", n, value, len(sent), sizeOf(value))
			}
			got := reflect.New(reflect.TypeOf(value))
			if err := m.Scan(array, pgtype.BinaryFormatCode, sent, got.Interface()); err != nil {
				t.Fatalf("%d of %T: %v", n, value, err)
			}
			if n > 0 && !reflect.DeepEqual(got.Elem().Interface(), value) || got.Elem().Len() != n {
				t.Errorf("%d of %T are %d others", n, value, got.Elem().Len())
			}
		}
	}
	if cap(b.params) > maxKept {
		t.Errorf("a buffer of %d bytes is kept", cap(b.params))
	}
}

// TestStatementsOfABatchShareBuffers: what a statement was given is not what the next
// one was, whatever their sizes, on one connection after another batch.
func TestStatementsOfABatchShareBuffers(t *testing.T) {
	s, err := Open(t.Context(), pgtest.URL(t))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	sizes := []int{3, 1, 400, 7, 20_000, 2, 0, 90}
	for range 3 {
		err := s.readOne(t.Context(), func(c *tx) error {
			read := 0
			for i, n := range sizes {
				all := columns(n)
				c.queue(`SELECT $1::text, t, b, n, m, y FROM unnest($2::text[], $3::bytea[], $4::bigint[], $5::bigint[], $6::boolean[]) AS u (t, b, n, m, y)`, func(r *row) error {
					k := read
					read++
					if got := r.text(); got != fmt.Sprint("statement ", i) {
						return fmt.Errorf("a row of %q came as %d's", got, i)
					}
					want := []any{all[0].([]string)[k], all[1].([][]byte)[k], all[2].([]int64)[k], int64(all[3].([]int)[k]), all[4].([]bool)[k]}
					if got := []any{r.text(), r.bytes(), r.int64(), r.int64(), r.bool()}; !reflect.DeepEqual(got, want) {
						return fmt.Errorf("row %d of statement %d is %v, want %v", k, i, got, want)
					}
					if read == n {
						read = 0
					}
					return nil
				}, append([]any{fmt.Sprint("statement ", i)}, all...))
			}
			return c.flush()
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestRowsAreReadInBothFormats: a database behind a pooler may be asked in the
// simple protocol, which answers all in text.
func TestRowsAreReadInBothFormats(t *testing.T) {
	conn, err := pgx.Connect(t.Context(), pgtest.URL(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	const all = `SELECT 'a text', 'bytes'::bytea, '\x00ff41'::bytea, NULL::bytea, ''::bytea, -7::bigint, 9223372036854775807, 5::int, true, false, 1.25::float8, NULL::float8, NULL::text, 'set'::text`
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol} {
		rows, err := conn.Query(t.Context(), all, mode)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		err = readRows(rows, func(r *row) error {
			n++
			got := []any{r.text(), r.text(), r.bytes(), r.bytes(), r.bytes(), r.int64(), r.int64(), r.int(), r.bool(), r.bool(), r.floatOrNil(), r.floatOrNil(), r.textOrNil(), r.textOrNil()}
			float, text := 1.25, "set"
			want := []any{"a text", "bytes", []byte("\x00\xffA"), []byte(nil), []byte{}, int64(-7), int64(math.MaxInt64), 5, true, false, &float, (*float64)(nil), (*string)(nil), &text}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%v: %#v, want %#v", mode, got, want)
			}
			return nil
		})
		if err != nil || n != 1 {
			t.Errorf("%v: %d rows, %v", mode, n, err)
		}
	}
}

// TestTheRoomBehindATailIsOnePersons: two who go on from the same tail do not write
// into each other's.
func TestTheRoomBehindATailIsOnePersons(t *testing.T) {
	var c tailCache
	start := make([]phone.Message, 0, 8)
	for i := range 3 {
		start = append(start, phone.Message{Seq: int64(i + 1)})
	}
	c.remember("conv", start)
	first, _ := c.get("conv", 0, 3)
	second, _ := c.get("conv", 0, 3)
	first = append(first, phone.Message{Seq: 4, Body: "first"})
	second = append(second, phone.Message{Seq: 4, Body: "second"})
	if first[3].Body != "first" || second[3].Body != "second" {
		t.Errorf("they have %q and %q", first[3].Body, second[3].Body)
	}
	if &first[0] != &start[0] {
		t.Error("the first of them copied the tail: the room behind it is there to be used")
	}
	// Whoever looks back no further than the third must not write over the fourth.
	c.remember("conv", first)
	earlier, _ := c.get("conv", 0, 3)
	_ = append(earlier, phone.Message{Seq: 4, Body: "other"})
	if again, _ := c.get("conv", 0, 4); again[3].Body != "first" {
		t.Errorf("the fourth message became %q", again[3].Body)
	}
}
