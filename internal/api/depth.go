package api

import "fmt"

// maxDepth is how many objects and lists may lie within each other in a body. An
// event needs four.
const maxDepth = 64

var deepMessage = fmt.Sprintf("the body nests more than %d levels deep: flatten it", maxDepth)

// tooDeep says whether JSON nests deeper than is accepted, before anything decodes
// it. Whether it is JSON at all is for the decoder to say.
func tooDeep(data []byte) bool {
	depth, quoted := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{', c == '[':
			if depth++; depth > maxDepth {
				return true
			}
		case c == '}', c == ']':
			depth--
		}
	}
	return false
}
