package postgres

import (
	"encoding/binary"
	"encoding/hex"
	"math"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// Columns of a batch go to the database as arrays, some fifty for a group of events,
// and make up most of what is written to it. The driver encodes an array element by
// element, each boxed, into buffers that begin small; here it is done in one go, in
// the binary format of PostgreSQL's array_recv.

// buffers are what a connection's statements are put together in, kept from one to
// the next: the driver lets go of its own after each.
type buffers struct {
	params  []byte // of one statement: they are part of the message before the next is encoded
	message []byte // of all statements of a batch: they are written before the next batch
}

// maxKept bounds each buffer that is kept, in bytes.
const maxKept = 256 << 10

// buffersOf is the name that a connection has them under.
const buffersOf = "switchhook.buffers"

// sendColumns has a connection encode the slices that are sent to it here.
func sendColumns(conn *pgx.Conn) {
	b := &buffers{}
	conn.PgConn().CustomData()[buffersOf] = b
	m := conn.TypeMap()
	for _, c := range []struct{ array, element uint32 }{
		{pgtype.TextArrayOID, pgtype.TextOID}, {pgtype.ByteaArrayOID, pgtype.ByteaOID},
		{pgtype.Int8ArrayOID, pgtype.Int8OID}, {pgtype.BoolArrayOID, pgtype.BoolOID},
	} {
		if t, ok := m.TypeForOID(c.array); ok {
			m.RegisterType(&pgtype.Type{Name: t.Name, OID: t.OID, Codec: columnCodec{t.Codec, c.element, b}})
		}
	}
}

// columnCodec encodes slices that are an array's in the binary format, and leaves the
// rest to the driver's own.
type columnCodec struct {
	pgtype.Codec
	element uint32
	buffers *buffers
}

// PlanEncode implements pgtype.Codec.
func (c columnCodec) PlanEncode(m *pgtype.Map, oid uint32, format int16, value any) pgtype.EncodePlan {
	fits := false
	switch value.(type) {
	case []string:
		fits = c.element == pgtype.TextOID
	case [][]byte:
		fits = c.element == pgtype.ByteaOID
	case []int64, []int:
		fits = c.element == pgtype.Int8OID
	case []bool:
		fits = c.element == pgtype.BoolOID
	}
	if !fits || format != pgtype.BinaryFormatCode {
		return c.Codec.PlanEncode(m, oid, format, value)
	}
	return c
}

// Encode implements pgtype.EncodePlan.
func (c columnCodec) Encode(value any, buf []byte) ([]byte, error) {
	buf = withRoom(&c.buffers.params, buf, sizeOf(value))
	switch all := value.(type) {
	case []string:
		buf = c.begin(buf, len(all))
		for _, s := range all {
			buf = append(binary.BigEndian.AppendUint32(buf, uint32(len(s))), s...)
		}
	case [][]byte:
		buf = c.begin(buf, len(all))
		for _, b := range all {
			if b == nil {
				buf = binary.BigEndian.AppendUint32(buf, isNull)
				continue
			}
			buf = append(binary.BigEndian.AppendUint32(buf, uint32(len(b))), b...)
		}
	case []int64:
		buf = appendIntegers(c.begin(buf, len(all)), all)
	case []int:
		buf = appendIntegers(c.begin(buf, len(all)), all)
	case []bool:
		buf = c.begin(buf, len(all))
		for _, v := range all {
			b := byte(0)
			if v {
				b = 1
			}
			buf = append(binary.BigEndian.AppendUint32(buf, 1), b)
		}
	}
	return buf, nil
}

func appendIntegers[I int | int64](buf []byte, all []I) []byte {
	for _, n := range all {
		buf = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(buf, 8), uint64(n))
	}
	return buf
}

// begin begins an array of n elements: its dimensions, whether any is NULL (which
// array_recv finds out itself), the elements' type, and of the one dimension the
// length and the number of the first.
func (c columnCodec) begin(buf []byte, n int) []byte {
	for _, v := range [...]uint32{1, 1, c.element, uint32(n), 1} {
		buf = binary.BigEndian.AppendUint32(buf, v)
	}
	return buf
}

const (
	// isNull is the length of an element that is NULL.
	isNull = math.MaxUint32
	// arrayHeader is how many bytes come before an array's elements.
	arrayHeader = 5 * 4
)

