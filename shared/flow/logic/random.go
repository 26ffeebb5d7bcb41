package logic

import (
	"encoding/base32"
	"io"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// ResolveFunction gives CEL the functions that depend on the turn.
func (t *Turn) ResolveFunction(name string) (cel.LateBoundFunction, bool) {
	switch name {
	case "randomID":
		return t.randomID, true
	case "randomDigits":
		return t.randomDigits, true
	}
	return nil, false
}

// randomID has 128 bits.
func (t *Turn) randomID(string, ...ref.Val) ref.Val {
	var b [16]byte
	if _, err := io.ReadFull(t.in.Random, b[:]); err != nil {
		return types.WrapErr(&ownError{"randomID: there are no random bytes"})
	}
	return types.String(strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:])))
}

func (t *Turn) randomDigits(_ string, args ...ref.Val) ref.Val {
	n, ok := args[0].(types.Int)
	if !ok || n < 1 || n > 32 {
		return fail("randomDigits: expected 1 to 32 digits")
	}
	digits := make([]byte, 0, n)
	var b [1]byte
	for len(digits) < int(n) {
		if _, err := io.ReadFull(t.in.Random, b[:]); err != nil {
			return types.WrapErr(&ownError{"randomDigits: there are no random bytes"})
		}
		if b[0] < 250 { // so that every digit is as likely
			digits = append(digits, '0'+b[0]%10)
		}
	}
	return types.String(digits)
}
