package flow

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestJSONMayBeNestedAsDeepAsEncodingJSONReads(t *testing.T) {
	for _, depth := range []int{1, 9999, 10000, 10001, 20000} {
		for _, brackets := range []string{"[]", "{}"} {
			raw := strings.Repeat("[", depth-1) + brackets + strings.Repeat("]", depth-1)
			equal(t, brackets+" within arrays", valid([]byte(raw)), json.Valid([]byte(raw)))
		}
		raw := strings.Repeat(`{"a":`, depth) + "1" + strings.Repeat("}", depth)
		equal(t, "an object within objects", valid([]byte(raw)), json.Valid([]byte(raw)))
	}
}