// withRoom is buf with room for so many bytes more: in the kept buffer, which grows
// for it up to maxKept.
func withRoom(kept *[]byte, buf []byte, size int) []byte {
	if cap(buf)-len(buf) >= size {
		return buf
	}
	if need := len(buf) + size; cap(*kept) < need {
		grown := make([]byte, 0, max(2*len(buf), need, 4<<10))
		if cap(grown) > maxKept {
			return append(grown, buf...)
		}
		*kept = grown
	}
	return append((*kept)[:0], buf...)
}

// sizeOf is how many bytes a parameter takes when it is sent, or about as many.
func sizeOf(value any) int {
	const small = 16
	n := arrayHeader
	switch v := value.(type) {
	case string:
		return len(v)
	case []byte:
		return len(v)
	case []string:
		for _, s := range v {
			n += 4 + len(s)
		}
	case [][]byte:
		for _, b := range v {
			n += 4 + len(b)
		}
	case []int64:
		n += 12 * len(v)
	case []int:
		n += 12 * len(v)
	case []bool:
		n += 5 * len(v)
	default:
		return small
	}
	return n
}

// statementSize is what a statement takes beside its parameters, in bytes, or about that.
const statementSize = 256

// reserve makes room in the driver's buffer for what is going to be sent, so that it
// does not grow step by step. It sends nothing.
func reserve(conn *pgx.Conn, size int) {
	if b, ok := conn.PgConn().CustomData()[buffersOf].(*buffers); ok {
		conn.PgConn().Frontend().Send(room{b, size})
	}
}

// room is a message of the protocol that takes no place in it.
type room struct {
	buffers *buffers
	size    int
}

// Frontend says that it goes to the server.
func (room) Frontend() {}

// Decode is for the server's side.
func (room) Decode([]byte) error { return nil }

// Encode makes the room.
func (r room) Encode(buf []byte) ([]byte, error) {
	return withRoom(&r.buffers.message, buf, r.size), nil
}

// row reads columns in order, as the server sent them.
type row struct {
	fields []pgconn.FieldDescription
	values [][]byte // good until the next row
	n      int
}

// next is the next column, nil for NULL, and whether it is in the text format.
func (r *row) next() (value []byte, text bool) {
	i := r.n
	r.n++
	return r.values[i], r.fields[i].Format == pgtype.TextFormatCode
}

func (r *row) int() int { return int(r.int64()) }

func (r *row) bool() bool {
	v, text := r.next()
	if text {
		return len(v) == 1 && v[0] == 't'
	}
	return len(v) == 1 && v[0] == 1
}

// text reads text, and bytes that are one for all but PostgreSQL.
func (r *row) text() string {
	if r.fields[r.n].DataTypeOID == pgtype.ByteaOID {
		return string(r.raw())
	}
	v, _ := r.next()
	return string(v)
}

func (r *row) int64() int64 {
	v, text := r.next()
	switch {
	case text:
		if n, err := strconv.ParseInt(string(v), 10, 64); err == nil {
			return n
		}
	case len(v) == 8:
		return int64(binary.BigEndian.Uint64(v))
	case len(v) == 4:
		return int64(int32(binary.BigEndian.Uint32(v)))
	}
	panic("postgres: a column is no integer")
}

func (r *row) floatOrNil() *float64 {
	v, text := r.next()
	var f float64
	switch {
	case text && v != nil:
		f, _ = strconv.ParseFloat(string(v), 64)
	case len(v) == 8:
		f = math.Float64frombits(binary.BigEndian.Uint64(v))
	default:
		return nil
	}
	return &f
}

func (r *row) textOrNil() *string {
	if r.values[r.n] == nil {
		r.n++
		return nil
	}
	s := r.text()
	return &s
}

// bytes returns nil for NULL.
func (r *row) bytes() []byte { return slices.Clone(r.raw()) }

// raw is bytes that are good until the next row.
func (r *row) raw() []byte {
	v, text := r.next()
	if !text || v == nil {
		return v
	}
	// In the text format bytes are written in hex behind \x.
	out := make([]byte, hex.DecodedLen(max(0, len(v)-2)))
	if _, err := hex.Decode(out, v[min(2, len(v)):]); err != nil {
		panic("postgres: a column is no bytes")
	}
	return out
}
