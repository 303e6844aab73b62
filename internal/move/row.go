package move

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"strings"
	"time"
)

// convert makes a value of SQLite one of PostgreSQL.
func convert(v any, kind string) (any, error) {
	switch kind {
	case "int8", "int4", "int2":
		if n, ok := v.(int64); ok || v == nil {
			if v == nil {
				return nil, nil
			}
			return n, nil
		}
	case "bool":
		if n, ok := v.(int64); ok {
			return n != 0, nil
		}
	case "timestamptz": // microseconds since 1970; 0 is none
		if n, ok := v.(int64); ok {
			if n == 0 {
				return nil, nil
			}
			return time.UnixMicro(n).UTC(), nil
		}
	case "float8":
		switch v := v.(type) {
		case nil, float64:
			return v, nil
		case int64:
			return float64(v), nil
		}
	case "text":
		switch v := v.(type) {
		case nil:
			return nil, nil
		case string:
			return storable(v), nil
		case []byte:
			return storable(string(v)), nil
		}
	case "bytea":
		switch v := v.(type) {
		case nil:
			return nil, nil
		case string:
			return []byte(v), nil
		case []byte:
			return v, nil
		}
	}
	return nil, fmt.Errorf("a value of type %T cannot become %s", v, kind)
}

// storable is a text that PostgreSQL can hold: valid UTF-8 without the NUL
// character, which both become U+FFFD.
func storable(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// sum is a hash of a set of rows, whatever their order: the sum of the SHA-256
// hashes of the rows, modulo 2^256. The two databases order texts differently.
type sum struct {
	words [4]uint64
	rows  int64
}

// add adds a row, as PostgreSQL holds it.
func (s *sum) add(row []any) error {
	h := sha256.New()
	var b [9]byte
	put := func(tag byte, n uint64) {
		b[0] = tag
		binary.BigEndian.PutUint64(b[1:], n)
		h.Write(b[:])
	}
	for _, v := range row {
		switch v := v.(type) {
		case nil:
			put(0, 0)
		case int64:
			put('i', uint64(v))
		case int32:
			put('i', uint64(v))
		case int16:
			put('i', uint64(v))
		case bool:
			if v {
				put('b', 1)
			} else {
				put('b', 0)
			}
		case float64:
			put('f', math.Float64bits(v))
		case time.Time:
			put('t', uint64(v.UnixMicro()))
		case string:
			put('s', uint64(len(v)))
			h.Write([]byte(v))
		case []byte:
			put('x', uint64(len(v)))
			h.Write(v)
		default:
			return fmt.Errorf("a value of type %T cannot be compared", v)
		}
	}
	var digest [32]byte
	h.Sum(digest[:0])
	carry := uint64(0)
	for i := 3; i >= 0; i-- {
		s.words[i], carry = bits.Add64(s.words[i], binary.BigEndian.Uint64(digest[i*8:]), carry)
	}
	s.rows++
	return nil
}

// String is the start of the hash, for people to compare.
func (s *sum) String() string { return fmt.Sprintf("%016x%016x", s.words[0], s.words[1]) }
